"""Outputs, gradients and decoding on the device, against float32 on the CPU.

    output         of the decoder, at all real target positions
    gradients      of the mean loss, all parameters as one vector
    incremental    the outputs of step-by-step decoding, against those of the whole target at once, on the device
    hypotheses     share of sentences whose best hypothesis of beam search is not the CPU's

Distances are ||x - reference|| / ||reference||. In half precision the reference has the same rounded weights.
"""

import functools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from fairseq.sequence_generator import SequenceGenerator
from torch import Tensor, nn

from ...analysis.batches import PAD
from ...analysis.probes import mean_nll
from .bench import Case, Figure, Settings, distance, gradients, small_model, to

CHECK = "numbers"
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
BEAM, LONGEST = 4, 12
LOSS_SCALE = 128.0  # fairseq begins at this in fp16; in float32 and bfloat16 it changes nothing
#: options that change what a layer computes, each once, on one connection
OPTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("post", {"norm": "rms"}),
    ("post", {"norm": "un"}),
    ("pre", {"norm": "dyt"}),
    ("pre", {"norm": "derf"}),
    ("pre", {"connection_options": "gpas=true"}),
    ("b2t", {"branch_warmup": 10}),
    ("b2t", {"share_layers": "cycle", "unique_layers": 1}),
)


Pair = tuple[nn.Module, nn.Module, dict[str, Any]]


class Limits(NamedTuple):
    """The largest distances that are right."""

    output: float
    gradients: float
    incremental: float


#: about four times the largest of all connections on a CPU and on an H200, whose matrix products round differently
LIMITS = {
    torch.float32: Limits(2e-6, 1e-5, 2e-6),
    torch.float16: Limits(4e-3, 3e-2, 4e-3),
    torch.bfloat16: Limits(3e-2, 8e-2, 3e-2),
}


class Results(NamedTuple):
    """What a model gives: outputs (N, V) at the real positions, the gradients (P,)."""

    output: Tensor
    gradients: Tensor


def cases(settings: Settings) -> Iterator[Case]:
    """Yield a case for each connection and type, for each option, and for beam search."""
    for dtype in DTYPES:
        for method in settings.connections:
            yield Case(CHECK, f"{method}, {name_of(dtype)}", functools.partial(compare, settings, method, {}, dtype))
    for method, given in OPTIONS:
        for dtype in DTYPES:
            words = " ".join(f"{key}={value}" for key, value in given.items())
            name = f"{method} {words}, {name_of(dtype)}"
            yield Case(CHECK, name, functools.partial(compare, settings, method, given, dtype))
    for method in settings.connections:
        yield Case("decoding", f"{method}, beam {BEAM}, float32", functools.partial(search, settings, method))


def name_of(dtype: torch.dtype) -> str:
    """Return "float16" for torch.float16."""
    return str(dtype).removeprefix("torch.")


def pair(settings: Settings, method: str, given: Mapping[str, Any], dtype: torch.dtype) -> Pair:
    """Return a model on the CPU in float32, the same on the device in `dtype`, and a batch; the weights are rounded."""
    (reference, sample), (model, _) = (small_model(method, given) for _ in range(2))
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.copy_(parameter.to(dtype))
    model.load_state_dict(reference.state_dict())
    return reference, model.to(device=settings.device, dtype=dtype), sample


def compare(settings: Settings, method: str, given: Mapping[str, Any], dtype: torch.dtype) -> list[Figure]:
    """Compare a connection on the device with the reference."""
    reference, model, sample = pair(settings, method, given, dtype)
    expected, found = results(reference, sample), results(model, to(settings.device, sample))
    most = LIMITS[dtype]
    steps, whole = incremental(model.eval(), to(settings.device, sample))
    return [
        Figure("output", distance(found.output, expected.output), most.output),
        Figure("gradients", distance(found.gradients, expected.gradients), most.gradients),
        Figure("incremental", distance(steps, whole), most.incremental),
    ]


def results(model: nn.Module, sample: Mapping[str, Any]) -> Results:
    """Return a model's outputs, and the gradients of its mean loss."""
    (mean_nll(model, sample) * LOSS_SCALE).backward()
    with torch.no_grad():
        output = model(**sample["net_input"])[0][sample["target"].ne(PAD)]
    return Results(output, gradients(model))


@torch.no_grad()
def incremental(model: nn.Module, sample: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Return outputs (N, V) of step-by-step decoding at the real positions, and those of all positions at once."""
    inputs, is_real = sample["net_input"], sample["target"].ne(PAD)
    encoded = model.encoder(inputs["src_tokens"], src_lengths=inputs["src_lengths"])
    target, state = inputs["prev_output_tokens"], {}
    steps = [
        model.decoder(target[:, : t + 1], encoder_out=encoded, incremental_state=state)[0]
        for t in range(target.size(1))
    ]
    whole = model.decoder(target, encoder_out=encoded)[0]
    return torch.cat(steps, 1)[is_real], whole[is_real]


def search(settings: Settings, method: str) -> list[Figure]:
    """Compare beam search on the device with that on the CPU, both in float32."""
    reference, model, sample = pair(settings, method, {}, torch.float32)
    expected = best(reference, sample)
    found = best(model, to(settings.device, sample))
    differing = sum(a != b for a, b in zip(expected, found, strict=True))
    return [Figure("hypotheses", differing / len(expected), 0.1)]


@torch.no_grad()
def best(model: nn.Module, sample: Mapping[str, Any]) -> list[list[int]]:
    """Return the best hypothesis of each sentence."""
    generator = SequenceGenerator([model.eval()], model.decoder.dictionary, beam_size=BEAM, max_len_b=LONGEST)
    return [hypotheses[0]["tokens"].tolist() for hypotheses in generator.generate([model], sample)]
