"""The command-line options that every model of ours has, and what is made of them."""

import argparse
import logging
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import Any, NamedTuple

from fairseq.models.transformer import TransformerConfig

from ..checkpoints.arguments import write
from ..checkpoints.signature import after_pruning, check_same_function, layers_to_keep, make_signature
from ..common.errors import UserError
from ..connections import CONNECTIONS, Connection, get_connection, parse_options
from ..connections.own_module import import_connection_module
from ..init import CHOICES, INITIALISATIONS, Stacks, initialise, resolve
from ..layers import BranchWarmup, Stack, StackConfig
from ..layers.branch_warmup import SCHEDULES
from ..layers.sharing import FORMS, parameters_of
from ..norms import NORMS
from .norms import check_norms, norm_of

logger = logging.getLogger(__name__)


def one_of(choices) -> Any:
    """Return an argparse type that accepts a name out of `choices`; its error lists them."""

    def check(name: str) -> str:
        if name not in choices:
            raise argparse.ArgumentTypeError(f"'{name}' is unknown: choose one of {', '.join(choices)}")
        return name

    return check


#: help texts of the connection's options, for argparse and for the language model's dataclass
HELP = {
    "connection": f"how residuals and layer norms are joined: {', '.join(CONNECTIONS)}",
    "connection_init": f"initialisation: auto (the connection's own), {', '.join(INITIALISATIONS)}",
    "connection_options": "options of the connection itself, such as final_norm=true",
    "norm": f"the kind of every norm of the layers, and of the one after them: {', '.join(NORMS)}",
    "connection_module": "a module of yours that registers connections: its dotted name or the path of its .py file",
    "compile_layers": "train with layers compiled by torch.compile; for GPUs: on a CPU it is slower",
    "split_products": "train in float32 by split products, on a CPU with AMX; takes 12 bytes more for each weight",
    "branch_warmup": "let the branches grow from near 0 to full size over N updates (layer l: N l, if progressive)",
    "branch_warmup_schedule": "progressive (default; layer l takes l times as long) or equal, for all layers",
    "share_layers": f"let layers share parameters: {', '.join(FORMS)}; with --unique-layers",
    "unique_layers": "how many different layers a stack has, with --share-layers",
    "probe_interval": "every N updates, write the layers' gradient norms and variances to SAVE_DIR/probes.jsonl",
}


def add_connection_args(parser: ArgumentParser) -> None:
    """Add the `--connection*` options, without argparse defaults, which would hide the architecture's."""
    forms: dict[str, dict[str, Any]] = {
        "connection": {"type": one_of(CONNECTIONS), "metavar": "NAME"},
        "connection_init": {"type": one_of(CHOICES), "metavar": "NAME"},
        "connection_options": {"metavar": "NAME=VALUE,..."},
        "norm": {"type": one_of(NORMS), "metavar": "KIND"},
        "compile_layers": {"action": "store_true"},
        "split_products": {"action": "store_true"},
        "connection_module": {"metavar": "NAME_OR_PATH"},
        "branch_warmup": {"type": int, "metavar": "N"},
        "branch_warmup_schedule": {"type": one_of(SCHEDULES), "metavar": "NAME"},
        "share_layers": {"type": one_of(FORMS), "metavar": "NAME"},
        "unique_layers": {"type": int, "metavar": "P"},
        "probe_interval": {"type": int, "metavar": "N"},
    }
    for name, form in forms.items():
        parser.add_argument(f"--{name.replace('_', '-')}", help=HELP[name], **form)


