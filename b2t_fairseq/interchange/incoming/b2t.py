"""The B2T authors' own code, a fork of fairseq 0.9: https://github.com/takase/b2t_connection.

    --residual-bottom-to-top  --no-layer-norm  --…-normalize-before    ours
    yes                       no               no                      b2t
    yes                       yes              no / yes                b2t_no_ln, without or with final_norm
    no                        no               no / yes                post / pre
    no                        yes              no                      tfixup with init default: x + F(x)

Its decoder's positions are called `embed_positions_original`. Since May 2023 `--residual-bottom-to-top` also rescales
the initial weights, which nothing in a file tells: `--init`.
"""

from collections.abc import Mapping
from typing import Any

from .foreign import NOT_OURS, POSITIONS, Foreign, Translation, arguments, weight_names

NAME = "the B2T authors' own code"
THEIRS = ("residual_bottom_to_top", "no_layer_norm", "sampling_method")
ORIGINAL_POSITIONS = "decoder.embed_positions_original"
REFUSED = {
    **NOT_OURS,
    "one_emb": "our models have one embedding for each word",
    "represent_length_by_lrpe": "our models have no length encoding",
    "represent_length_by_ldpe": "our models have no length encoding",
}
WITHOUT_EFFECT = (
    *("residual_max_updates", "no_inner_layer_norm", "decay_inner_residual", "decay_val", "ordinary_sinpos"),
    *("one_emb", "one_emb_dropout", "one_emb_std", "one_emb_inter_dim", "one_emb_layernum", "one_emb_relu_dropout"),
    *("codenum", "codebooknum", "stop_relu_dropout_update", "represent_length_by_lrpe", "represent_length_by_ldpe"),
)


def recognises(checkpoint: Mapping[str, Any]) -> bool:
    """Return whether the file is this code's; one from which a single mark is missing still is."""
    is_named = any(name in arguments(checkpoint) for name in THEIRS)
    return is_named or any(name.startswith(ORIGINAL_POSITIONS) for name in weight_names(checkpoint))


def translate(foreign: Foreign) -> Translation:
    """Translate names and options.

    Raises:
        UserError: no connection of ours is what the options say, or one has no counterpart.
    """
    foreign.refuse_options(REFUSED)
    connection = find_connection(foreign)
    foreign.drop(POSITIONS + r"|decoder\.embed_positions_original\._float_tensor")
    foreign.rename(r"decoder\.embed_positions_original\.weight", lambda _: "decoder.embed_positions.weight")
    translate_word_dropout(foreign)
    foreign.remove(*THEIRS, *WITHOUT_EFFECT)
    return connection


def find_connection(foreign: Foreign) -> Translation:
    """Return which connection the options are; one that is missing was not given.

    Raises:
        UserError: none of ours.
    """
    has_bottom, has_no_norms = (bool(foreign.options.get(name)) for name in THEIRS[:2])
    is_pre = foreign.normalize_before()
    if has_bottom:
        init = foreign.init or "rescale"
        if has_no_norms:
            return Translation("b2t_no_ln", init, "final_norm=true" if has_final_norm(foreign, is_pre) else "")
        if is_pre:
            raise foreign.refuse(
                "--residual-bottom-to-top with --encoder-normalize-before or --decoder-normalize-before adds the "
                "bottom to a Pre-LN stream, which is not the paper's method"
            )
        return Translation("b2t", init)
    if has_no_norms and is_pre:
        raise foreign.refuse(
            "--no-layer-norm with --encoder-normalize-before or --decoder-normalize-before and without "
            "--residual-bottom-to-top is x + F(x) with a final norm, which none of our connections is"
        )
    if has_no_norms:
        foreign.notes.append("--no-layer-norm without --residual-bottom-to-top is x + F(x): our connection tfixup")
        return Translation("tfixup")
    return Translation("pre" if is_pre else "post")


def has_final_norm(foreign: Foreign, is_pre: bool) -> bool:
    """Return whether a norm follows each stack.

    Raises:
        UserError: one follows the encoder only; ours are alike.
    """
    if is_pre and foreign.options.get("no_decoder_final_norm"):
        if "encoder" in foreign.sides:
            raise foreign.refuse("--no-decoder-final-norm leaves a final norm to the encoder only, which ours do not")
        return False
    return is_pre


def translate_word_dropout(foreign: Foreign) -> None:
    """Turn `--sampling-method worddrop` into word dropout; the other methods are of no use after training."""
    method = foreign.options.get("sampling_method")
    for side, short in (("encoder", "enc"), ("decoder", "dec")):
        rate = foreign.options.pop(f"{short}_replace_rate", None) or 0.0
        if "encoder" in foreign.sides:  # our language model has none
            foreign.options[f"{side}_word_dropout"] = rate if method == "worddrop" else 0.0
    known = ("none", None) if "encoder" not in foreign.sides else ("none", None, "worddrop")
    if method not in known:
        foreign.notes.append(f"--sampling-method {method} is left out: it changes the training only, and ours lacks it")
