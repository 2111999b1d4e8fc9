"""The speech recogniser: fairseq's S2T Transformer (convolutional subsampler, CTC head) on our stacks.

`s2t_transformer_{connection}_{encoder layers}_{decoder layers}` has the sizes of fairseq's T-Md (512 / 2048 / 8),
`..._tiny` narrow ones. Unlike fairseq's own architectures they are Pre-LN only where the connection is.
"""

import copy
import os
from functools import partial
from typing import Any

from fairseq import checkpoint_utils
from fairseq.data.data_utils import lengths_to_padding_mask
from fairseq.models import register_model, register_model_architecture
from fairseq.models.speech_to_text import s2t_transformer
from fairseq.models.transformer import TransformerConfig

from ..checkpoints import bundles
from ..checkpoints.arguments import as_namespace, write
from ..checkpoints.vocabulary import check_vocabulary
from ..common.errors import UserError
from ..connections import for_each_connection
from ..init import Stacks
from ..layers import Context, Stack, additive_mask
from .base import PluginModel
from .encoder_decoder import B2TTransformerDecoder
from .encoder_out import LazyReordering
from .norms import give_final_norm
from .options import Plan, add_connection_args, apply_pruning, stack_config
from .subsampler import masked_subsample

DEPTHS = ((6, 6), (12, 6))
SIZES = {
    "": {"embed_dim": 512, "ffn_embed_dim": 2048, "attention_heads": 8},
    "_tiny": {"embed_dim": 64, "ffn_embed_dim": 256, "attention_heads": 4},
}
SUBSAMPLER_CHANNELS = {"": 1024, "_tiny": 128}


class SpeechEncoder(LazyReordering, s2t_transformer.S2TTransformerEncoder):
    """Subsampler, positions, our stack, and the CTC head if there is one."""

    def __init__(self, args, stack: Stack):
        without_layers = copy.copy(args)
        without_layers.encoder_layers, without_layers.encoder_normalize_before = 0, stack.connection.has_final_norm
        super().__init__(without_layers)
        self.transformer_layers = stack
        self.subsampler_padding = getattr(args, "subsampler_padding", None) or "masked"
        give_final_norm(self, stack)

    def _forward(self, src_tokens, src_lengths, return_all_hiddens: bool = False):
        """Encode filter banks (B, frames, features), padded on the right; called by the base class's `forward`."""
        kind = next(self.subsample.parameters()).dtype  # features are fp32 whatever the model is
        subsample = self.subsample if self.subsampler_padding == "stock" else partial(masked_subsample, self.subsample)
        x, lengths = subsample(src_tokens.to(kind), src_lengths)  # (T, B, C)
        padding = lengths_to_padding_mask(lengths)
        padding = padding if bool(padding.any()) else None
        positions = self.embed_positions(lengths_to_padding_mask(lengths)).transpose(0, 1)
        x = self.dropout_module(self.embed_scale * x + positions)
        hidden = [] if return_all_hiddens else None
        x = self.transformer_layers(x, Context(mask=additive_mask(padding, x)), self.layer_norm, hidden)
        return {
            "encoder_out": [x],
            "encoder_padding_mask": [] if padding is None else [padding],
            "encoder_embedding": [],
            "encoder_states": hidden or [],
            "src_tokens": [],
            "src_lengths": [],
        }


class SpeechDecoder(B2TTransformerDecoder):
    """A text decoder that hands the encoder's output on to the CTC loss."""

    def extract_features(self, prev_output_tokens, encoder_out=None, incremental_state=None, *args, **kwargs):
        x, extra = super().extract_features(prev_output_tokens, encoder_out, incremental_state, *args, **kwargs)
        if incremental_state is None:
            extra["encoder_out"] = encoder_out
        return x, extra


