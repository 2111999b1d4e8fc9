"""Name a damaged data file: an index or data file that is empty, cut or something else, a dictionary that is none.

Without it: fairseq ends in `struct.error`, "memoryview: length is not a multiple" or "buffer is smaller than requested
size", without a file name, or trains on zeros; a dictionary's error names the line, not the file.
Versions: every fairseq so far.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np
from fairseq.data import Dictionary, data_utils
from fairseq.data.indexed_dataset import MMapIndexedDataset, data_file_path, index_file_path

from ...common.errors import UserError
from ..wrap import wrap

LARGEST_CHECKED = 2**28  # bytes of token numbers that are compared with the vocabulary; of more, the first


def apply() -> None:
    wrap(data_utils, "load_indexed_dataset", __name__, _make_load)
    for owner in (MMapIndexedDataset, MMapIndexedDataset.Index):
        wrap(owner, "__del__", __name__, _make_del)
    wrap(Dictionary, "add_from_file", __name__, _make_add_from_file)
    wrap(data_utils, "batch_by_size", __name__, _make_batch_by_size)


def _make_del(original):
    """Without complaint about a file that was never opened, which Python would print after the one line."""

    def __del__(self):
        if hasattr(self, "_bin_buffer_mmap"):
            original(self)

    return __del__


def _make_load(original):
    def load_indexed_dataset(path, dictionary=None, *args, **kwargs):
        index, data = index_file_path(path), data_file_path(path)
        if Path(index).is_file() != Path(data).is_file():
            missing, other = (data, index) if Path(index).is_file() else (index, data)
            raise UserError(f"{missing}: no such file, though {other} is there; binarise the data again")
        if Path(data).is_file() and not Path(data).stat().st_size and has_sentences(index):
            raise UserError(f"{data}: the file is empty; binarise the data again")
        try:
            dataset = original(path, dictionary, *args, **kwargs)
        except (AssertionError, IndexError, KeyError, OverflowError, ValueError, struct.error) as error:
            raise UserError(f"{index}: not a whole index of binarised data ({error}); binarise it again") from error
        if isinstance(dataset, MMapIndexedDataset) and len(dataset):
            check_data(dataset, data, dictionary)
        return dataset

    return load_indexed_dataset


def has_sentences(index: str) -> bool:
    """Return whether an index file says that there are sentences."""
    with open(index, "rb") as file:
        return file.read(26)[18:] != bytes(8)


def check_data(dataset: MMapIndexedDataset, path: str, dictionary: Any) -> None:
    """Raise a UserError unless the data file is as long as the index says, of token numbers in the vocabulary."""
    index = dataset._index
    width = np.dtype(index.dtype).itemsize
    size, expected = Path(path).stat().st_size, int(index._pointers[-1]) + int(index.sizes[-1]) * width
    if size != expected or int(index.sizes.min()) < 0:
        raise UserError(f"{path}: {size:,} bytes, but its index says {expected:,}; binarise the data again")
    if dictionary is None:
        return
    tokens = np.frombuffer(dataset._bin_buffer, dtype=index.dtype, count=min(size, LARGEST_CHECKED) // width)
    if not tokens.any():
        raise UserError(f"{path}: holds zeros only; binarise the data again")
    if int(tokens.max()) >= len(dictionary):
        raise UserError(
            f"{path}: word number {int(tokens.max()):,} is beyond the dictionary's {len(dictionary):,} words: the "
            "file is damaged, or the dictionary another one; binarise the data again"
        )


def _make_add_from_file(original):
    def add_from_file(self, file, *args, **kwargs):
        if not isinstance(file, str):
            return original(self, file, *args, **kwargs)
        known = len(self)
        try:
            original(self, file, *args, **kwargs)
        except OSError:
            raise
        except Exception as error:  # fairseq raises ValueError, RuntimeError and plain Exception
            raise UserError(f"{file}: {' '.join(str(error).split())[:200]}") from error
        if len(self) == known:
            raise UserError(f"{file}: the dictionary is empty; make it again with `preprocess`")

    return add_from_file


def _make_batch_by_size(original):
    """Say how long the longest sentence is, when it is longer than `--max-tokens`."""

    def batch_by_size(indices, num_tokens_fn, num_tokens_vec=None, max_tokens=None, *args, **kwargs):
        indices = indices if isinstance(indices, np.ndarray) else np.fromiter(indices, dtype=np.int64)
        try:
            return original(indices, num_tokens_fn, num_tokens_vec, max_tokens, *args, **kwargs)
        except AssertionError as error:
            if "should not exceed max_tokens" not in str(error):
                raise
            lengths = map(num_tokens_fn, indices) if num_tokens_vec is None else num_tokens_vec
            raise UserError(
                f"--max-tokens {max_tokens} (or --max-tokens-valid): the longest sentence of the data has "
                f"{int(max(lengths))} tokens; raise it, or leave long sentences out with --max-source-positions, "
                "--max-target-positions and --skip-invalid-size-inputs-valid-test"
            ) from None

    return batch_by_size
