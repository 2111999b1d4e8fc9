"""The tasks of the quickstart, one file each; `base.Task` is what the quickstart asks of them."""

from .language_model import LanguageModel
from .speech_recognition import SpeechRecognition
from .summarization import Summarization
from .translation import Translation

TASKS = {task.name: task for task in (Translation, Summarization, LanguageModel, SpeechRecognition)}