@register_model("s2t_transformer_b2t")
class B2TSpeechToTextModel(PluginModel, s2t_transformer.S2TTransformerModel):
    """fairseq's S2T Transformer with a connection of your choice, in encoder and decoder alike."""

    signature: str
    vocabulary: str

    @classmethod
    def add_args(cls, parser):
        """fairseq's S2T options and ours; those that have defaults lose them, the architecture sets them."""
        super().add_args(parser)
        add_connection_args(parser)
        parser.add_argument(
            "--checkpoint-activations", action="store_true", help="recompute layers in the backward pass"
        )
        parser.add_argument(
            "--subsampler-padding",
            choices=("masked", "stock"),
            help="masked (default): an utterance's encoding does not depend on its batch; stock: fairseq's own numbers",
        )
        for side in ("encoder", "decoder"):
            parser.add_argument(f"--{side}-layerdrop", type=float, metavar="P", help=f"LayerDrop in the {side}")

    @classmethod
    def build_model(cls, args, task):
        """Build, initialise and sign a model.

        Raises:
            UserError: a name or option that does not exist or does not go with ours, or another vocabulary.
        """
        apply_pruning(args, "decoder")
        plan = Plan.from_args(as_namespace(args))
        vocabulary = check_vocabulary(args, task, task.target_dictionary)
        # a trained model's own weights hold all that its training began from
        is_trained = getattr(args, "connection_signature", None) is not None
        pretrained = None if is_trained else getattr(args, "load_pretrained_encoder_from", None)
        if pretrained and not os.path.exists(pretrained):
            raise UserError(f"--load-pretrained-encoder-from: {pretrained} does not exist")
        model = super().build_model(args, task)
        encoder, decoder = model.encoder.transformer_layers, model.decoder.layers
        model.signature = plan.finish(args, Stacks(encoder, decoder, target_embedding=model.decoder.embed_tokens))
        model.vocabulary = vocabulary
        if pretrained:  # after the initialisation, which would undo it
            checkpoint_utils.load_pretrained_component_from_model(model.encoder, pretrained)
        return model

    @classmethod
    def from_pretrained(
        cls,
        model_name_or_path,
        checkpoint_file="model.pt",
        data_name_or_path=".",
        config_yaml="config.yaml",
        **options,
    ):
        """Return a recogniser from a checkpoint: `.predict("speech.flac")`, `.transcribe(["a.wav", "b.flac"])`.

        Args:
            model_name_or_path: the folder where the checkpoint is, or a bundle, which has all the rest.
            checkpoint_file: its name.
            data_name_or_path: the prepared data folder, or, if it begins with a dot, its place seen from that folder.
            config_yaml: the name of the configuration in the data folder.
            options: overrides of the checkpoint's arguments, such as `beam=1`.
        """
        from .recogniser import Recogniser

        if bundles.is_bundle(model_name_or_path):
            told = bundles.overrides(model_name_or_path) | options
            return Recogniser.load(str(model_name_or_path), told.pop("data"), **told)
        if data_name_or_path.startswith("."):
            data_name_or_path = os.path.join(model_name_or_path, data_name_or_path)
        path = os.path.join(model_name_or_path, checkpoint_file)
        return Recogniser.load(path, data_name_or_path, config_yaml=config_yaml, **options)

    @classmethod
    def build_encoder(cls, args):
        return SpeechEncoder(args, build_stack(args, "encoder"))

    @classmethod
    def build_decoder(cls, args, task, embed_tokens):
        cfg = TransformerConfig.from_namespace(as_namespace(args))
        return SpeechDecoder(cfg, task.target_dictionary, embed_tokens, build_stack(args, "decoder"))


def build_stack(args: Any, side: str) -> Stack:
    """Build the encoder's or the decoder's stack."""
    flat = as_namespace(args)
    other_depth = flat.decoder_layers if side == "encoder" else flat.encoder_layers
    config = stack_config(flat, side, side == "decoder", other_depth)
    layerdrop = getattr(flat, f"{side}_layerdrop", None) or 0.0
    return Plan.from_args(flat).build_stack(config, layerdrop, getattr(flat, "checkpoint_activations", False))


def set_defaults(args: Any, connection: str, depths: tuple[int, int], size: str) -> None:
    """Fill in what the user has left open, as an architecture does. Idempotent: fairseq calls it twice."""
    defaults: dict[str, Any] = {"connection": connection, "connection_init": "auto", "connection_options": ""}
    defaults["conv_channels"] = SUBSAMPLER_CHANNELS[size]
    for side, depth in zip(("encoder", "decoder"), depths, strict=True):
        # fairseq's base_architecture would set normalize_before, that is Pre-LN
        defaults |= {f"{side}_layers": depth, f"{side}_layerdrop": 0.0, f"{side}_normalize_before": False}
        defaults |= {f"{side}_{name}": value for name, value in SIZES[size].items()}
    for name, value in {**defaults, "dropout": 0.15, "checkpoint_activations": False}.items():
        if getattr(args, name, None) is None:
            write(args, name, value)
    s2t_transformer.base_architecture(args)


def register_architectures(connection: str) -> None:
    """Register the architectures of one connection: both depths, T-Md and tiny sizes."""
    for depths in DEPTHS:
        for size in SIZES:
            name = f"s2t_transformer_{connection}_{depths[0]}_{depths[1]}{size}"
            defaults = partial(set_defaults, connection=connection, depths=depths, size=size)
            register_model_architecture("s2t_transformer_b2t", name)(defaults)


register_model_architecture("s2t_transformer_b2t", "s2t_transformer_b2t")(
    partial(set_defaults, connection="b2t", depths=DEPTHS[1], size="")
)
for_each_connection(register_architectures)
