"""The decoder-only language model and its architectures.

`transformer_lm_{connection}_{layers}` has the sizes of Baevski and Auli's WikiText-103 model (1024 / 4096 / 8, adaptive
input and softmax with cut-offs 20000 and 60000 of 267,735 words), `..._tiny` narrow ones for tests and laptops, and
`transformer_lm_{connection}` neither: 512 / 2048 / 8 and a plain softmax, as fairseq's `transformer_lm`. Unlike
fairseq's own architectures they are Pre-LN only where the connection is.
"""

from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any

from fairseq.models import register_model, register_model_architecture
from fairseq.models.transformer import DEFAULT_MAX_TARGET_POSITIONS, Embedding, TransformerConfig
from fairseq.models.transformer_lm import TransformerLanguageModel, TransformerLanguageModelConfig
from fairseq.modules import AdaptiveInput
from fairseq.utils import eval_str_list

from ..checkpoints.arguments import as_namespace, write
from ..checkpoints.vocabulary import check_vocabulary
from ..common.errors import UserError
from ..connections import for_each_connection, get_connection
from ..init import Stacks
from .base import PluginModel
from .encoder_decoder import B2TTransformerDecoder
from .options import HELP, Plan, apply_pruning, stack_config

DEPTHS = (6, 16)
CUTOFFS = "20000,60000"
WIKITEXT_103 = {
    "decoder_embed_dim": 1024,
    "decoder_ffn_embed_dim": 4096,
    "decoder_attention_heads": 8,
    "dropout": 0.3,
    "attention_dropout": 0.1,
    "activation_dropout": 0.1,
    "adaptive_input": True,
    "adaptive_input_cutoff": CUTOFFS,
    "adaptive_softmax_cutoff": CUTOFFS,
    "adaptive_softmax_dropout": 0.2,
    "tie_adaptive_weights": True,
    "tie_adaptive_proj": True,
}
TINY = {
    "decoder_embed_dim": 64,
    "decoder_ffn_embed_dim": 256,
    "decoder_attention_heads": 4,
    "share_decoder_input_output_embed": True,
}


@dataclass
class B2TLanguageModelConfig(TransformerLanguageModelConfig):
    """fairseq's language-model options and ours."""

    connection: str = field(default="b2t", metadata={"help": HELP["connection"]})
    connection_init: str = field(default="auto", metadata={"help": HELP["connection_init"]})
    connection_options: str = field(default="", metadata={"help": HELP["connection_options"]})
    norm: str = field(default="layer", metadata={"help": HELP["norm"]})
    connection_module: str = field(default="", metadata={"help": HELP["connection_module"]})
    compile_layers: bool = field(default=False, metadata={"help": HELP["compile_layers"]})
    split_products: bool = field(default=False, metadata={"help": HELP["split_products"]})
    branch_warmup: int = field(default=0, metadata={"help": HELP["branch_warmup"]})
    branch_warmup_schedule: str = field(default="", metadata={"help": HELP["branch_warmup_schedule"]})
    share_layers: str = field(default="", metadata={"help": HELP["share_layers"]})
    unique_layers: int = field(default=0, metadata={"help": HELP["unique_layers"]})
    probe_interval: int = field(default=0, metadata={"help": HELP["probe_interval"]})
    connection_signature: str = field(default="", metadata={"help": "written by the model; leave it empty"})
    vocabulary: str = field(default="", metadata={"help": "written by the model; leave it empty"})


