"""The encoder's output in the order of the beam, without copying it."""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property

from fairseq.models import FairseqEncoder
from torch import Tensor

from ..layers.cache import WIDEST_BEAM, rows_per_sentence


class ReorderedEncoderOut(Mapping):
    """fairseq's dictionary with its rows repeated, dropped or moved; made only if somebody reads it.

    fairseq's generator repeats the encoder's output `beam` times and reorders it at every step; our decoder reads it at
    the first step only, once per sentence.

    Attributes:
        original: what the encoder returned.
        order: (R,) the original row of each row.
    """

    def __init__(self, original: Mapping, order: Tensor, reorder: Callable[[Mapping, Tensor], dict]):
        self.original, self.order = original, order
        self._reorder = reorder

    def reordered(self, order: Tensor) -> "ReorderedEncoderOut":
        return ReorderedEncoderOut(self.original, self.order.index_select(0, order), self._reorder)

    @cached_property
    def _reordered(self) -> dict:
        return self._reorder(self.original, self.order)

    def __getitem__(self, name: str):
        return self._reordered[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._reordered)

    def __len__(self) -> int:
        return len(self._reordered)


class LazyReordering(FairseqEncoder):
    """For an encoder: `reorder_encoder_out` of the class behind it, put off."""

    def reorder_encoder_out(self, encoder_out: Mapping, new_order: Tensor) -> ReorderedEncoderOut:
        if isinstance(encoder_out, ReorderedEncoderOut):
            return encoder_out.reordered(new_order)
        return ReorderedEncoderOut(encoder_out, new_order, super().reorder_encoder_out)


def memory_of(encoder_out: Mapping) -> tuple[Tensor, Tensor | None]:
    """Return the encoder states `(T, B, C)` and their padding `(B, T)`, None if nothing is padded."""
    paddings = encoder_out["encoder_padding_mask"]
    padding = paddings[0] if paddings else None
    return encoder_out["encoder_out"][0], padding if padding is not None and bool(padding.any()) else None


def shared_memory(encoder_out: Mapping) -> tuple[Tensor, Tensor | None, int]:
    """Return the same for incremental decoding, and the number of rows per sentence.

    Where `encoder_out` repeats each sentence equally often, for a beam that is not too wide, that is how often, and the
    states are those of each sentence once; else 1, and the states are each row's own.
    """
    if isinstance(encoder_out, ReorderedEncoderOut):
        original = encoder_out.original
        count = rows_per_sentence(encoder_out.order, original["encoder_out"][0].size(1))
        if count is not None and count <= WIDEST_BEAM:
            return *memory_of(original), count
    return *memory_of(encoder_out), 1
