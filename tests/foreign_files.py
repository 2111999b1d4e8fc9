"""Checkpoints as other codes save them, made from our models by the inverse of `b2t_fairseq/interchange/incoming`.

Names and options are those of the codes themselves, written down here once more; nothing is imported from there.
"""

import re
from argparse import Namespace

import torch
from builders import build, build_language_model, dictionary, randomise
from fairseq import checkpoint_utils

SIZES = {
    f"{side}_{name}": value
    for side, layers in (("encoder", 3), ("decoder", 2))
    for name, value in {"embed_dim": 32, "ffn_embed_dim": 48, "attention_heads": 2, "layers": layers}.items()
}
COMMON = {
    "dropout": 0.1, "attention_dropout": 0.0, "criterion": "label_smoothed_cross_entropy", "label_smoothing": 0.1,
    "optimizer": "adam", "adam_betas": "(0.9, 0.98)", "adam_eps": 1e-08, "weight_decay": 0.0, "lr": [0.005],
    "lr_scheduler": "inverse_sqrt", "warmup_updates": 60, "warmup_init_lr": 1e-07, "min_lr": 1e-09, "seed": 1,
    "save_dir": "checkpoints", "restore_file": "checkpoint_last.pt", "user_dir": None, "data": "data-bin",
    "max_tokens": 1024, "update_freq": [1], "clip_norm": 0.1, "max_update": 300,
}  # fmt: skip
TRANSLATION = {
    "task": "translation", "source_lang": "en", "target_lang": "de", "left_pad_source": True, "left_pad_target": False,
    "max_source_positions": 1024, "max_target_positions": 1024, "encoder_learned_pos": False,
    "decoder_learned_pos": False, "share_decoder_input_output_embed": False, "share_all_embeddings": False,
}  # fmt: skip
B2T = {
    "residual_bottom_to_top": False, "no_layer_norm": False, "sampling_method": "none", "enc_replace_rate": 0.0,
    "dec_replace_rate": 0.0, "decay_val": 1000, "one_emb": None, "one_emb_dropout": 0.5, "codenum": 64,
    "codebooknum": 8, "represent_length_by_lrpe": False, "represent_length_by_ldpe": False, "ordinary_sinpos": False,
    "stop_relu_dropout_update": 0, "cross_self_attention": False, "layer_wise_attention": False,
    "encoder_layers_to_keep": None, "decoder_layers_to_keep": None,
}  # fmt: skip
#: connection and its options -> --residual-bottom-to-top, --no-layer-norm, --…-normalize-before
METHODS = {
    ("b2t", ""): (True, False, False),
    ("post", ""): (False, False, False),
    ("pre", ""): (False, False, True),
    ("b2t_no_ln", ""): (True, True, False),
    ("b2t_no_ln", "final_norm=true"): (True, True, True),
    ("tfixup", ""): (False, True, False),
}
NORMS = ("self_attn", "encoder_attn", "final")


def model_of(connection, options="", **sizes):
    """A translation model of ours, with three separate embeddings, whose norms and biases are not 1 and 0."""
    return randomise(build(connection=connection, connection_options=options, **sizes)).eval()


def old_state(model):
    """What fairseq 0.9 saves: an output matrix without a module, unless it is tied, and positions with a buffer."""
    state = {name: value.clone() for name, value in model.state_dict().items()}
    output = state.pop("decoder.output_projection.weight", None)
    if output is not None and not model.decoder.share_input_output_embed:
        state["decoder.embed_out"] = output
    for side in ("encoder", "decoder"):
        if f"{side}.version" in state:
            state[f"{side}.version"] = torch.tensor([3.0])
            if f"{side}.embed_positions.weight" not in state:
                state[f"{side}.embed_positions._float_tensor"] = torch.zeros(1)
    return state


def rename(state, pattern, new):
    return {re.sub(pattern, new, name): value for name, value in state.items()}


def checkpoint(state, args):
    return {
        "args": Namespace(**args),
        "model": state,
        "optimizer_history": [
            {"criterion_name": "X", "optimizer_name": "FairseqAdam", "lr_scheduler_state": {}, "num_updates": 300}
        ],
        "extra_state": {"train_iterator": {"epoch": 3, "iterations_in_epoch": 0}},
        "last_optimizer_state": {"state": {}, "param_groups": []},
    }


