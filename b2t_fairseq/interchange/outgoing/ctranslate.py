"""A translation model for CTranslate2, in float32 or quantised; only if CTranslate2 computes the same function.

The weights are written by CTranslate2's own Python API; `folding.py` says what is multiplied into them. Before the
folder gets its name, CTranslate2 scores random sentences with it, and the probabilities must be the model's.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq.data import Dictionary

from ...checkpoints import bundles
from ...common.errors import UserError
from ...common.files import all_or_nothing
from ...common.optional import require
from ...layers import Stack
from ...layers.layer import STOCK_PREFIX
from ..trained import Trained
from .folding import Folded, folded, is_pre_norm

ACTIVATIONS = {"relu": "RELU", "gelu": "GELU", "gelu_accurate": "GELUTanh", "gelu_fast": "GELUTanh", "swish": "SWISH"}
QUANTIZATIONS = ("int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16", "float16", "bfloat16")
NOTE = "b2t_fairseq.json"  # beside CTranslate2's files
CHECKED, LONGEST, TOLERANCE = 5, 12, 1e-3  # random sentences, their tokens, and a token's log-probability
PURPOSE = "exports to CTranslate2"


def write(model: Trained, folder: Path, quantization: str | None = None) -> list[str]:
    """Write a model that CTranslate2 runs, whole or not at all.

    Args:
        model: the trained model.
        folder: where to; made.
        quantization: one of `QUANTIZATIONS`; None: float32.

    Returns:
        The names of its files.

    Raises:
        UserError: CTranslate2 cannot run the model exactly, or is not installed.
    """
    require("ctranslate2", "export", PURPOSE)
    spec = specification(model)
    spec.validate()
    spec.optimize(quantization=quantization)
    with all_or_nothing(folder) as partial:
        spec.save(str(partial))
        note = {"signature": model.signature, "quantization": quantization or "float32"}
        if model.places.kind is not None or model.places.is_bundle:
            note["subwords"] = copy_subwords(model, partial)
        (partial / NOTE).write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
        if quantization is None:
            check(model, partial)
    return sorted(path.name for path in folder.iterdir())


def copy_subwords(model: Trained, folder: Path) -> str | None:
    """Copy the subwords, which CTranslate2 leaves to its caller; return their file's name."""
    kind, file = model.places.kind, model.places.subwords
    if model.places.is_bundle:
        kind = bundles.read_config(model.places.checkpoint)["subwords"]
        file = model.places.checkpoint / bundles.SUBWORDS[kind][0] if kind else None
    if kind is None or file is None:
        return None
    shutil.copyfile(file, folder / bundles.SUBWORDS[kind][0])
    return bundles.SUBWORDS[kind][0]


def specification(model: Trained) -> Any:
    """Return CTranslate2's description of the model, with its weights.

    Raises:
        UserError: CTranslate2 cannot run it exactly; says why.
    """
    from ctranslate2.specs import transformer_spec

    transformer = model.models[0]
    if model.is_speech or model.is_language_model:
        raise UserError(
            f"--format ctranslate2 takes translation and summarization; this model's task is {model.places.task}"
        )
    encoder, decoder = transformer.encoder, transformer.decoder
    for side in (encoder, decoder):
        refuse_unsupported(side)
    transformer.float()
    spec = transformer_spec.TransformerSpec(
        transformer_spec.TransformerEncoderSpec(**shape(encoder)),
        transformer_spec.TransformerDecoderSpec(**shape(decoder)),
    )
    fill(spec.encoder, encoder)
    fill(spec.decoder, decoder)
    linear(spec.decoder.projection, decoder.output_projection)
    spec.register_source_vocabulary(vocabulary(model.task.source_dictionary))
    spec.register_target_vocabulary(vocabulary(model.task.target_dictionary))
    spec.config.decoder_start_token, spec.config.add_source_eos = spec.config.eos_token, True
    spec.config.layer_norm_epsilon = 1e-5
    return spec


