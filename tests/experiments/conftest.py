"""What several tests of experiments need: a tiny parallel corpus."""

from pathlib import Path

import pytest

from b2t_fairseq.corpora.embedded import english_german


@pytest.fixture(scope="session")
def pairs(tmp_path_factory) -> Path:
    """A folder of English-German text: train 120 pairs, valid 9, test 7."""
    folder = tmp_path_factory.mktemp("corpus") / "pairs"
    folder.mkdir()
    for name, pairs in english_german.generate({"train": 120, "valid": 9, "test": 7}).items():
        for side, language in enumerate(("en", "de")):
            (folder / f"{name}.{language}").write_text("".join(f"{pair[side]}\n" for pair in pairs))
    return folder