class Plan(NamedTuple):
    """What the options say of a model's stacks, checked.

    Attributes:
        connection: how residuals and norms are joined.
        options: of the connection.
        init: name of the initialisation.
        module: where a connection of the user's is defined.
        compile_layers: train with torch.compile's form of the layers.
        split_products: train with split products.
        branch_warmup, branch_warmup_schedule: how long, and how, the branches grow; 0: they do not.
        share_layers, unique_layers: which layers share parameters; None: none do.
        norm: the kind of every norm.
    """

    connection: type[Connection]
    options: Mapping[str, Any]
    init: str
    module: str | None = None
    compile_layers: bool = False
    split_products: bool = False
    branch_warmup: int = 0
    branch_warmup_schedule: str = SCHEDULES[0]
    share_layers: str | None = None
    unique_layers: int | None = None
    norm: str = "layer"

    @classmethod
    def from_args(cls, args: Any) -> "Plan":
        """Read the options of a Namespace or TransformerConfig.

        Raises:
            UserError: an unknown name, or an option of fairseq's that our layers do not have.
        """
        refuse_unsupported(args)
        module = getattr(args, "connection_module", None)
        module = import_connection_module(module) if module else None
        connection = get_connection(getattr(args, "connection", None) or "b2t")
        options = parse_options(connection, getattr(args, "connection_options", None))
        init = resolve(getattr(args, "connection_init", None), connection.default_init)
        compiles, splits = (bool(getattr(args, name, False)) for name in ("compile_layers", "split_products"))
        if compiles and splits:
            raise UserError(
                "--split-products does not go with --compile-layers, whose products are torch's own: leave out either"
            )
        further = (*read_warmup(args), *read_sharing(args), norm_of(args))
        return cls(connection, options, init, module, compiles, splits, *further)

    def build_stack(self, config: StackConfig, layerdrop: float = 0.0, checkpoint_activations: bool = False) -> Stack:
        connection = self.connection(config, **self.options)
        warmup = BranchWarmup(self.branch_warmup, self.branch_warmup_schedule) if self.branch_warmup else None
        places = parameters_of(config.depth, self.share_layers, self.unique_layers, config.other_depth)
        fast = self.compile_layers, self.split_products
        stack = Stack(config, connection, layerdrop, checkpoint_activations, *fast, warmup, places)
        check_norms(stack)
        return stack

    def signature(self, layers: str, without_final_norm: bool = False) -> str:
        """Signature of a model with these depths, e.g. "18-18"."""
        changed = {k: v for k, v in self.options.items() if v != self.connection.options[k].default}
        if self.norm != "layer":
            changed["norm"] = self.norm
        if without_final_norm:
            changed["final_norm"] = False
        if self.branch_warmup:
            changed |= {"branch_warmup": self.branch_warmup, "branch_warmup_schedule": self.branch_warmup_schedule}
        if self.share_layers:
            changed |= {"share_layers": self.share_layers, "unique_layers": self.unique_layers}
        return make_signature(self.connection.name, changed, self.init, layers)

    def finish(self, args: Any, stacks: Stacks) -> str:
        """Initialise a new model, log its signature and write it into the arguments that checkpoints save.

        Raises:
            UserError: the arguments come from a checkpoint of another connection (`--model-overrides`).
        """
        for stack in stacks.present():
            stack.connection.warn()
        initialise(stacks, self.init)
        for stack in stacks.present():
            stack.init_name = self.init
        without_final_norm = self.connection.final_norm_is_optional and bool(
            getattr(args, "no_decoder_final_norm", None)
        )
        signature = self.signature("-".join(str(len(stack)) for stack in stacks.present()), without_final_norm)
        fixed = [stack.connection.described for stack in stacks.present() if not stack.connection.can_be_pruned]
        if layers_to_keep(args) and fixed:
            raise UserError(
                f"--encoder-layers-to-keep, --decoder-layers-to-keep: connection '{fixed[0]}' has numbers that depend "
                "on the depth or on a layer's place, so a pruned model would be another function; keep all layers, or "
                "train a connection that can be pruned (post, pre, b2t, without gpas)"
            )
        noted = after_pruning(getattr(args, "connection_signature", None), layers_to_keep(args))
        check_same_function(noted, signature, "the checkpoint")
        write(args, "connection_signature", signature)
        if self.module:
            write(args, "connection_module", self.module)
        logger.info(f"signature: {signature}")
        return signature


def read_warmup(args: Any) -> tuple[int, str]:
    """Return `--branch-warmup` and its schedule.

    Raises:
        UserError: a schedule without a length, or a value that does not exist.
    """
    updates, schedule = (getattr(args, name, None) for name in ("branch_warmup", "branch_warmup_schedule"))
    if schedule and schedule not in SCHEDULES:
        raise UserError(f"--branch-warmup-schedule {schedule} is unknown: choose one of {', '.join(SCHEDULES)}")
    if updates is not None and updates < 0:
        raise UserError(f"--branch-warmup {updates}: must be a number of updates, from 1 on (0: none)")
    if schedule and not updates:
        raise UserError("--branch-warmup-schedule needs --branch-warmup N, the number of updates")
    return updates or 0, schedule or SCHEDULES[0]


