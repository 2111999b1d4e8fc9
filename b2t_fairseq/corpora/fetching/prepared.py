"""What a prepared corpus offers, as its preparation wrote it down: fairseq's folder, and each test set.

Preparation knows what fairseq calls a test set and where its raw references are; it writes both into `manifest.json`
(`describe`), and evaluation reads them (`read_prepared`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...common.errors import UserError
from ...common.files import read_record
from .manifest import Manifest

SECTION = "evaluation"  # of manifest.json


@dataclass(frozen=True)
class TestSet:
    """A test set of a prepared corpus.

    Attributes:
        subset: what fairseq calls it, for `--gen-subset`.
        references: the raw lines, or a manifest of speech (.tsv), that hypotheses are scored against.
    """

    __test__ = False  # pytest takes the name for a test's

    subset: str
    references: Path


def describe(manifest: Manifest, tests: Mapping[str, TestSet]) -> None:
    """Note a corpus' test sets, by name, in its manifest; paths are kept relative to the manifest's folder."""
    manifest.content[SECTION] = {
        name: {"subset": test.subset, "references": test.references.relative_to(manifest.folder).as_posix()}
        for name, test in tests.items()
    }
    manifest.save()


def read_prepared(data: Path, corpus: str) -> dict[str, TestSet]:
    """Read the test sets of the prepared corpus that holds `data`.

    Args:
        data: the prepared folder, or the binarised folder inside it.
        corpus: its name, for the error.

    Raises:
        UserError: no manifest, or one without a description of test sets.
    """
    for folder in (data, data.parent):
        record = read_record(folder / "manifest.json")
        if record is not None:
            break
    else:
        raise UserError(f"{data}: no manifest.json there or beside it; name the folder that `prepare {corpus}` made")
    tests = record.get(SECTION)
    try:
        return {
            name: TestSet(str(test["subset"]), folder / str(test["references"])) for name, test in dict(tests).items()
        }
    except (TypeError, KeyError, ValueError):
        raise UserError(
            f"{folder / 'manifest.json'} does not describe the test sets, as those of older versions: run "
            f"`prepare {corpus} --output {folder}` again, which keeps what is done and adds the description"
        ) from None
