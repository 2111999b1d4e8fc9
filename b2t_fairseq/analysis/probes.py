"""Probes: numbers that are read off one forward and backward pass of a model, by hooks that return nothing.

    gradients       Frobenius norm of dLoss/d(output of a layer), for each layer
    ffn-gradients   Frobenius norm of the gradient of a layer's FFN weights: fc1 and fc2 together, and each
    points          Frobenius norm of dLoss/d(tensor) at five points around the LayerNorms of a decoder layer
    similarity      mean cosine similarity of the outputs of two layers, for each pair
    growth          variance of a layer's output

Loss is the mean negative log-likelihood of a target token, in nats: the sum over the target's tokens divided by their
number, without label smoothing, CTC and the like. The model is in evaluation mode, so without dropout and LayerDrop.
Means and variances are over the positions that are not padding. Norms are over all positions: at padding, which
nothing attends to and no loss counts, the gradient is 0. Gradients come from `torch.autograd.grad`, so those of the
parameters (`.grad`) stay what they are, as do training mode, random state and whatever else the model has.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import NoneType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_flatten

from ..checkpoints.signature import parse_signature
from ..common.errors import UserError
from ..layers import Stack
from ..layers.layer import STOCK_PREFIX
from ..models.methods import ARCH
from .stock import StockStack, stock_stacks

#: what a probe yields: a record without its value, and the value, or the tensors whose gradient's norm it is
Row = tuple[dict[str, Any], float | tuple[Tensor, ...]]

#: of what the probes compute: with a higher one, records of lower ones no longer count
VERSION = 2

#: what a record holds, whichever the probe
RECORD = {"probe": str, "connection": str, "layers": str, "side": str, "layer": int, "value": (int, float, NoneType)}

PLACES = {"SA": "self-attention", "CA": "cross-attention", "FF": "feed-forward"}
#: numbers of the two points that belong to the sum after a sub-layer: the sum, and the LayerNorm's output
POINTS = {"SA": (1, 2), "CA": (3, 4), "FF": (5, 6)}


def stacks_of(model: nn.Module) -> dict[str, Stack | StockStack]:
    """Return the model's stacks by side, "encoder" first; of a model that is not ours, its layers.

    Raises:
        UserError: it has none.
    """
    stacks = {module.config.side: module for module in model.modules() if isinstance(module, Stack)}
    stacks = stacks or stock_stacks(model)
    if "decoder" not in stacks:
        raise UserError(f"{type(model).__name__} has no decoder.layers: probes need a Transformer's layer modules")
    return stacks


class Trace:
    """What was heard of one forward pass.

    Attributes:
        stacks: the model's stacks by side.
        outputs: for each side, the layers' outputs (T, B, C).
        streams: for each side, what each layer handed on: a tensor, or a named tuple of tensors.
        real: for each side, which positions are not padding, (T, B).
        norms: for each layer listened to, its sub-layers' LayerNorms: kind -> (input, output, is after the branch).
    """

    def __init__(self, stacks: dict[str, Stack]):
        self.stacks = stacks
        self.outputs: dict[str, list[Tensor]] = {side: [] for side in stacks}
        self.streams: dict[str, list[Any]] = {side: [] for side in stacks}
        self.real: dict[str, Tensor] = {}
        self.norms: dict[int, dict[str, tuple[Tensor, Tensor, bool]]] = {}


@contextlib.contextmanager
def layer_outputs(stack: Stack | StockStack) -> Iterator[tuple[list[Tensor], list[Any]]]:
    """Within it, a forward pass fills two lists: the layers' outputs (T, B, C), and the streams they hand on."""
    outputs, streams = [], []

    def keep(_layer, _inputs, stream) -> None:
        streams.append(stream)
        outputs.append(stack.connection.output(stream))

    with hooked(layer.register_forward_hook(keep) for layer in stack.unique_layers()):
        yield outputs, streams


