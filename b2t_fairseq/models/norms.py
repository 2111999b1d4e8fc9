"""The kind of norm of a model (`--norm`): which goes with what, and the final norm, which fairseq's classes make."""

from typing import Any

from ..common.errors import UserError
from ..layers import Stack
from ..norms import NORMS


def norm_of(args: Any) -> str:
    """Return the kind that a model's arguments name.

    Raises:
        UserError: there is no such kind.
    """
    kind = getattr(args, "norm", None) or "layer"
    if kind not in NORMS:
        raise UserError(f"--norm '{kind}' is unknown: choose one of {', '.join(NORMS)}")
    return kind


def check_norms(stack: Stack) -> None:
    """Refuse a kind of norm that its connection does not take, or that would change nothing.

    Raises:
        UserError: it is refused.
    """
    kind, connection = stack.config.norm, stack.connection
    if kind not in connection.norm_kinds:
        others = ", ".join(connection.norm_kinds)
        raise UserError(
            f"--norm {kind} does not go with --connection {connection.name}: {connection.why_not_others}; use {others}"
        )
    has_norms = connection.has_final_norm or any(isinstance(module, NORMS[kind]) for module in stack.modules())
    if kind != "layer" and not has_norms:
        raise UserError(f"--norm {kind} does not go with --connection {connection.name}: it has no norms; leave it out")
    if kind == "un" and stack.shares_layers:
        raise UserError(
            "--share-layers does not go with --norm un: one norm would have the moments of several depths; leave out "
            "either"
        )
    if kind == "un" and stack.compile_layers:
        raise UserError(
            "--compile-layers does not go with --norm un: its moving statistics cannot be compiled; leave out either"
        )


def give_final_norm(module: Any, stack: Stack) -> None:
    """Make the norm after the stack, if the module has one, of the stack's kind, with the connection's epsilon."""
    if module.layer_norm is None:
        return
    eps = stack.connection.final_norm_eps
    if stack.config.norm == "layer":  # fairseq's own
        module.layer_norm.eps = eps
    else:
        module.layer_norm = stack.config.make_norm(eps=eps)
