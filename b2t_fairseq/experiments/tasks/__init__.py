"""The tasks, one class in one file each, with their corpora; `base.Task` is the contract.

To add a task, write its file and name its class here. To add a corpus to a task, add an entry to its `corpora`.
"""

from ...common.errors import UserError
from .base import Corpus, Task
from .language_model import LanguageModel
from .speech_recognition import SpeechRecognition
from .summarization import Summarization
from .translation import Translation

__all__ = ["PAPER_CORPORA", "TASKS", "Corpus", "Task", "corpus_name", "find_corpus"]

TASKS: dict[str, type[Task]] = {
    task.name: task for task in (Translation, Summarization, LanguageModel, SpeechRecognition)
}
#: name -> (task, corpus) of the paper's corpora
PAPER_CORPORA: dict[str, tuple[type[Task], Corpus]] = {
    corpus.name: (task, corpus) for task in TASKS.values() for corpus in task.corpora
}


def corpus_name(spelling: str) -> str:
    """Return a corpus' one spelling, `wmt_ende`; `wmt-ende`, as older versions had it, still works (argparse type)."""
    return spelling.replace("-", "_") if not spelling.startswith("-") else spelling


def find_corpus(name: str) -> tuple[type[Task], Corpus]:
    """Return the task and the corpus of a name.

    Raises:
        UserError: unknown name; lists the known ones.
    """
    if corpus_name(name) not in PAPER_CORPORA:
        raise UserError(f"corpus '{name}' is unknown: choose one of {', '.join(PAPER_CORPORA)}")
    return PAPER_CORPORA[corpus_name(name)]
