"""Shared layers: a stack of L layers with the parameters of P (`--share-layers`, `--unique-layers P`).

Takase and Kiyono 2021, "Lessons on Parameter Sharing across Layers in Transformers" (arXiv 2104.06022). For L = 6 and
P = 3 the layers use the parameters

    sequence     1 1 2 2 3 3
    cycle        1 2 3 1 2 3
    cycle_rev    1 2 3 3 2 1     (cycle, whose last P are reversed)

An initialisation that depends on a layer's number takes the first layer that uses the parameters (our decision).
"""

from collections.abc import Sequence

from ..common.errors import UserError
from ..connections.base import Connection
from ..connections.config import StackConfig

FORMS = ("sequence", "cycle", "cycle_rev")


class SharingError(UserError):
    """A connection whose layers cannot share parameters."""


def parameters_of(depth: int, form: str | None, unique: int | None, other_depth: int | None = None) -> list[int]:
    """Return for each of the `depth` layers whose parameters it uses, 0...P-1.

    With a decoder of P layers, only a deeper encoder shares any, and the reverse.

    Raises:
        UserError: the depth is not a multiple of P, or nothing would be shared, in the other stack neither.
    """
    if form is None or unique is None:
        return list(range(depth))
    if depth % unique or unique == depth == (other_depth or depth):
        why = "nothing is shared" if unique == depth else "the depth is not a multiple of it"
        raise UserError(
            f"--unique-layers {unique}: a stack of {depth} layers cannot be made of them ({why}): choose a smaller "
            "divisor of the depth, or leave --share-layers out"
        )
    if unique == depth:
        return list(range(depth))
    if form == "sequence":
        return [i * unique // depth for i in range(depth)]
    cycle = [i % unique for i in range(depth)]
    return cycle if form == "cycle" else cycle[:-unique] + cycle[:unique][::-1]


def check_sharing(connection: Connection, config: StackConfig, places: Sequence[int]) -> None:
    """Refuse a connection whose layers cannot share parameters.

    Raises:
        SharingError: it has parameters or norms of its own for each layer.
    """
    if len(set(places)) == len(places):
        return
    if connection.has_parameters_per_layer:
        raise SharingError(
            f"--share-layers does not go with connection '{connection.described}', which has parameters of its own for "
            "each layer: choose another connection, or other options of it"
        )
    for i, place in enumerate(places):
        first = places.index(place)
        for kind in config.kinds:
            for asked in (connection.norms, connection.inner_norms):
                if asked(i + 1, kind) != asked(first + 1, kind):
                    raise SharingError(
                        f"--share-layers does not go with connection '{connection.name}': its layers {first + 1} and "
                        f"{i + 1} have different norms; choose another connection"
                    )
