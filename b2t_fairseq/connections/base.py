"""The contract of a connection: how residuals and norms join the sub-layers of a stack.

A *stream* flows through a stack: a tensor (T, B, C), or a small named tuple when a method carries more; its field `x`
is then the output so far. A connection sees it at five places:

    stream = open(x)                                            the embedding enters the stack
    stream = enter_layer(stream, l)                             l = 1...L
    stream = sublayer(stream, l, j, branch, norms)              j = 0, 1, (2): the j-th sub-layer of the layer
    stream = leave_layer(stream, l)
    x      = close(stream, final_norm)                          what the stack returns

`branch(x)` is the sub-layer F with its dropout, (T, B, C) -> (T, B, C); `branch.raw` and `branch.dropout` are its
halves. In a branch warm-up what `branch.dropout` returns is scaled, so a method that norms a branch applies it last.
`norms` are the LayerNorms the connection asked for at this sub-layer; the layer holds them under stock
fairseq's names.
A stream is functional: nothing of a forward pass is kept in the module, so that activation checkpointing, data
parallelism, incremental decoding and ensembles are safe.
"""

from typing import Any, NamedTuple

from torch import Tensor, nn

from ..common.errors import UserError
from ..norms import NORMS
from .config import StackConfig


class Option(NamedTuple):
    """An option of one connection, set by `--connection-options NAME=VALUE,...`; its type is its default's."""

    default: bool | int | float | str
    help: str


class Connection(nn.Module):
    """Base class: the hooks that most methods leave as they are. A method overrides `sublayer` and what it needs.

    Attributes:
        name: the registered name.
        default_init: what `--connection-init auto` means for it.
        has_final_norm: a LayerNorm follows the whole stack (Pre-type).
        final_norm_is_optional: fairseq's `--no-decoder-final-norm` may leave it out.
        final_norm_eps: its epsilon.
        needs_all_layers: LayerDrop is refused.
        norm_kinds: the kinds of norm (`--norm`) that it takes.
        why_not_others: what the error says of the others.
        can_be_pruned: a trained model may be run with fewer of its layers (`--decoder-layers-to-keep`); false where a
            layer's numbers depend on its place or on the depth.
        has_parameters_per_layer: it has parameters of its own for each layer; `--share-layers` is refused.
        branch_can_warm_up: its branches are added to the stream, so that they may grow from 0 (`--branch-warmup`).
        norm_reads_sum: each "layer_norm" reads the sum after a sub-layer, its own or the one before: what the probe
            `points` takes it for.
        options: the connection's own options, declared: name -> default and help text.
        settings: their values in this model: name -> value.
    """

    name: str = ""
    default_init: str = "default"
    has_final_norm: bool = False
    final_norm_is_optional: bool = False
    final_norm_eps: float = 1e-5
    needs_all_layers: bool = False
    norm_kinds: tuple[str, ...] = tuple(NORMS)
    why_not_others: str = ""
    can_be_pruned: bool = True
    has_parameters_per_layer: bool = False
    branch_can_warm_up: bool = True
    norm_reads_sum: bool = True
    options: dict[str, Option] = {}

    def __init__(self, config: StackConfig, **options):
        """Take the stack's sizes and the values of `options`, already complete and typed (`parse_options`)."""
        super().__init__()
        self.config = config
        self.settings = options

    @property
    def option(self) -> dict[str, Any]:
        """Return `settings`, by its former name: connections outside this package may read it."""
        return self.settings

    @property
    def described(self) -> str:
        """Return the name, with the options that are not at their defaults: "pre (gpas=true)"."""
        defaults = {name: option.default for name, option in self.options.items()}
        changed = [f"{k}={str(v).lower()}" for k, v in self.settings.items() if v != defaults.get(k)]
        return f"{self.name} ({','.join(changed)})" if changed else self.name

    def norms(self, l: int, kind: str) -> tuple[str, ...]:
        """Which LayerNorms of width C a sub-layer of kind "SA", "CA" or "FF" needs; "layer_norm" is the stock one."""
        return ("layer_norm",)

    def inner_norms(self, l: int, kind: str) -> tuple[str, ...]:
        """Which norms stand inside the sub-layer: "q", "k", "v" (per head), "inner" (before the last projection)."""
        return ()

    def open(self, x: Tensor) -> Any:
        return x

    def enter_layer(self, stream: Any, l: int) -> Any:
        return stream

    def sublayer(self, stream: Any, l: int, j: int, branch, norms: tuple[nn.Module, ...]) -> Any:
        raise NotImplementedError

    def leave_layer(self, stream: Any, l: int) -> Any:
        return stream

    def close(self, stream: Any, final_norm: nn.Module | None) -> Tensor:
        return stream if final_norm is None else final_norm(stream)

    def output(self, stream: Any) -> Tensor:
        """Return a layer's output (T, B, C) as others see it: analysis, `return_all_hiddens`."""
        return stream if isinstance(stream, Tensor) else stream.x

    def warn(self) -> None:
        """Log what a user should know of this stack; called once, when a model is built."""

    def is_last(self, j: int) -> bool:
        """Whether sub-layer j is the last of its layer."""
        return j == len(self.config.kinds) - 1

    def extra_repr(self) -> str:
        return ", ".join([self.name, *(f"{name}={value}" for name, value in self.settings.items())])


def parse_options(cls: type[Connection], text: str | None) -> dict[str, bool | int | float | str]:
    """Complete and typed options of a connection from "NAME=VALUE,...".

    Raises:
        UserError: an unknown option or a value of the wrong type.
    """
    values = {name: option.default for name, option in cls.options.items()}
    for item in filter(None, (text or "").split(",")):
        name, _, value = (part.strip() for part in item.partition("="))
        if name not in values:
            known = ", ".join(values) or "it has none"
            raise UserError(f"--connection-options: connection '{cls.name}' has no option '{name}' (known: {known})")
        kind = type(cls.options[name].default)
        try:
            values[name] = {"true": True, "false": False}[value.lower()] if kind is bool else kind(value)
        except (KeyError, ValueError):
            expected = "true or false" if kind is bool else f"of type {kind.__name__}"
            raise UserError(f"--connection-options: {name}={value} must be {expected}") from None
    return values