def b2t(connection="b2t", options="", theirs=None, **sizes):
    """The B2T authors' code: model, checkpoint."""
    model = model_of(connection, options, **sizes)
    has_bottom, has_no_norms, is_pre = METHODS[connection, options]
    args = {**COMMON, **TRANSLATION, **B2T, **SIZES, "arch": "transformer_wmt_en_de", **sizes}
    args |= {"residual_bottom_to_top": has_bottom, "no_layer_norm": has_no_norms}
    args |= {f"{side}_normalize_before": is_pre for side in ("encoder", "decoder")}
    state = rename(old_state(model), r"^decoder\.embed_positions\.", "decoder.embed_positions_original.")
    return model, checkpoint(state, {**args, **(theirs or {})})


def b2t_language_model(connection="b2t", options="", theirs=None, **sizes):
    """The B2T authors' code's language model: model, checkpoint."""
    model = randomise(build_language_model(connection=connection, connection_options=options, **sizes)).eval()
    has_bottom, has_no_norms, is_pre = METHODS[connection, options]
    sides = {name: value for name, value in SIZES.items() if name.startswith("decoder")} | {"decoder_layers": 3}
    args = {**COMMON, **B2T, **sides, "arch": "transformer_lm", "task": "language_modeling"}
    args |= {"tokens_per_sample": 64, "max_target_positions": 64}
    args |= {"criterion": "adaptive_loss", "decoder_input_dim": 32, "decoder_output_dim": 32, "sampling_method": None}
    args |= {
        "adaptive_input": True,
        "tie_adaptive_weights": True,
        "tie_adaptive_proj": True,
        "adaptive_input_factor": 4,
    }
    args |= {"adaptive_input_cutoff": "10,20", "adaptive_softmax_cutoff": "10,20", "adaptive_softmax_factor": 4}
    args |= {"residual_bottom_to_top": has_bottom, "no_layer_norm": has_no_norms, "decoder_normalize_before": is_pre}
    args |= {"residual_max_updates": -1, "no_inner_layer_norm": False, "decay_inner_residual": False, **sizes}
    state = rename(old_state(model), r"^decoder\.embed_positions\.", "decoder.embed_positions_original.")
    return model, checkpoint(state, {**args, **(theirs or {})})


def fused(state, separate_weights=False):
    """q, k and v in one matrix, as before fairseq 0.9; or, with separate weights, only their biases."""
    state = dict(state)
    for name in [name for name in state if name.endswith("q_proj.weight")]:
        stem = name.removesuffix("q_proj.weight")
        parts = {kind: [state.pop(f"{stem}{x}_proj.{kind}") for x in "qkv"] for kind in ("weight", "bias")}
        state[f"{stem}in_proj_bias"] = torch.cat(parts["bias"])
        if separate_weights and "encoder_attn" in stem:
            state |= {f"{stem}{x}_proj_weight": part for x, part in zip("qkv", parts["weight"], strict=True)}
        else:
            state[f"{stem}in_proj_weight"] = torch.cat(parts["weight"])
    return state


def dlcl(connection="dlcl_pre", older=False, theirs=None):
    """The DLCL authors' code: model, checkpoint; `older` is its state before the weight had three dimensions."""
    model = model_of(connection)
    state = fused(old_state(model))
    for side in ("encoder", "decoder"):
        del state[f"{side}.version"]
        history = f"{side}.layers.connection"
        if f"{history}.weight" in state:
            weight = state.pop(f"{history}.weight")
            state[f"{side}.history.weight"] = weight if older else weight.unsqueeze(2)
        for k in range(model.encoder.num_layers if side == "encoder" else model.decoder.num_layers):
            number = k if older else k + 1
            state = rename(
                state, rf"^{re.escape(history)}\.history_norms\.{k}\.", f"{side}.history.layer_norms.{number}."
            )
        norms = NORMS if side == "decoder" else (NORMS[0], NORMS[2])
        for i, norm in enumerate(norms):
            state = rename(state, rf"^({side}\.layers\.\d+\.){norm}_layer_norm\.", rf"\g<1>layer_norms.{i}.")
    args = {**COMMON, **TRANSLATION, **SIZES, "arch": "dlcl_transformer_wmt_en_de", "relu_dropout": 0.2}
    args |= {f"{side}_normalize_before": connection.endswith("pre") for side in ("encoder", "decoder")}
    args |= {"inspect_grad": False, "save_encoder_sa_memory": False, "left_pad_source": "True"}
    args |= {"weight_type": "scalar", "normalize_learned_weight": False, "normalize_embed": False, "init_value": "avg"}
    args |= {"history_window_size": -1, "history_dropout": 0.0, "encoder_learnable": True, "decoder_learnable": True}
    return model, checkpoint(state, {**args, **(theirs or {})})