def refuse_unsupported(side: Any) -> None:
    """Refuse an encoder or a decoder that CTranslate2 has no form for.

    Raises:
        UserError: names the option.
    """
    stack, reason = side.layers, None
    if not isinstance(stack, Stack):
        reason = "it is fairseq's own Transformer, for which CTranslate2 has a converter (ct2-fairseq-converter)"
    elif stack.config.activation not in ACTIVATIONS:
        reason = f"--activation-fn {stack.config.activation}: it has {', '.join(ACTIVATIONS)}"
    elif side.embed_positions is None:
        reason = "--no-token-positional-embeddings: it adds positions"
    elif getattr(side, "adaptive_softmax", None) is not None:
        reason = "--adaptive-softmax-cutoff: it has one output projection"
    elif getattr(side, "project_in_dim", None) is not None or getattr(side, "project_out_dim", None) is not None:
        reason = "--decoder-output-dim: its decoder has one width"
    if reason:
        raise UserError(f"CTranslate2 cannot run this model exactly: {reason}; --format safetensors takes every model")


def shape(side: Any) -> dict[str, Any]:
    """Return the sizes and kinds that CTranslate2 asks for."""
    from ctranslate2.specs import common_spec

    stack = side.layers
    return {
        "num_layers": len(stack),
        "num_heads": stack.config.heads,
        "pre_norm": is_pre_norm(stack),
        "no_final_norm": side.layer_norm is None,
        "activation": getattr(common_spec.Activation, ACTIVATIONS[stack.config.activation]),
        "layernorm_embedding": side.layernorm_embedding is not None,
    }


def fill(spec: Any, side: Any) -> None:
    """Write the weights of an encoder or a decoder."""
    stack = side.layers
    kinds, pre_norm = stack.config.kinds, is_pre_norm(stack)
    plan = [[folded(stack.connection, l + 1, j) for j in range(len(kinds))] for l in range(len(stack))]
    streams = [parts.stream for layer in plan for parts in layer] + [1.0]  # of what the stack returns
    fill_input(spec, side, streams[0])
    for l, layer in enumerate(stack):
        for j, kind in enumerate(kinds):
            parts = plan[l][j]
            # Post-LN: the norm stands at the sub-layer's end, and makes the stream of the next one
            scale = parts.norm if pre_norm else streams[l * len(kinds) + j + 1]
            fill_sublayer(spec.layer[l], layer, kind, parts, scale)
    if side.layer_norm is not None:
        norm(spec.layer_norm, side.layer_norm)


def fill_input(spec: Any, side: Any, stream: np.ndarray | float) -> None:
    """Write embedding and positions, which make the stream that the first layer takes."""
    positions = side.embed_positions
    table = positions.weight if isinstance(positions, torch.nn.Embedding) else positions.weights
    embedding = spec.embeddings[0] if isinstance(spec.embeddings, list) else spec.embeddings
    early = 1.0 if side.layernorm_embedding is not None else stream
    embedding.weight = exact(array(side.embed_tokens.weight) * early)
    spec.scale_embeddings = float(side.embed_scale)
    spec.position_encodings.encodings = exact(array(table)[positions.padding_idx + 1 :] * early)
    if side.layernorm_embedding is not None:
        norm(spec.layernorm_embedding, side.layernorm_embedding, stream)


def fill_sublayer(spec: Any, layer: Any, kind: str, parts: Folded, norm_scale: np.ndarray | float) -> None:
    """Write one sub-layer and its norm."""
    from ctranslate2.converters.utils import fuse_linear
    from ctranslate2.specs.common_spec import LinearSpec

    its_norm = getattr(layer, f"{STOCK_PREFIX[kind]}_layer_norm")
    if kind == "FF":
        norm(spec.ffn.layer_norm, its_norm, norm_scale)
        linear(spec.ffn.linear_0, layer.fc1, before=parts.stream)
        linear(spec.ffn.linear_1, layer.fc2, after=parts.branch)
        return
    target, attention = (spec.self_attention, layer.self_attn) if kind == "SA" else (spec.attention, layer.encoder_attn)
    norm(target.layer_norm, its_norm, norm_scale)
    # keys and values of cross-attention read the encoder's output, which is not the stream
    reads_stream = {"q_proj": True, "k_proj": kind == "SA", "v_proj": kind == "SA"}
    split = []
    for name, reads in reads_stream.items():
        split.append(LinearSpec())
        linear(split[-1], getattr(attention, name), before=parts.stream if reads else 1.0)
    if kind == "SA":
        fuse_linear(target.linear[0], split)
    else:
        target.linear[0] = split[0]
        fuse_linear(target.linear[1], split[1:])
    linear(target.linear[-1], attention.out_proj, after=parts.branch)


