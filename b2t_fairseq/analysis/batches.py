"""Batches for probes: of the embedded corpus or parallel text, word by word, and of fairseq's binarised data."""

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq import utils
from fairseq.data import Dictionary, data_utils
from torch import Tensor, nn

from ..common.errors import UserError
from ..corpora import parallel_text
from ..corpora.embedded import english_german

SENTENCES = 3000
PAD, EOS = 1, 2


def read_pairs(folder: str | None, source: str = "en", target: str = "de") -> list[tuple[str, str]]:
    """Read the first training pairs of a folder of parallel text, or of the embedded English-German corpus."""
    if folder is None:
        return english_german.generate(seed=1)["train"][:SENTENCES]
    files = parallel_text.find(Path(folder), source, target)
    return parallel_text.load_split(files.splits()["train"])[:SENTENCES]


def make_batches(pairs: Iterable[tuple[str, str]], tokens: int) -> tuple[Dictionary, list[dict[str, Any]]]:
    """Make a word-level dictionary, and batches of about `tokens` target tokens each, as fairseq collates them."""
    words, batches, batch = Dictionary(), [], []
    lines = [tuple(line.lower().split() for line in pair) for pair in pairs]
    for word in itertools.chain.from_iterable(line for pair in lines for line in pair):
        words.add_symbol(word)
    words.finalize(threshold=2)
    for pair in lines:
        rows = [torch.tensor([words.index(word) for word in line] + [EOS]) for line in pair]
        if batch and sum(len(target) for _, target in batch) + len(rows[1]) > tokens:
            batches.append(collate(batch))
            batch = []
        batch.append(tuple(rows))
    return words, [*batches, collate(batch)] if batch else batches


def collate(rows: list[tuple[Tensor, Tensor]]) -> dict[str, Any]:
    """Return sources (padded on the left) and targets (on the right), (B, T), as a sample of fairseq's."""
    sources, targets = zip(*rows, strict=True)
    inputs = {
        "src_tokens": data_utils.collate_tokens(sources, PAD, left_pad=True),
        "src_lengths": torch.tensor([len(source) for source in sources]),
        "prev_output_tokens": data_utils.collate_tokens(targets, PAD, EOS, move_eos_to_beginning=True),
    }
    return {"net_input": inputs, "target": data_utils.collate_tokens(targets, PAD)}


def first_batch(task: Any, model: nn.Module, subset: str, tokens: int) -> dict[str, Any]:
    """Return the first examples of a task's data, in the order of the file, as one batch of up to `tokens` tokens.

    An example that is too long for the model is left out. Tokens are counted as fairseq does: the longer side of a
    pair, frames of speech. There is at least one example.

    Raises:
        UserError: no such data, or none that is short enough.
    """
    task.load_dataset(subset)
    dataset = task.dataset(subset)
    limits = utils.resolve_max_positions(task.max_positions(), model.max_positions())
    numbers, _ = dataset.filter_indices_by_size(np.arange(len(dataset)), limits)
    totals = itertools.accumulate(dataset.num_tokens(number) for number in numbers)
    chosen = [number for number, total in zip(numbers, totals, strict=True) if total <= tokens] or numbers[:1]
    if not len(chosen):
        raise UserError(f"the data's {subset} set has no example that the model can take: choose another --subset")
    return dataset.collater([dataset[int(number)] for number in chosen])