@contextlib.contextmanager
def layer_norms(layer: nn.Module, kinds: Sequence[str]) -> Iterator[dict[str, tuple[Tensor, Tensor, bool]]]:
    """Within it, a forward pass fills `Trace.norms` of one layer: input, output, is it after the branch."""
    heard: dict[str, tuple[Tensor, Tensor, bool]] = {}
    done: set[str] = set()

    def listen(kind: str) -> Iterator[Any]:
        branch = layer.fc2 if kind == "FF" else getattr(layer, STOCK_PREFIX[kind])
        norm = getattr(layer, f"{STOCK_PREFIX[kind]}_layer_norm", None)
        yield branch.register_forward_hook(lambda *_: done.add(kind))
        if norm is not None:

            def keep(_norm, inputs, output) -> None:
                heard[kind] = (inputs[0], output, kind in done)

            yield norm.register_forward_hook(keep)

    with hooked(handle for kind in kinds for handle in listen(kind)):
        yield heard


@contextlib.contextmanager
def hooked(handles: Iterator[Any]) -> Iterator[None]:
    """Register hooks, and remove them at the end."""
    with contextlib.ExitStack() as stack:
        for handle in handles:
            stack.callback(handle.remove)
        yield


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Within it the model is in evaluation mode and keeps its activations; afterwards each module is as it was."""
    modes = [(module, module.training) for module in model.modules()]
    stacks = [(stack, stack.checkpoint_activations) for stack in stacks_of(model).values()]
    devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
    try:
        for module, _ in modes:
            module.training = False
        for stack, _ in stacks:
            stack.checkpoint_activations = False  # the layers would run twice, once without a graph
        with torch.random.fork_rng(list(devices)):
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for stack, kept in stacks:
            stack.checkpoint_activations = kept


@contextlib.contextmanager
def listening(model: nn.Module, sample: Mapping[str, Any], point_layers: Sequence[int] = ()) -> Iterator[Trace]:
    """Within it, a forward pass on the sample fills the trace.

    Args:
        model: one of ours.
        sample: a batch as fairseq collates it.
        point_layers: the decoder layers, from 1 on, whose LayerNorms are listened to.
    """
    trace = Trace(stacks_of(model))
    tokens = sample["net_input"].get("prev_output_tokens", sample["net_input"]["src_tokens"])
    trace.real["decoder"] = tokens.ne(model.decoder.dictionary.pad()).T

    def keep_padding(_encoder, _inputs, encoded) -> None:
        padding = encoded["encoder_padding_mask"]
        states = encoded["encoder_out"][0]
        trace.real["encoder"] = ~padding[0].T if padding else states.new_ones(states.shape[:2], dtype=torch.bool)

    with contextlib.ExitStack() as context:
        for side, stack in trace.stacks.items():
            trace.outputs[side], trace.streams[side] = context.enter_context(layer_outputs(stack))
        if "encoder" in trace.stacks:
            context.callback(model.encoder.register_forward_hook(keep_padding).remove)
        for number in point_layers:
            stack = trace.stacks["decoder"]
            if stack.shares_layers:
                raise UserError("points: layers that share parameters cannot be listened to one by one")
            layer = stack[number - 1]
            trace.norms[number] = context.enter_context(layer_norms(layer, stack.config.kinds))
        yield trace


def mean_nll(model: nn.Module, sample: Mapping[str, Any]) -> Tensor:
    """Compute the mean negative log-likelihood of a target token, in nats, also of an adaptive softmax."""
    output, target = model(**sample["net_input"])[0], sample["target"].flatten()
    padding, softmax = model.decoder.dictionary.pad(), getattr(model.decoder, "adaptive_softmax", None)
    if softmax is None:
        return F.cross_entropy(output.flatten(0, 1).float(), target, ignore_index=padding)
    head, *tails = zip(*softmax(output, target), strict=True)
    total = F.cross_entropy(head[0].float(), head[1], ignore_index=padding, reduction="sum")
    for logits, words in tails:  # numbered within their cluster: none of them is padding
        if words is not None:
            total = total + F.cross_entropy(logits.float(), words, reduction="sum")
    return total / target.ne(padding).sum()


def gradients(trace: Trace) -> Iterator[Row]:
    """Yield each layer's output; where a connection computes that from its stream, the tensors of the stream."""
    for side, number, output, stream in layers_of(trace):
        parts = tuple(part for part in tree_flatten(stream)[0] if isinstance(part, Tensor))
        is_part = any(output is part for part in parts)
        yield {"side": side, "layer": number}, (output,) if is_part else parts


