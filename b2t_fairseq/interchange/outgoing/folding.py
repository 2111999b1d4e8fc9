"""Connections that are Post-LN or Pre-LN with other weights: how to write them as such, exactly.

    post, pre       as they are
    deepnet         LN(alpha x + F(x)) = LN(y + F'(y)) with y = alpha x: what makes x makes y, and F' divides by alpha
    admin           the same, with a vector omega for alpha
    ln_scaling      x + F(LN(x) / sqrt(l)): 1 / sqrt(l) goes into the norm's weight and bias
    complete_p      x + f F(LN(x)): f goes into the branch's last projection

What makes x is the norm before (or, at the bottom, the embedding and the positions); F' divides in the columns of its
first projections. So the epsilon of the norms stays what it was.
"""

from typing import NamedTuple

import numpy as np

from ...common.errors import UserError
from ...connections.base import Connection
from ...layers import Stack

SMALLEST = 1e-3  # of omega: what is divided by less would lose its digits
WHY_NOT = {
    "b2t": "its feed-forward layer adds the layer's own input, and CTranslate2's adds its own input only",
    "b2t_no_ln": "its feed-forward layer adds the layer's own input, and CTranslate2's adds its own input only",
    "b2t_all": "its feed-forward layer adds the layer's own input, and CTranslate2's adds its own input only",
    "tfixup": "it has no norms, and every sub-layer of CTranslate2 has one",
    "resi_dual": "it carries two streams, and CTranslate2 carries one",
    "mix": "its lower layers are Post-LN and its upper ones Pre-LN, and CTranslate2 has one kind for a whole stack",
    "sub_ln": "it has norms inside its sub-layers, and CTranslate2 has none there",
    "hybrid": "it has norms inside its sub-layers, and CTranslate2 has none there",
    "hybrid_star": "it has norms inside its sub-layers, and CTranslate2 has none there",
}
OTHERWISE = "its residuals are not those of Post-LN or Pre-LN, which are all that CTranslate2 has"


class Folded(NamedTuple):
    """What to multiply in one sub-layer, so that it becomes Post-LN's or Pre-LN's.

    Attributes:
        stream: (C,) or a number: of the residual that enters; its maker is multiplied, the branch's input divided.
        norm: of weight and bias of the sub-layer's norm.
        branch: of the branch's last projection.
    """

    stream: np.ndarray | float = 1.0
    norm: float = 1.0
    branch: float = 1.0


def is_pre_norm(stack: Stack) -> bool:
    """Return whether a stack becomes Pre-LN; the other ones become Post-LN.

    Raises:
        UserError: it becomes neither; says why.
    """
    connection = stack.connection
    post, pre = ("post", "deepnet", "admin"), ("pre", "ln_scaling", "complete_p")
    reason = None
    if connection.name not in (*post, *pre):
        reason = f"connection '{connection.name}': {WHY_NOT.get(connection.name, OTHERWISE)}"
    elif getattr(connection, "gate", None) is not None:
        reason = "gpas: its gates scale the residual by numbers that CTranslate2 does not have"
    elif stack.config.norm != "layer":
        reason = f"--norm {stack.config.norm}: the exported norms are LayerNorms"
    elif any(stack.branch_warmup and stack.branch_warmup.factor(l + 1) != 1 for l in range(len(stack))):
        updates = stack.branch_warmup.num_updates
        reason = f"its branch warm-up is not over (update {updates}), so it is not yet the function it is trained to be"
    if reason:
        raise UserError(f"CTranslate2 cannot run this model exactly: {reason}; --format safetensors takes every model")
    return connection.name in pre


def folded(connection: Connection, l: int, j: int) -> Folded:
    """Return what to multiply in sub-layer j = 0, 1, (2) of layer l = 1...L."""
    if connection.name == "deepnet":
        return Folded(stream=float(connection.alpha))
    if connection.name == "admin":
        omega = connection.omega_of(l, j).detach().float().numpy()
        if np.abs(omega).min() < SMALLEST:
            raise UserError(f"CTranslate2 cannot run this model exactly: an omega of layer {l} is nearly 0")
        return Folded(stream=omega)
    if connection.name == "ln_scaling":
        return Folded(norm=l**-0.5)
    if connection.name == "complete_p":
        return Folded(branch=float(connection.factor))
    return Folded()
