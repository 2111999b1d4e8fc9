"""`python -m b2t_fairseq.connections [--layers N-M] [--width D]`: the table of all connections.

For each: whether a LayerNorm follows the stack, its parameters and operations beside Post-LN's at the given size, the
initialisation that `--connection-init auto` means, formula and paper. The last two are read off the docstrings.
"""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from ..common.command_line import Parser, depths, guarded, positive
from ..common.errors import UserError
from ..connections import CONNECTIONS, Connection, parse_options
from ..layers import Context, Stack, StackConfig
from ..layers.sharing import FORMS, SharingError, parameters_of
from ..models.methods import add_code_options

LEGEND = """
final LN     a LayerNorm after the whole stack
parameters   how many more than Post-LN, with the connection's options at their defaults
norms, sums  relative cost: how many more LayerNorms, and additions or multiplications (or both in one), of a whole
             tensor (time, batch, width) than Post-LN, per layer; a tensor n times as large counts n times (everything
             counted, also the final norms; mean over the layers of all stacks). The matrices of a layer alone: 12
             times the width, with cross-attention 16 times
init         what --connection-init auto means"""

ELEMENTWISE = ("add", "add_", "addcmul_", "mul", "div")
PRODUCTS = ("mm", "bmm", "mv")
TOKENS = (100, 100)  # what is computed once, and not for each token, hardly counts


class Row(NamedTuple):
    """One line of the table; parameters, norms and sums relative to Post-LN."""

    name: str
    final_norm: bool
    parameters: int
    norms: float
    sums: float
    init: str
    formula: str
    paper: str


class Operations(TorchDispatchMode):
    """Counts the numbers that LayerNorms, and sums and products, compute while it is active."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result, name = function(*args, **(kwargs or {})), function.overloadpacket.__name__
        if name == "native_layer_norm":
            self.counts["norms"] += result[0].numel()
        elif name in ELEMENTWISE:
            self.counts["sums"] += result.numel()
        elif name in PRODUCTS:  # of matrices
            self.counts["sums"] += result.numel() * args[0].size(-1)
        elif name == "addmm":  # with a bias
            self.counts["sums"] += result.numel() * (args[1].size(-1) + 1)
        elif name == "sum":
            self.counts["sums"] += args[0].numel() - result.numel()
        return result


def heads_of(width: int) -> int:
    """Return the number of heads, 64 wide as in the base model."""
    return max(1, width // 64)


def stack_configs(layers: Sequence[int], width: int) -> list[StackConfig]:
    """Return encoder and decoder, or the one stack of a language model; the FFN is 4 times as wide."""
    sizes = {"width": width, "ffn_width": 4 * width, "heads": heads_of(width)}
    if len(layers) == 1:
        return [StackConfig("decoder", layers[0], **sizes)]
    n, m = layers
    return [
        StackConfig("encoder", n, other_depth=m, **sizes),
        StackConfig("decoder", m, other_depth=n, kinds=("SA", "CA", "FF"), **sizes),
    ]


def measure(cls: type[Connection], configs: list[StackConfig], sharing: tuple[str | None, int | None]) -> Counter:
    """Count parameters, norms and sums of all stacks together; on the meta device, so nothing is computed.

    Norms and sums are in units of a whole tensor (T, B, C).
    """
    total = Counter()
    with torch.device("meta"), torch.no_grad():
        for config in configs:
            own = cls(config, **parse_options(cls, None))
            final_norm = nn.LayerNorm(config.width) if own.has_final_norm else None
            stack = Stack(config, own, places=parameters_of(config.depth, *sharing, config.other_depth)).eval()
            modules = [stack] if final_norm is None else [stack, final_norm]
            total["parameters"] += sum(p.numel() for module in modules for p in module.parameters())
            x = torch.zeros(*TOKENS, config.width)
            with Operations() as operations:
                stack(x, Context(memory=x), final_norm)
            total.update({kind: count / x.numel() for kind, count in operations.counts.items()})
    return total


def docstrings(cls: type[Connection]) -> Iterator[str]:
    """Yield those of the class, of its module, and of those it derives from."""
    for ancestor in cls.__mro__[: cls.__mro__.index(Connection)]:
        yield from filter(None, (vars(ancestor).get("__doc__"), vars(sys.modules[ancestor.__module__])["__doc__"]))


def formula(cls: type[Connection]) -> str:
    """Return what follows the method's name in the first paragraph of its docstring."""
    first, _, _ = next(docstrings(cls), "").partition("\n\n")
    return " ".join(first.partition(": ")[2].split()).rstrip(".")


def paper(cls: type[Connection]) -> str:
    """Return the first citation, with the title if it is given."""
    for text in docstrings(cls):
        citation = re.search(r'[A-Z]\w+(?: et al\.| and [A-Z]\w+| Team) \d{4}(?:,\s+"[^"]+")?', text)
        if citation:
            return " ".join(citation[0].split())
    return ""


def table(layers: Sequence[int], width: int, share_layers: str | None = None, unique: int | None = None) -> list[Row]:
    """Return all registered connections, in the order of their registration, beside Post-LN without shared layers.

    Args:
        layers: depth of each stack.
        width: of the model.
        share_layers, unique: `--share-layers` and `--unique-layers`; then only the connections that can share layers.
    """
    configs, rows = stack_configs(layers, width), []
    base = measure(CONNECTIONS["post"], configs, (None, None))
    for name, cls in CONNECTIONS.items():
        try:
            counts = measure(cls, configs, (share_layers, unique))
        except SharingError:
            continue
        norms, sums = ((counts[kind] - base[kind]) / sum(layers) for kind in ("norms", "sums"))
        parameters = counts["parameters"] - base["parameters"]
        rows.append(Row(name, cls.has_final_norm, parameters, norms, sums, cls.default_init, formula(cls), paper(cls)))
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = Parser(
        prog="python -m b2t_fairseq.connections",
        description="All connections, compared with Post-LN.",
        epilog=LEGEND,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--layers", type=depths, default=(18, 18), metavar="N-M", help="depth, 18-18 unless given")
    parser.add_argument("--width", type=positive, default=512, metavar="D", help="model width, 512 unless given")
    parser.add_argument("--share-layers", choices=FORMS, help="share layers; leave out connections that cannot")
    parser.add_argument("--unique-layers", type=positive, metavar="P", help="how many different layers a stack has")
    add_code_options(parser.add_argument)
    options = parser.parse_args(arguments)
    if (options.share_layers is None) != (options.unique_layers is None):
        raise UserError("--share-layers and --unique-layers go together: --share-layers cycle --unique-layers 6")
    if options.width % heads_of(options.width):
        raise UserError(f"--width {options.width}: must be a multiple of its {heads_of(options.width)} heads")
    rows = table(options.layers, options.width, options.share_layers, options.unique_layers)
    shared = f", {options.share_layers} of {options.unique_layers} layers" if options.share_layers else ""
    print(f"layers {'-'.join(map(str, options.layers))}, width {options.width}{shared}\n")
    print(f"{'name':<12} {'final LN':<9} {'parameters':>10} {'norms':>6} {'sums':>7}  {'init':<8} formula; paper")
    for row in rows:
        start = f"{row.name:<12} {'yes' if row.final_norm else 'no':<9} {row.parameters:>+10,} "
        print(f"{start}{row.norms:>+6.2f} {row.sums:>+7.2f}  {row.init:<8} {row.formula}; {row.paper}".rstrip("; "))
    print(LEGEND)
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
