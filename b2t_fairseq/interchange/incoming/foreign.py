"""A checkpoint of another code while it is being translated: its options and weights, and how it is refused."""

import re
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

from ...common.errors import UserError

#: options of fairseq 0.8 and 0.9 that none of our models has
NOT_OURS = {
    "cross_self_attention": "our layers keep self- and cross-attention apart",
    "layer_wise_attention": "our decoders read the encoder's last layer only",
    "character_embeddings": "our models have no character embeddings",
}
SIZES = ("layers", "embed_dim", "ffn_embed_dim", "attention_heads")
POSITIONS = r"(encoder|decoder)\.embed_positions\.(_float_tensor|weights)"  # computed: nothing to keep
#: every weight that a translated checkpoint may hold
KNOWN = re.compile(
    r"(encoder|decoder)\.("
    r"version|embed_tokens\.(weight|_float_tensor|embeddings\..+)|embed_positions\.weight"
    r"|embed_out|output_projection\.weight|(layer_norm|layernorm_embedding)\.(weight|bias)|project_(in|out)_dim\.weight"
    r"|adaptive_softmax\..+|layers\.connection\..+"
    r"|layers\.\d+\.((self|encoder)_attn\.((q|k|v|out)_proj\.(weight|bias)|in_proj_(weight|bias))"
    r"|(fc1|fc2|(self_attn|encoder_attn|final)_layer_norm|layer_norms\.\d)\.(weight|bias)))"
)


class Translation(NamedTuple):
    """What a checkpoint of another code is in our terms: the values of the `--connection…` options."""

    connection: str
    init: str = "default"
    options: str = ""


class Foreign:
    """The options and weights of a checkpoint of another code: copies, which its translation changes.

    Attributes:
        path: the file.
        options: its arguments, by name.
        weights: its state dict.
        init: what the user says of the initialisation, or None.
        notes: what the user should know of the result.
    """

    def __init__(self, path: str, options: Mapping[str, Any], weights: Mapping[str, Any], init: str | None = None):
        self.path, self.init = path, init
        self.options = dict(options)
        self.weights = OrderedDict((str(name), value) for name, value in weights.items())
        self.notes: list[str] = []

    @property
    def sides(self) -> tuple[str, ...]:
        """The stacks that it has; a language model is a decoder alone."""
        has_encoder = self.options.get("encoder_layers") is not None or self.has(r"encoder\..+")
        return ("encoder", "decoder") if has_encoder else ("decoder",)

    def refuse(self, what: str) -> UserError:
        """Return the error that says why the file cannot become one of ours."""
        return UserError(f"{self.path}: {what}; it cannot be converted")

    def refuse_options(self, reasons: Mapping[str, str]) -> None:
        """Refuse each of these options that is set.

        Raises:
            UserError: names the file and the option.
        """
        for name, why in reasons.items():
            value = self.options.get(name)
            if value:
                shown = "" if value is True else f" {value}"
                raise self.refuse(f"it was trained with --{name.replace('_', '-')}{shown}: {why}")

    def remove(self, *names: str) -> None:
        """Forget options that mean nothing to our models."""
        for name in names:
            self.options.pop(name, None)

    def normalize_before(self) -> bool:
        """Return whether the layers of all stacks are Pre-LN.

        Raises:
            UserError: those of one stack are and of the other are not; ours have one connection for both.
        """
        values = {bool(self.options.get(f"{side}_normalize_before")) for side in self.sides}
        if len(values) == 2:
            raise self.refuse(
                "it was trained with one of --encoder-normalize-before and --decoder-normalize-before: our models have "
                "the same connection in encoder and decoder"
            )
        return values.pop()

    def depth(self, side: str) -> int:
        """Return the number of layers of a stack.

        Raises:
            UserError: the file does not say it.
        """
        return self.size(side, "layers")

    def size(self, side: str, name: str) -> int:
        """Return one of `SIZES` of a stack: what is missing would become the default of our architecture.

        Raises:
            UserError: the file does not say it.
        """
        value = self.options.get(f"{side}_{name}")
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            shown = f"--{side}-{name.replace('_', '-')}"
            raise self.refuse(f"its options do not say {shown} as a whole number of at least 1")
        return value

    def drop(self, pattern: str) -> None:
        """Drop the weights whose whole name matches."""
        for name in [name for name in self.weights if re.fullmatch(pattern, name)]:
            del self.weights[name]

    def rename(self, pattern: str, new: Callable[[re.Match], str]) -> None:
        """Rename the weights whose whole name matches; they keep their places."""
        matches = {name: re.fullmatch(pattern, name) for name in self.weights}
        self.weights = OrderedDict(
            (name if (match := matches[name]) is None else new(match), value) for name, value in self.weights.items()
        )

    def has(self, pattern: str) -> bool:
        """Return whether a weight's whole name matches."""
        return any(re.fullmatch(pattern, name) for name in self.weights)

    def split_projections(self) -> None:
        """Give q, k and v of fairseq before 0.9 their later names, where they have weights of their own.

        Where they are one matrix, `in_proj_weight`, our attention splits it when it is loaded; the bias always is one.
        """
        self.rename(r"(.+_attn\.)([qkv])_proj_weight", lambda match: f"{match[1]}{match[2]}_proj.weight")

    def say_version(self) -> None:
        """Note that the final norm is to be kept: fairseq takes a file that says nothing for one without it."""
        for side in self.sides:
            self.weights.setdefault(f"{side}.version", torch.tensor([3.0]))

    def translate_smoothing(self) -> None:
        """Turn the label smoothing of fairseq before 0.10 into the one of today that gives the same loss.

        Of V words the right one had its share of the smoothing, and has none today: epsilon (V-1)/V is the same.
        """
        epsilon, words = self.options.get("label_smoothing"), words_of(self.weights, "decoder")
        is_used = self.options.get("criterion") == "label_smoothed_cross_entropy"
        if is_used and isinstance(epsilon, float) and epsilon and words:
            self.options["label_smoothing"] = epsilon * (words - 1) / words
            now = f"{self.options['label_smoothing']:.6g}"
            self.notes.append(f"its label smoothing {epsilon} of {words} words is {now} here: the same loss")

    def check_names(self) -> None:
        """Refuse weights that our models do not have.

        Raises:
            UserError: names the first.
        """
        for name in self.weights:
            if not KNOWN.fullmatch(name):
                raise self.refuse(f"it holds {name}, which our models do not have")


def arguments(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a checkpoint that saves them as a Namespace, as fairseq before 0.10 does."""
    args = checkpoint.get("args")
    fields = vars(args) if isinstance(args, Namespace) else {}
    return {name: value for name, value in fields.items() if isinstance(name, str)}


def words_of(weights: Mapping[str, Any], side: str) -> int:
    """Return the number of words that a stack's embedding has; 0 if there is none."""
    tables = re.compile(rf"{side}\.embed_tokens\.(weight|embeddings\.\d+\.0\.weight)")
    parts = [weight for name, weight in weights.items() if tables.fullmatch(name)]
    return sum(len(part) for part in parts if torch.is_tensor(part) and part.dim() == 2)


def weight_names(checkpoint: Mapping[str, Any]) -> list[str]:
    """Return the names of a checkpoint's weights."""
    return [name for name in checkpoint["model"] if isinstance(name, str)]