@register_model("transformer_lm_b2t", dataclass=B2TLanguageModelConfig)
class B2TLanguageModel(PluginModel, TransformerLanguageModel):
    """A Transformer language model with a connection of your choice."""

    signature: str
    vocabulary: str

    @classmethod
    def build_model(cls, args, task):
        """Build, initialise and sign a model.

        Raises:
            UserError: a name or option that does not exist or does not go with ours, or another vocabulary.
        """
        apply_pruning(args, "decoder")
        if getattr(args, "max_target_positions", None) is None:
            longest = getattr(args, "tokens_per_sample", None) or DEFAULT_MAX_TARGET_POSITIONS
            write(args, "max_target_positions", longest)
        flat = as_namespace(args)
        plan = Plan.from_args(flat)
        vocabulary = check_vocabulary(args, task, task.source_dictionary, task.target_dictionary)
        embedding = build_embedding(flat, task.source_dictionary)
        cfg = TransformerConfig.from_namespace(flat)
        config = stack_config(flat, "decoder", has_cross_attention=False, other_depth=None)
        stack = plan.build_stack(config, flat.decoder_layerdrop, flat.checkpoint_activations)
        model = cls(B2TTransformerDecoder(cfg, task.target_dictionary, embedding, stack))
        model.signature = plan.finish(args, Stacks(decoder=stack, target_embedding=embedding))
        model.vocabulary = vocabulary
        return model

    def set_beam_size(self, beam: int) -> None:
        """Note the beam size, which fairseq's generator sets; only speed depends on it."""
        self.decoder.beam = beam


def build_embedding(args: Any, dictionary):
    """Adaptive or plain input embedding.

    Raises:
        UserError: character embeddings, or tied adaptive weights without equal cut-offs and factors.
    """
    if args.character_embeddings:
        raise UserError("--character-embeddings is not supported: use fairseq's own transformer_lm")
    if args.tie_adaptive_weights:
        both = [
            (args.adaptive_input_cutoff, args.adaptive_softmax_cutoff),
            (args.decoder_input_dim, args.decoder_output_dim),
        ]
        both.append((args.adaptive_input_factor, args.adaptive_softmax_factor))
        if not args.adaptive_input or any(x != y for x, y in both):
            raise UserError(
                "--tie-adaptive-weights needs --adaptive-input, and cut-offs, factor and width equal to the softmax's"
            )
    if args.adaptive_input:
        cutoffs = list(map(int, eval_str_list(args.adaptive_input_cutoff) or []))
        sizes = args.decoder_input_dim, args.adaptive_input_factor, args.decoder_embed_dim
        return AdaptiveInput(len(dictionary), dictionary.pad(), *sizes, cutoffs)
    return Embedding(len(dictionary), args.decoder_input_dim, dictionary.pad())


def set_defaults(args: Any, connection: str, depth: int, sizes: dict[str, Any], drops_optional_norm: bool) -> None:
    """Fill in what the user has left open, as an architecture does. Idempotent: fairseq calls it twice."""
    defaults = {"connection": connection, "decoder_layers": depth, **sizes}
    for name, value in defaults.items():
        if getattr(args, name, None) is None:
            write(args, name, value)
    for name in ("decoder_input_dim", "decoder_output_dim"):
        if getattr(args, name, None) is None:
            write(args, name, args.decoder_embed_dim)
    if drops_optional_norm and getattr(args, "no_decoder_final_norm", None) is None:
        # Baevski and Auli's Pre-LN has no LayerNorm after the stack, and neither has fairseq's transformer_lm_wiki103
        write(args, "no_decoder_final_norm", get_connection(args.connection).final_norm_is_optional)
    for option in fields(B2TLanguageModelConfig):
        # fairseq does this for the name of the model only; what refers to the task ("${task...}") it resolves itself
        if not hasattr(args, option.name) and not str(option.default).startswith("${"):
            write(args, option.name, option.default)


def register_architectures(connection: str) -> None:
    """Register the architectures of one connection: both depths, paper and tiny sizes, and one without depth."""
    base = f"transformer_lm_{connection}"
    rows = [
        (f"{base}_{depth}{suffix}", depth, sizes, not suffix) for depth in DEPTHS for suffix, sizes in SIZES.items()
    ]
    if base != "transformer_lm_b2t":  # fairseq gives this name, the model's, an architecture of the defaults
        rows.append((base, 6, {}, False))
    for name, depth, sizes, drops_optional_norm in rows:
        defaults = partial(
            set_defaults, connection=connection, depth=depth, sizes=sizes, drops_optional_norm=drops_optional_norm
        )
        register_model_architecture("transformer_lm_b2t", name)(defaults)


SIZES = {"": WIKITEXT_103, "_tiny": TINY}
for_each_connection(register_architectures)
