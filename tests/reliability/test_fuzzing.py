"""Our parsers on mangled input, for a bounded time: each gives a result or one line, and never anything else."""

import json
import os
import random
import time
from pathlib import Path

import pytest

from b2t_fairseq.checkpoints.signature import parse_signature
from b2t_fairseq.common.errors import UserError
from b2t_fairseq.common.files import read_record
from b2t_fairseq.corpora.fetching.prepared import read_prepared
from b2t_fairseq.corpora.speech.features import read_audio
from b2t_fairseq.corpora.speech.manifest import read_manifest
from b2t_fairseq.evaluation.generated import check_order, read_generate_output
from b2t_fairseq.evaluation.perplexity import read_eval_lm
from b2t_fairseq.evaluation.text import read_lines
from b2t_fairseq.experiments.recipes import read_paper_recipe
from b2t_fairseq.experiments.tasks import PAPER_CORPORA

SECONDS = float(os.environ.get("B2T_FUZZ_SECONDS", "1.0"))  # for each parser; scripts/attack.sh gives more
GENERATED = """T-0\tein Mann
H-0\t-0.5\tein Mann
D-0\t-0.5\tein Mann
P-0\t-0.1 -0.2
T-1\tja
H-1\t-1\tja
D-1\t-1\tja
"""
EVALUATED = """{'tokens_per_sample': 64, 'context_window': 32}
Evaluated 7 tokens in 0.1s
Loss (base 2): 6.7, Perplexity: 104
"""
MANIFEST = "id\taudio\tn_frames\ttgt_text\tspeaker\na\tx.zip:0:10\t12\tein Mann\ts\nb\tx.zip:10:10\t7\tja\ts\n"
TESTS = {"test": {"subset": "test", "references": "tests/x.de"}}
RECORD = json.dumps({"evaluation": TESTS, "sources": {}, "steps": {}})
INSERTED = (b"\0", b"\xff", b"[" * 2000, b"9" * 300, b"\t", b"\n", b"\r", b"{}", b"null")
_, CORPUS = PAPER_CORPORA["wmt_ende"]
RECIPE = CORPUS.recipe.read_text(encoding="utf-8")


def as_file(parser):
    """A parser of a path as one of bytes."""

    def parse(content: bytes, folder: Path):
        (folder / "file").write_bytes(content)
        return parser(folder / "file")

    return parse


def as_text(parser):
    """A parser of lines as one of bytes."""
    return lambda content, folder: parser(content.decode("utf-8", errors="replace").split("\n"))


def prepared(path: Path):
    path.rename(path.with_name("manifest.json"))
    return read_prepared(path.parent, "wmt_ende")


PARSERS = {
    "generate's output": (GENERATED, as_text(read_generate_output)),
    "generate's targets": (GENERATED, as_text(lambda lines: check_order(lines, ["ein Mann", "ja"]))),
    "eval-lm's output": (EVALUATED, as_text(read_eval_lm)),
    "lines": (GENERATED, as_file(read_lines)),
    "a manifest of speech": (MANIFEST, as_file(read_manifest)),
    "a record": (RECORD, as_file(read_record)),
    "a corpus' manifest": (RECORD, as_file(prepared)),
    "a recipe": (RECIPE, as_file(lambda path: read_paper_recipe(path, "generate", CORPUS.depths, CORPUS.tests))),
    "a signature": ("connection:b2t|init:default|layers:18-18", lambda content, _: parse_signature(content.decode())),
    "audio": (None, as_file(read_audio)),
}


def mangled(content: bytes, chance: random.Random) -> bytes:
    """The content with some bytes changed, taken out, doubled or put in; sometimes nothing of it is left."""
    data = bytearray(content)
    for _ in range(chance.choice([1, 1, 2, 5, 20])):
        place = chance.randrange(len(data) + 1)
        kind = chance.randrange(5)
        if kind == 0 and place < len(data):
            data[place] = chance.randrange(256)
        elif kind == 1:
            del data[place : place + chance.choice([1, 3, 50])]
        elif kind == 2:
            data[place:place] = data[place : place + chance.choice([1, 10, 200])]
        elif kind == 3:
            data[place:place] = chance.choice(INSERTED)
        else:
            del data[place:]
    return bytes(data)


@pytest.mark.parametrize("name", PARSERS)
def test_mangled_input_is_read_or_refused(name, tmp_path, capsys):
    content, parse = PARSERS[name]
    content = wave() if content is None else content.encode()
    chance, until, count = random.Random(name), time.monotonic() + SECONDS, 0
    try:
        parse(content, tmp_path)
    except UserError as error:
        raise AssertionError(f"the sound input is refused: {error}") from error
    while time.monotonic() < until or count < 20:
        data = mangled(content, chance) if name != "a signature" else mangled(content, chance).decode("latin1").encode()
        began = time.monotonic()
        try:
            parse(data, tmp_path)
        except UserError as error:
            assert "\n" not in str(error)
        except Exception as error:
            raise AssertionError(f"{type(error).__name__}: {error} for {data[:2000]!r}") from error
        assert time.monotonic() - began < 5
        count += 1


def wave() -> bytes:
    """A short WAV file."""
    import io

    import numpy as np
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, np.sin(np.arange(800) / 7), 16_000, format="WAV")
    return buffer.getvalue()
