"""The encoder-decoder for translation and summarization, and its architectures.

`transformer_{connection}_{encoder layers}_{decoder layers}` has the base sizes (512 / 2048 / 8), `..._tiny` narrow ones
for tests and laptops. An architecture only sets defaults: every option given on the command line wins.
"""

from functools import partial
from typing import Any

from fairseq.models import register_model, register_model_architecture
from fairseq.models.transformer import TransformerConfig, TransformerModel, base_architecture

from ..checkpoints.arguments import as_namespace, write
from ..checkpoints.vocabulary import check_vocabulary
from ..connections import for_each_connection
from ..init import Stacks
from ..layers import Stack
from .base import PluginModel
from .encoder_decoder import B2TTransformerDecoder, B2TTransformerEncoder
from .options import Plan, add_connection_args, apply_pruning, stack_config

DEPTHS = ((6, 6), (12, 12), (18, 18), (36, 36), (50, 50), (60, 12), (100, 100))
SIZES = {
    "": {"embed_dim": 512, "ffn_embed_dim": 2048, "attention_heads": 8},
    "_tiny": {"embed_dim": 64, "ffn_embed_dim": 256, "attention_heads": 4},
}


@register_model("transformer_b2t")
class B2TTransformerModel(PluginModel, TransformerModel):
    """fairseq's Transformer with a connection of your choice."""

    signature: str
    vocabulary: str

    @classmethod
    def add_args(cls, parser):
        """fairseq's Transformer options and ours; none has an argparse default, the architecture sets them."""
        super().add_args(parser)
        add_connection_args(parser)
        for side in ("encoder", "decoder"):
            what = f"rate of {side} tokens whose embedding is zeroed in training"
            parser.add_argument(f"--{side}-word-dropout", type=float, metavar="RATE", help=what)

    @classmethod
    def build_model(cls, args, task):
        """Build, initialise and sign a model.

        Raises:
            UserError: a name or option that does not exist or does not go with ours, or another vocabulary.
        """
        apply_pruning(args, "encoder", "decoder")
        namespace = as_namespace(args)
        plan = Plan.from_args(namespace)
        vocabulary = check_vocabulary(args, task, task.source_dictionary, task.target_dictionary)
        model = super().build_model(namespace, task)
        encoder, decoder = model.encoder, model.decoder
        stacks = Stacks(encoder.layers, decoder.layers, encoder.embed_tokens, decoder.embed_tokens)
        model.signature, model.vocabulary = plan.finish(args, stacks), vocabulary
        return model

    @classmethod
    def build_encoder(cls, args, src_dict, embed_tokens):
        stack = build_stack(args, "encoder")
        return B2TTransformerEncoder(args, src_dict, embed_tokens, stack, args.encoder.word_dropout)

    @classmethod
    def build_decoder(cls, args, tgt_dict, embed_tokens):
        stack = build_stack(args, "decoder")
        return B2TTransformerDecoder(args, tgt_dict, embed_tokens, stack, args.decoder.word_dropout)


def build_stack(cfg: TransformerConfig, side: str) -> Stack:
    """Build the encoder's or the decoder's stack."""
    other_depth = cfg.decoder.layers if side == "encoder" else cfg.encoder.layers
    attends_to_encoder = side == "decoder" and not cfg.no_cross_attention
    layerdrop = cfg.encoder.layerdrop if side == "encoder" else cfg.decoder.layerdrop
    config = stack_config(cfg, side, attends_to_encoder, other_depth)
    return Plan.from_args(cfg).build_stack(config, layerdrop, cfg.checkpoint_activations)


def set_defaults(args: Any, connection: str, depths: tuple[int, int], sizes: dict[str, int]) -> None:
    """Fill in what the user has left open, as an architecture does. Idempotent: fairseq calls it twice."""
    defaults = {"connection": connection, "connection_init": "auto", "connection_options": ""}
    for side, depth in zip(("encoder", "decoder"), depths, strict=True):
        defaults |= {f"{side}_layers": depth, f"{side}_word_dropout": 0.0}
        defaults |= {f"{side}_{name}": value for name, value in sizes.items()}
    for name, value in defaults.items():
        if getattr(args, name, None) is None:
            write(args, name, value)
    base_architecture(args)


def register_architectures(connection: str) -> None:
    """Register the architectures of one connection: every depth, base and tiny sizes."""
    for depths in DEPTHS:
        for suffix, sizes in SIZES.items():
            name = f"transformer_{connection}_{depths[0]}_{depths[1]}{suffix}"
            defaults = partial(set_defaults, connection=connection, depths=depths, sizes=sizes)
            register_model_architecture("transformer_b2t", name)(defaults)


register_model_architecture("transformer_b2t", "transformer_b2t")(
    partial(set_defaults, connection="b2t", depths=DEPTHS[0], sizes=SIZES[""])
)
for_each_connection(register_architectures)
