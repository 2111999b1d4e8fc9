"""A corpus for tests that run fairseq's trainer."""

from pathlib import Path

import pytest
import torch
from builders import dictionary
from fairseq.data.indexed_dataset import MMapIndexedDatasetBuilder


@pytest.fixture
def folder(tmp_path) -> Path:
    """A binarised corpus of a few random sentences in `data`."""
    (tmp_path / "data").mkdir()
    words, generator = dictionary(), torch.Generator().manual_seed(0)
    for language in ("en", "de"):
        words.save(str(tmp_path / "data" / f"dict.{language}.txt"))
        for split in ("train", "valid"):
            stem = tmp_path / "data" / f"{split}.en-de.{language}"
            builder = MMapIndexedDatasetBuilder(f"{stem}.bin")
            for length in range(3, 11):
                builder.add_item(torch.cat([torch.randint(4, 50, (length,), generator=generator), torch.tensor([2])]))
            builder.finalize(f"{stem}.idx")
    return tmp_path