def read_sharing(args: Any) -> tuple[str | None, int | None]:
    """Return `--share-layers` and `--unique-layers`.

    Raises:
        UserError: one without the other, or a value that does not exist.
    """
    form, unique = (getattr(args, name, None) or None for name in ("share_layers", "unique_layers"))
    if form and form not in FORMS:
        raise UserError(f"--share-layers {form} is unknown: choose one of {', '.join(FORMS)}")
    if (form is None) != (unique is None):
        raise UserError(
            "--share-layers and --unique-layers P, from 1 on, go together: --share-layers cycle --unique-layers 6"
        )
    if unique is not None and unique < 1:
        raise UserError(f"--unique-layers {unique}: must be a number of layers, from 1 on")
    if form and layers_to_keep(args):
        raise UserError(
            "--encoder-layers-to-keep, --decoder-layers-to-keep: layers that share parameters cannot be pruned; leave "
            "it out, or train without --share-layers"
        )
    return form, unique


UNSUPPORTED = {
    "encoder_normalize_before": "the connection decides where the norms are: use --connection pre",
    "decoder_normalize_before": "the connection decides where the norms are: use --connection pre",
    "quant_noise_pq": "our layers have no quantisation noise: use fairseq's own transformer",
    "quant_noise_scalar": "our layers have no quantisation noise: use fairseq's own transformer",
    "cross_self_attention": "our layers keep self- and cross-attention apart: use fairseq's own transformer",
    "encoder_xformers_att_config": "our attention is torch's own fused kernel",
    "decoder_xformers_att_config": "our attention is torch's own fused kernel",
    "base_layers": "our stacks have no BASE layers",
    "offload_activations": "our stacks recompute activations instead: use --checkpoint-activations",
}


def refuse_unsupported(args: Any) -> None:
    """Raise a UserError for an option of fairseq's that would otherwise be ignored without a word."""
    for name, why in UNSUPPORTED.items():
        if getattr(args, name, None):
            raise UserError(f"--{name.replace('_', '-')} does not go with --connection: {why}")
    if getattr(args, "ddp_backend", None) == "fully_sharded":
        raise UserError("--ddp-backend fully_sharded is not supported: use pytorch_ddp or legacy_ddp")


def apply_pruning(args: Any, *sides: str) -> None:
    """Set the depth of each stack that is to be pruned (`--decoder-layers-to-keep 0,2`) to that of the pruned one.

    Args:
        args: the model's arguments.
        sides: the stacks that fairseq can prune in this model, of "encoder" and "decoder".

    Raises:
        UserError: another stack is to be pruned.
    """
    pruned = layers_to_keep(args)
    for side in pruned:
        if side not in sides:
            raise UserError(f"--{side}-layers-to-keep: fairseq cannot prune this model's {side}: leave the option out")
    for side in sides if pruned else ():
        # fairseq drops every layer of a side that is not mentioned beside one that is
        kept = pruned.get(side) or range(getattr(args, f"{side}_layers"))
        write(args, f"{side}_layers_to_keep", ",".join(map(str, kept)))
        write(args, f"{side}_layers", len(kept))


def stack_config(
    args: Namespace | TransformerConfig, side: str, has_cross_attention: bool, other_depth: int | None
) -> StackConfig:
    """Return the sizes of one stack, from fairseq's flat arguments (`encoder_layers`, `decoder_embed_dim`, ...)."""

    def own(name: str) -> Any:
        return getattr(args, f"{side}_{name}")

    if own("embed_dim") % own("attention_heads"):
        raise UserError(
            f"--{side}-embed-dim {own('embed_dim')} is not a multiple of --{side}-attention-heads "
            f"{own('attention_heads')}: change either"
        )
    return StackConfig(
        side=side,
        depth=own("layers"),
        other_depth=other_depth,
        width=own("embed_dim"),
        ffn_width=own("ffn_embed_dim"),
        heads=own("attention_heads"),
        kinds=("SA", "CA", "FF") if has_cross_attention else ("SA", "FF"),
        memory_width=args.encoder_embed_dim if has_cross_attention else None,
        dropout=args.dropout,
        attention_dropout=args.attention_dropout,
        # models of before 2019 call it relu_dropout
        activation_dropout=args.activation_dropout or getattr(args, "relu_dropout", 0.0) or 0.0,
        activation=args.activation_fn,
        norm=norm_of(args),
    )