def array(tensor: torch.Tensor) -> np.ndarray:
    """Return a copy of a tensor in float32."""
    return tensor.detach().float().cpu().numpy().copy()


def norm(spec: Any, module: Any, scale: np.ndarray | float = 1.0) -> None:
    """Write a LayerNorm whose output is multiplied by `scale`."""
    spec.gamma, spec.beta = exact(array(module.weight) * scale), exact(array(module.bias) * scale)


def linear(spec: Any, module: Any, before: np.ndarray | float = 1.0, after: float = 1.0) -> None:
    """Write a projection whose input was multiplied by `before`, and whose output is multiplied by `after`."""
    spec.weight = exact(array(module.weight) / before * after)  # of shape (out, in): `before` divides the columns
    if module.bias is not None:
        spec.bias = exact(array(module.bias) * after)


def exact(values: np.ndarray) -> np.ndarray:
    """Return values in float32, whatever they were multiplied by."""
    return np.ascontiguousarray(values, dtype=np.float32)


def vocabulary(dictionary: Dictionary) -> list[str]:
    """Return the symbols as CTranslate2's converter of fairseq models names them."""
    return ["<blank>" if symbol == "<pad>" else symbol for symbol in dictionary.symbols]


def check(model: Trained, folder: Path) -> None:
    """Compare CTranslate2's probabilities of random sentences with the model's.

    Raises:
        UserError: they differ: there is no export.
    """
    import ctranslate2

    random = torch.Generator().manual_seed(1)
    sides, texts = (model.task.source_dictionary, model.task.target_dictionary), ([], [])
    for number in range(CHECKED):
        for dictionary, text in zip(sides, texts, strict=True):
            most = min(LONGEST, model.longest_target - 1, int(model.models[0].max_positions()[0]) - 1)
            length = 1 + number * (most - 1) // max(CHECKED - 1, 1)
            text.append(torch.randint(dictionary.nspecial, len(dictionary), (length,), generator=random))
    translator = ctranslate2.Translator(str(folder), device="cpu", compute_type="float32", inter_threads=1)
    words = [[[d.symbols[i] for i in ids] for ids in text] for d, text in zip(sides, texts, strict=True)]
    found = translator.score_batch(*words)
    for source, target, scored in zip(*texts, found, strict=True):
        ids = [torch.cat([part, torch.tensor([d.eos()])]) for part, d in zip((source, target), sides, strict=True)]
        expected = model.scored(ids[1], ids[0])
        scores = np.array(scored.log_probs)
        if not np.allclose(scores, expected.numpy(), rtol=TOLERANCE, atol=TOLERANCE):
            difference = float(np.abs(scores - expected.numpy()).max())
            raise UserError(
                f"CTranslate2 gives other probabilities than the model (a token's differ by {difference:.2g}): nothing "
                "is exported; please report this with the model's signature"
            )


def translate(
    folder: Path, lines: Sequence[Sequence[str]], compute_type: str, beam: int = 5, **options: Any
) -> list[list[str]]:
    """Return the translation of each line of subwords, by CTranslate2 alone; `options` are of its `translate_batch`."""
    import ctranslate2

    translator = ctranslate2.Translator(str(folder), device="cpu", compute_type=compute_type)
    results = translator.translate_batch(list(lines), beam_size=beam, max_batch_size=64, **options)
    return [result.hypotheses[0] for result in results]