def ffn_gradients(trace: Trace) -> Iterator[Row]:
    """Yield each layer's FFN weights."""
    for side, stack in trace.stacks.items():
        for place, layer in enumerate(stack.unique_layers(), 1):
            if not all(isinstance(getattr(layer, name, None), nn.Module) for name in ("fc1", "fc2")):
                raise UserError(f"ffn-gradients: a {type(layer).__name__} has no fc1 and fc2 to be measured")
            first, second = layer.fc1.weight, layer.fc2.weight
            for name, weights in (("fc1+fc2", (first, second)), ("fc1", (first,)), ("fc2", (second,))):
                yield {"side": side, "layer": getattr(layer, "number", place), "weights": name}, weights


def points(trace: Trace) -> Iterator[Row]:
    """Yield the tensors at the five points of each decoder layer that was listened to.

    (1), (3), (5): the sum after self-attention, cross-attention, feed-forward; (2), (4): the output of the LayerNorm
    that reads the sum. Where the LayerNorm stands after the branch (Post-LN), the sum is its input. Where it stands
    before (Pre-LN), the next sub-layer's reads the sum, and (5) is the layer's output.

    Raises:
        UserError: no LayerNorm reads the sum.
    """
    stack = trace.stacks["decoder"]
    for number, norms in trace.norms.items():
        kinds = stack.config.kinds
        for kind, following in zip(kinds, [*kinds[1:], None], strict=True):
            own, later = norms.get(kind), norms.get(following)
            norm = own if own and own[2] else later if later and not later[2] else None
            tensors = norm[:2] if norm else (trace.outputs["decoder"][number - 1],)
            if not stack.connection.norm_reads_sum or (norm is None and following is not None):
                raise UserError(
                    f"points: connection '{stack.connection.name}' has no LayerNorm that reads the sum after "
                    f"{PLACES[kind]} (layer {number}): choose one that has, such as post, pre or b2t"
                )
            where = "after the branch" if own and own[2] else "before the branch"
            for point, tensor in zip(POINTS[kind], tensors, strict=False):
                if point <= 5:
                    yield {"side": "decoder", "layer": number, "point": point, "norm": where}, (tensor,)


def similarity(trace: Trace) -> Iterator[Row]:
    """Yield the mean cosine similarity of the outputs of layers i <= j, over the positions that are not padding."""
    for side, outputs in trace.outputs.items():
        real = trace.real[side]
        units = torch.stack([F.normalize(words(output, real).double(), dim=-1) for output in outputs])
        means = torch.einsum("inc,jnc->ij", units, units) / units.size(1)
        for i, row in enumerate(means.tolist(), 1):
            for j, value in enumerate(row[i - 1 :], i):
                yield {"side": side, "layer": i, "other": j}, value


def growth(trace: Trace) -> Iterator[Row]:
    """Yield the population variance of each layer's output over positions that are not padding, and channels."""
    for side, number, output, _ in layers_of(trace):
        yield {"side": side, "layer": number}, words(output, trace.real[side]).double().var(unbiased=False).item()


def words(output: Tensor, real: Tensor) -> Tensor:
    """Return a layer's output at the positions that are not padding, (N, C).

    Raises:
        UserError: a layer that is not ours returns something else than (T, B, C).
    """
    if output.shape[:2] != real.shape:
        raise UserError(f"a layer returns {tuple(output.shape)} for {tuple(real.shape)} positions: not (T, B, C)")
    return output.detach()[real]


def layers_of(trace: Trace) -> Iterator[tuple[str, int, Tensor, Any]]:
    """Yield side, number, output and stream of each layer."""
    for side, outputs in trace.outputs.items():
        for number, (output, stream) in enumerate(zip(outputs, trace.streams[side], strict=True), 1):
            yield side, number, output, stream


