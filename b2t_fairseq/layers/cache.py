"""What incremental decoding remembers: keys and values that are written once and never moved.

Stock decoding copies every cache twice a step, to follow the beam and to append. Here the keys of all hypotheses of a
sentence stand side by side, new ones are written behind them in place, and each hypothesis attends to those of its own
ancestors: a compiled kernel (`native`) reads them by a small table of their positions, torch's operations get a mask.
Following the beam reorders the table. Keys that no hypothesis descends from any more are squeezed out when they have
become many. Keys and values of the source are held once per sentence, for all its hypotheses.

Words: a *row* is a hypothesis, as in fairseq's generator, which keeps the `beam` rows of a *sentence* together:
R = S x beam rows, row r of sentence r // beam. Each sentence has a *slot* in the buffers; when sentences are finished
the last ones move to the slots that become free. Layers see the rows by slot: `enter` and `leave` translate.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .. import native
from .masks import additive_mask, as_scores
from .packed import FEWEST_ROWS, prepared

FIRST_CAPACITY = 32  # positions; doubled when they are full
SQUEEZE_EVERY = 8  # steps; then keys without descendants are counted
SQUEEZE_BELOW = 0.6  # of the keys alive: squeezing costs about what attending once does, and then saves at each step
WIDEST_BEAM = 16  # with more hypotheses the hidden keys cost more than copying: each row is its own sentence then


class DecodingCache:
    """The state of one generation, for all layers of a decoder.

    Args:
        rows: R, at the first step.
        beam: rows per sentence; R is a multiple of it.
        memory: (T_source, S, C), the encoder's output, if there is an encoder.
        memory_padding: (S, T_source) bool, True where the source is padding; None if nothing is.
        layers: L, of the decoder. All have the same sizes; what they keep lies in one tensor, so that following the
            beam moves it by a few operations, however many layers there are.
    """

    def __init__(
        self,
        rows: int,
        beam: int = 1,
        memory: Tensor | None = None,
        memory_padding: Tensor | None = None,
        layers: int = 1,
    ):
        self.memory, self.layers = memory, layers
        self.beam, self.sentences, self.length = beam, rows // beam, 0
        self.used = 0  # positions in the buffers of keys and values
        self.is_large = rows >= FEWEST_ROWS
        self.slots: Tensor | None = None  # (S,) the sentences' slots; None: 0...S-1
        self.rows_by_slot: Tensor | None = None  # (S,) its inverse
        self.ancestors: Tensor | None = None  # (R, length): where in its sentence's buffers each row's keys stand
        self.hidden: Tensor | None = None  # (R, length) bool: padding among the tokens so far; None: none
        self.memory_padding = None if memory_padding is None else memory_padding.contiguous()
        self.ancestors_by_slot: Tensor | None = None  # (R, length), the same with the rows by slot
        self.masks: dict[str, Tensor | None] = {}  # of this step, as far as they were asked for
        self.layer = 0  # the number of the one that runs; layers that share parameters have keys of their own
        self.places: dict[object, int] = {}  # (layer, module) -> its place in `written`
        self.written: Tensor | None = None  # keys and values (L, 2, S, H, capacity, d_head)
        self.linears: dict[tuple[nn.Linear, ...], Callable[[Tensor], Tensor]] = {}
        self.source_places: dict[object, int] = {}  # module -> its place in `sources`
        # values of the source (L, S, H, T_source, d_head), and keys: the same, or (L, S, H, d_head, > T_source)
        self.sources: tuple[Tensor, Tensor] | None = None

    @property
    def rows(self) -> int:
        return self.sentences * self.beam

    def begin_step(self, device: torch.device, padding: Tensor | None) -> None:
        """Make room for one more position.

        Args:
            device: of the layers.
            padding: (R, 1) bool, where the newest token is padding; None if nowhere.
        """
        self.length += 1
        self.masks = {}
        if self.beam > 1:
            own = torch.arange(self.used, self.used + self.beam, device=device).repeat(self.sentences).unsqueeze(1)
            self.ancestors = own if self.ancestors is None else torch.cat([self.ancestors, own], 1)
            self.ancestors_by_slot = self.by_slot(self.ancestors.view(self.sentences, -1)).view_as(self.ancestors)
        self.used += self.beam
        if padding is not None or self.hidden is not None:
            before = self.length - 1
            nothing = torch.zeros(self.rows, before, dtype=torch.bool, device=device)
            new = nothing.new_zeros(self.rows, 1) if padding is None else padding
            self.hidden = torch.cat([nothing if self.hidden is None else self.hidden, new], 1)

    def mask(self, like: Tensor) -> Tensor | None:
        """Return this step's mask of self-attention, (S, 1, beam, used), the same for all layers."""
        if "own" not in self.masks:
            hidden = self.hidden_keys(like.device)
            self.masks["own"] = None if hidden is None else as_scores(self.by_slot(hidden), like)
        return self.masks["own"]

    def memory_mask(self, like: Tensor) -> Tensor | None:
        """Return this step's mask of cross-attention, (S, 1, 1, T_source), the same for all layers."""
        if "memory" not in self.masks:
            padding = self.memory_padding
            self.masks["memory"] = None if padding is None else additive_mask(padding[: self.sentences], like)
        return self.masks["memory"]

    def hidden_keys(self, device: torch.device) -> Tensor | None:
        """(S, 1, beam, used) bool: which of a sentence's keys each of its rows must not see."""
        if self.ancestors is None:  # one row per sentence: its keys stand in order
            return None if self.hidden is None else self.hidden[:, None, None, :]
        everything = torch.ones(self.rows, self.used, dtype=torch.bool, device=device)
        own = torch.zeros_like(self.ancestors, dtype=torch.bool) if self.hidden is None else self.hidden
        return everything.scatter_(1, self.ancestors, own).view(self.sentences, 1, self.beam, -1)

    def by_slot(self, x: Tensor) -> Tensor:
        """(S, ...) from the order of the sentences to that of their slots."""
        return x if self.rows_by_slot is None else x.index_select(0, self.rows_by_slot)

    def enter(self, x: Tensor) -> Tensor:
        """(1, R, C) from the generator's order of the rows to that of the slots, as layers want it."""
        return x if self.slots is None else self.by_slot(x.view(self.sentences, self.beam, -1)).view_as(x)

    def leave(self, x: Tensor) -> Tensor:
        """(1, R, C) back in the generator's order."""
        return x if self.slots is None else x.view(self.sentences, self.beam, -1)[self.slots].view_as(x)

    def grouped(self, x: Tensor, heads: int, parts: int = 1) -> tuple[Tensor, ...]:
        """(1, R, parts * H * d) -> `parts` times (S, H, beam, d): a sentence's rows as positions of one sequence."""
        return x.view(self.sentences, self.beam, parts, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)

    def ungrouped(self, x: Tensor) -> Tensor:
        """(S, H, beam, d) -> (1, R, H * d)."""
        return x.transpose(1, 2).reshape(1, self.rows, -1)

    def ungrouped_weights(self, weights: Tensor) -> Tensor:
        """(H, S, beam, T_source) by slot -> (H, R, 1, T_source)."""
        weights = weights if self.slots is None else weights.index_select(1, self.slots)
        return weights.reshape(weights.size(0), self.rows, 1, -1)

    def room(self, module: object, heads: int, head_width: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values by slot, with room for the newest: (S, H, capacity, d_head), of like's dtype and device."""
        place = self.places.setdefault((self.layer, module), len(self.places))
        if self.written is None:
            capacity = FIRST_CAPACITY * self.beam
            self.written = like.new_empty(self.layers, 2, self.sentences, heads, capacity, head_width)
        elif self.written.size(4) < self.used:
            self.written = with_capacity(self.written, 2 * self.written.size(4))
        return self.written[place, 0, : self.sentences], self.written[place, 1, : self.sentences]

    def extend(self, module: object, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Write the newest keys and values (S, H, beam, d_head), by slot; return all, (S, H, used, d_head)."""
        keys, values = (x[:, :, : self.used] for x in self.room(module, k.size(1), k.size(3), k))
        keys[:, :, -self.beam :], values[:, :, -self.beam :] = k, v
        return keys, values

    def linear(self, *modules: nn.Linear, then: Callable[[Tensor], Tensor] | None = None) -> Callable[[Tensor], Tensor]:
        """Return the product with the modules' weights, one below the other, followed by a function.

        It is prepared at the first step of a generation; `then` must always be the same for these modules.
        """
        if modules not in self.linears:
            self.linears[modules] = prepared(modules, self.rows, then)
        return self.linears[modules]

    def source(self, module: object, project: Callable[[], Sequence[Tensor]]) -> tuple[Tensor, Tensor]:
        """Keys and values of the source (S, H, T_source, d_head), by slot; projected at the first step only.

        On a CPU the keys lie transposed in memory, as the compiled kernel wants them, and many small products.
        """
        if module not in self.source_places:
            k, v = project()
            is_transposed = k.device.type == "cpu" and (self.is_large or native.suits(k, *native.DTYPES))
            if self.sources is None:
                shape = (*k.shape[:2], k.size(3), native.padded_length(k.size(2))) if is_transposed else k.shape
                self.sources = v.new_empty(self.layers, *v.shape), k.new_zeros(self.layers, *shape)
            place = self.source_places[module] = len(self.source_places)
            values, keys = self.sources
            values[place] = v
            keys[place, ..., : k.size(2) if is_transposed else None] = k.mT if is_transposed else k
        assert self.sources is not None
        v, k = (x[self.source_places[module], : self.sentences] for x in self.sources)
        return k if k.shape == v.shape else k[..., : v.size(2)].mT, v

    def reorder(self, order: Tensor) -> None:
        """Follow the beam: row r becomes what row order[r] was; rows may be repeated or dropped.

        Args:
            order: (R',) row numbers.
        """
        if not self.keeps_sentences_together(order):
            self.separate(order.device)
        sentences = order if self.beam == 1 else order.view(-1, self.beam)[:, 0] // self.beam
        if self.ancestors is not None:
            self.ancestors = self.ancestors.index_select(0, order)
        if self.hidden is not None:
            self.hidden = self.hidden.index_select(0, order)
        self.keep(sentences)
        if self.ancestors is not None and self.length % SQUEEZE_EVERY == 0:
            self.squeeze(self.ancestors)

    def keeps_sentences_together(self, order: Tensor) -> bool:
        """Whether each `beam` rows of the new order come from one sentence."""
        if self.beam == 1:
            return True
        if len(order) % self.beam:
            return False
        sentences = order.view(-1, self.beam) // self.beam
        return bool((sentences == sentences[:, :1]).all())

    def keep(self, sentences: Tensor) -> None:
        """Keep only these sentences (S',), in this order."""
        everything = torch.arange(self.sentences, device=sentences.device)
        if torch.equal(sentences, everything):
            return
        slots = sentences if self.slots is None else self.slots[sentences]
        count = len(sentences)
        if len(torch.unique(sentences)) == count:  # none is repeated: only those beyond the new end have to move
            is_taken = torch.zeros(self.sentences, dtype=torch.bool, device=slots.device)
            is_taken[slots] = True
            free, moving = (~is_taken[:count]).nonzero().flatten(), (slots >= count).nonzero().flatten()
            self.for_each_buffer(lambda x, dim: x.index_copy_(dim, free, x.index_select(dim, slots[moving])))
            slots = slots.index_copy(0, moving, free)
        else:
            self.for_each_buffer(lambda x, dim: x.index_select(dim, slots))
            slots = torch.arange(count, device=slots.device)
        self.sentences = count
        is_in_order = torch.equal(slots, torch.arange(count, device=slots.device))
        self.slots, self.rows_by_slot = (None, None) if is_in_order else (slots, slots.argsort())

    def squeeze(self, ancestors: Tensor) -> None:
        """Move the keys and values that have descendants to the front, where many have none."""
        alive = torch.zeros(self.rows, self.used, dtype=torch.bool, device=ancestors.device)
        alive = alive.scatter_(1, ancestors, True).view(self.sentences, self.beam, -1).any(1)
        count = int(alive.sum(1).max())
        if count > SQUEEZE_BELOW * self.used:
            return
        places = alive.cumsum(1).sub_(1).repeat_interleave(self.beam, 0)
        self.ancestors = places.gather(1, ancestors)
        # (S, count) in the order of the slots; sentences with fewer living keys take some dead ones along
        kept = self.by_slot(alive.byte().argsort(dim=1, descending=True, stable=True)[:, :count])
        for buffer in () if self.written is None else self.written[: len(self.places)]:
            _, sentences, heads, capacity, width = buffer.shape
            first = torch.arange(2 * sentences * heads, device=kept.device).view(2, -1, heads, 1) * capacity
            living = first[:, : self.sentences] + kept.unsqueeze(1)  # (2, S, H, count) rows of all of the buffer
            keys = buffer.view(-1, width).index_select(0, living.flatten())
            buffer[:, : self.sentences, :, :count] = keys.view(*living.shape, width)
        self.used = count

    def for_each_buffer(self, change: Callable[[Tensor, int], Tensor]) -> None:
        """Apply `change` to everything that is held by slot, and tell it the dimension of the slots."""
        if self.written is not None:
            self.written = change(self.written, 2)
        if self.sources is not None:
            self.sources = change(self.sources[0], 1), change(self.sources[1], 1)
        if self.memory_padding is not None:
            self.memory_padding = change(self.memory_padding, 0)

    def separate(self, device: torch.device) -> None:
        """Make each row a sentence of its own (beam 1), which may go anywhere."""
        slots = torch.arange(self.sentences, device=device) if self.slots is None else self.slots
        slots = slots.repeat_interleave(self.beam)
        if self.written is not None:
            own = self.written[:, :, slots.unsqueeze(1), :, self.ancestors]  # (R, length, L, 2, H, d_head)
            self.written = with_capacity(own.permute(2, 3, 0, 4, 1, 5), self.length + FIRST_CAPACITY)
        if self.sources is not None:
            self.sources = self.sources[0][:, slots], self.sources[1][:, slots]
        self.memory_padding = None if self.memory_padding is None else self.memory_padding[slots]
        self.sentences, self.beam, self.used = self.rows, 1, self.length
        self.slots = self.rows_by_slot = self.ancestors = self.ancestors_by_slot = None


def with_capacity(x: Tensor, positions: int) -> Tensor:
    """Return a buffer (L, 2, S, H, positions, d_head) that begins with x."""
    buffer = x.new_empty(*x.shape[:-2], positions, x.size(-1))
    buffer[..., : x.size(-2), :] = x
    return buffer


def rows_per_sentence(order: Tensor, sentences: int) -> int | None:
    """n if `order` repeats each of the rows 0...sentences-1 n times in a row, as a beam search begins; else None."""
    if sentences == 0 or len(order) % sentences:
        return None
    count = len(order) // sentences
    expected = torch.arange(sentences, device=order.device).repeat_interleave(count)
    return count if torch.equal(order, expected) else None