def admin(connection="admin", theirs=None, **sizes):
    """The Admin authors' code: model, checkpoint."""
    model = model_of(connection, **sizes)
    is_narrow = "decoder_embed_dim" in sizes
    state = fused(old_state(model), separate_weights=is_narrow or connection == "deepnet")
    kinds = {"encoder": ("attention", "fc"), "decoder": ("self", "encoder", "fc")}
    for side, names in kinds.items():
        for number in range(len(names) * (3 if side == "encoder" else 2)):
            layer, j = divmod(number, len(names))
            name = f"{side}.layers.{layer}.{names[j]}_ratio_change"
            state = rename(state, rf"^{side}\.layers\.connection\.omega\.{number}$", name)
    kind = {"admin": "adaptive", "deepnet": "deepnet"}.get(connection, "default")
    args = {**COMMON, **TRANSLATION, **SIZES, "arch": "transformer_wmt_en_de", "init_type": kind, **sizes}
    args |= {f"{side}_normalize_before": connection == "pre" for side in ("encoder", "decoder")}
    args |= {"mixed_precision": False, "plot_variance": False, "plot_gradient": False, "plot_stability": False}
    return model, checkpoint(state, {**args, **(theirs or {})})


def tfixup(connection="tfixup", theirs=None):
    """The T-Fixup authors' code: model, checkpoint."""
    model = model_of(connection)
    state = old_state(model)
    if connection == "tfixup":
        for layer in range(2):
            state |= {f"decoder.layers.{layer}.encoder_attn_layer_norm.{x}": torch.ones(32) for x in ("weight", "bias")}
    args = {**COMMON, **TRANSLATION, **SIZES, "arch": "transformer_iwslt_de_en"}
    args |= {"dont_use_layernorm": connection == "tfixup", "Tfixup": connection == "tfixup"}
    args |= {f"{side}_normalize_before": connection != "post" for side in ("encoder", "decoder")}
    return model, checkpoint(state, {**args, **(theirs or {})})


def residual(theirs=None):
    """The ResiDual authors' code: model, checkpoint; hydra's nested options."""
    model = model_of("resi_dual")
    sides = {
        side: {
            "_name": None, "embed_path": None, "normalize_before": True, "learned_pos": False, "layerdrop": 0,
            "layers_to_keep": None, "xformers_att_config": None,
            **{name.removeprefix(f"{side}_"): value for name, value in SIZES.items() if name.startswith(side)},
        }
        for side in ("encoder", "decoder")
    }  # fmt: skip
    sides["decoder"] |= {"input_dim": 32, "output_dim": 32}
    options = {
        "_name": "resi_dual", **sides, "quant_noise": {"_name": None, "pq": 0.0, "pq_block_size": 8, "scalar": 0.0},
        "activation_fn": "relu", "dropout": 0.1, "share_all_embeddings": False, "max_source_positions": 1024,
        "max_target_positions": 1024, "enc_alpha": 1.0, "dec_alpha": 1.0, "enc_res_input_norm_scale": 1.0,
        "dec_res_input_norm_scale": 1.0, **(theirs or {}),
    }  # fmt: skip
    task = {"_name": "translation", "data": "data-bin", "source_lang": "en", "target_lang": "de"}
    state = {name: value.clone() for name, value in model.state_dict().items()}
    return model, {**checkpoint(state, {}), "args": None, "cfg": {"_name": None, "model": options, "task": task}}


def save_dictionaries(folder):
    """Write the dictionaries of our test models, as a data folder has them."""
    folder.mkdir(exist_ok=True)
    for name in ("dict.en.txt", "dict.de.txt", "dict.txt"):
        dictionary().save(str(folder / name))
    return folder


def saved(checkpoint, folder, name="theirs.pt"):
    """Save a checkpoint; return its path."""
    torch.save(checkpoint, folder / name)
    return folder / name


def loaded(path, data):
    """Return the model of a checkpoint as fairseq loads it, with the data in that folder."""
    overrides = {"data": str(data), "plasma_path": "/tmp/plasma"}
    (model,), _, _ = checkpoint_utils.load_model_ensemble_and_task([str(path)], arg_overrides=overrides)
    return model.eval()