PROBES: dict[str, Callable[[Trace], Iterator[Row]]] = {
    "gradients": gradients,
    "ffn-gradients": ffn_gradients,
    "points": points,
    "similarity": similarity,
    "growth": growth,
}
NEED_GRADIENTS = ("gradients", "ffn-gradients", "points")


def measure(
    model: nn.Module,
    sample: Mapping[str, Any],
    probes: str | Sequence[str],
    point_layers: Sequence[int] | None = None,
    scale: float = 1.0,
) -> list[dict[str, Any]]:
    """Measure one or several probes in one pass.

    Args:
        model: one of ours.
        sample: a batch as fairseq collates it, on the model's device.
        probes: a name out of `PROBES`, or several.
        point_layers: the decoder layers, from 1 on, whose points are wanted; default `default_layers`.
        scale: the loss is multiplied by it and the norms divided: float16's gradients would be 0 otherwise.

    Returns:
        Records with "probe", "version", "side", "layer" (from 1 on), what else the probe says, and "value", which is
        None where it is not finite.

    Raises:
        UserError: a layer that does not exist, a connection without the points, or frozen parameters.
    """
    probes = [probes] if isinstance(probes, str) else probes
    if "points" in probes:
        depth = len(stacks_of(model)["decoder"])
        point_layers = default_layers(depth) if point_layers is None else point_layers
        if any(not 1 <= number <= depth for number in point_layers):
            raise UserError(
                f"points of layers {', '.join(map(str, point_layers))}: the decoder has layers 1 to {depth}"
            )
    needs_gradients = not set(NEED_GRADIENTS).isdisjoint(probes)
    with evaluating(model), torch.set_grad_enabled(needs_gradients):
        with listening(model, sample, (point_layers or ()) if "points" in probes else ()) as trace:
            loss = mean_nll(model, sample)
        rows = [(probe, *row) for probe in probes for row in PROBES[probe](trace)]
        norms = iter(gradient_norms(loss, [value for *_, value in rows if isinstance(value, tuple)], scale))
    values = [next(norms) if isinstance(value, tuple) else value for *_, value in rows]
    return [
        {"probe": probe, "version": VERSION, **record, "value": value if math.isfinite(value) else None}
        for (probe, record, _), value in zip(rows, values, strict=True)
    ]


def gradient_norms(loss: Tensor, groups: Sequence[tuple[Tensor, ...]], scale: float = 1.0) -> list[float]:
    """Return, for each group of tensors, the Frobenius norm of the loss's gradient with respect to all of them.

    Raises:
        UserError: a tensor does not depend on a parameter that is trained.
    """
    tensors = {id(tensor): tensor for group in groups for tensor in group}
    if not all(tensor.requires_grad for tensor in tensors.values()):
        raise UserError("gradients cannot be measured where the parameters are frozen: train them, or measure growth")
    if not tensors:
        return []
    found = torch.autograd.grad(loss * scale, list(tensors.values()), allow_unused=True)
    squares = {
        key: 0.0 if gradient is None else gradient.double().square().sum().item() / scale**2
        for key, gradient in zip(tensors, found, strict=True)
    }
    return [math.sqrt(sum(squares[id(tensor)] for tensor in group)) for group in groups]


def default_layers(depth: int) -> list[int]:
    """Return the layers whose points are measured unless others are asked for: first, middle, last."""
    return sorted({1, max(1, depth // 2), depth})


def identity(signature: str) -> dict[str, str]:
    """Return which model a signature names, for its records: connection, depths, init, options unlike the defaults."""
    fields = parse_signature(signature)
    name, _, options = fields["connection"].rstrip(")").partition("(")
    known = {"connection": name, "layers": fields["layers"], "init": fields["init"]}
    return known | ({"options": options} if options else {})


def identity_of_model(model: nn.Module, arch: str) -> dict[str, str]:
    """Return `identity` of a model; one that is not ours is named after its architecture."""
    if signature := getattr(model, "signature", None):
        return identity(signature)
    layers = "-".join(str(len(stack)) for stack in stacks_of(model).values())
    return {"connection": f"{ARCH}{arch}", "layers": layers, "init": "its own"}
