"""What the paper's trainings cost: parameters, operations, GPU hours, memory. Computed, never measured on a GPU.

    operations of an update   3 x forward (the backward pass is two more); forward of a token: 2 for each weight of the
                              matrices it passes, 4 T d for each attention over T tokens
    GPU hours                 operations / (peak x utilisation)
    memory                    bytes a parameter + saved activations + the output layer, without fragmentation

``python -m b2t_fairseq.experiments.costs`` prints the tables of docs/paper_scale.md.
"""

import sys
from dataclasses import dataclass

from .paper_recipe import CONFIGS, TASKS, read, training_options

PEAK = {"A100": 312e12, "H100": 989e12}  # dense bf16 operations a second, by the data sheets (SXM)
UTILISATION = 0.25  # our assumption for narrow models in fairseq; large ones reach more
#: bytes a parameter: fp32 weights, gradients, Adam's two moments; in half precision 16-bit weights and gradients, and
#: float32 master weights, their gradients, two moments
PARAMETER_BYTES = {"fp32": 4 + 4 + 8, "fp16": 2 + 2 + 4 + 4 + 8, "bf16": 2 + 2 + 4 + 4 + 8}
ACTIVATION_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}
#: vectors of the model's width that a layer keeps for the backward pass, for each token: counted with torch's hooks for
#: saved tensors in b2t's layers, on a CPU in float32
SAVED = {"encoder": 14.0, "decoder": 21.0, "language model": 14.0}
#: (GPUs, hours) of the paper's Table 8, our reading of a garbled copy
TABLE_8 = {
    ("wmt_ende", "6-6"): (128, 5),
    ("wmt_ende", "18-18"): (128, 13),
    ("gigaword", "6-6"): (64, 4),
    ("gigaword", "18-18"): (144, 17),
    ("wikitext103", "6"): (128, 4),
    ("wikitext103", "16"): (192, 7),
    ("librispeech", "6-6"): (32, 22),
    ("librispeech", "12-6"): (32, 34),
}


@dataclass(frozen=True)
class Shape:
    """The sizes of a corpus' models.

    Attributes:
        width, ffn: of the layers.
        source, target: tokens of a typical sentence or window, for attention.
        encoder_share, decoder_share: tokens that each stack sees, for one that ``max-tokens`` counts.
        extra: matrix weights outside the layers that every encoder input passes (the speech subsampler, per encoder
            position).
        table: parameters of the embeddings.
        output: matrix weights that a decoder token passes at the end.
    """

    width: int
    ffn: int
    source: int
    target: int
    encoder_share: float
    decoder_share: float
    extra: int
    table: int
    output: int


def adaptive(width: int, cuts: tuple[int, ...], words: int, factor: int = 4) -> int:
    """Parameters of adaptive input embeddings, shared with the output."""
    ends, total = (*cuts, words), 0
    for number, (begin, end) in enumerate(zip((0, *cuts), ends, strict=True)):
        narrow = width // factor**number
        total += (end - begin) * narrow + narrow * width
    return total


SHAPES = {
    "wmt_ende": Shape(512, 2048, 30, 30, 1, 1, 0, 32_768 * 512, 32_768 * 512),
    "gigaword": Shape(512, 2048, 40, 12, 1, 0.3, 0, 32_768 * 512, 32_768 * 512),
    # a word of the tail passes its cluster; most words are in the head, 20,002 outputs
    "wikitext103": Shape(1024, 4096, 0, 256, 0, 1, 0, adaptive(1024, (20_000, 60_000), 267_735), 20_002 * 1024),
    # frames are subsampled by 4; two convolutions of width 5: 80 -> 1024 -> (gated) 512 -> 1024
    "librispeech": Shape(
        512, 2048, 320, 45, 0.25, 0.035, 5 * 80 * 1024 * 2 + 5 * 512 * 1024, 10_000 * 512, 10_000 * 512
    ),
}


def layer_weights(shape: Shape, cross: bool) -> int:
    """Weights of one layer's matrices."""
    return (8 if cross else 4) * shape.width**2 + 2 * shape.width * shape.ffn


def stacks(depth: str) -> tuple[int, int]:
    """Encoder and decoder layers; a language model has no encoder."""
    numbers = [int(part) for part in depth.split("-")]
    return (0, numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1])


def parameters(task: str, depth: str) -> int:
    """All parameters of the Post-LN or B2T model."""
    shape, (n, m) = SHAPES[task], stacks(depth)
    small = shape.ffn + shape.width  # FFN biases
    encoder = layer_weights(shape, False) + 4 * shape.width + small + 2 * 2 * shape.width
    cross = n > 0
    norms = 3 if cross else 2
    decoder = layer_weights(shape, cross) + (8 if cross else 4) * shape.width + small + norms * 2 * shape.width
    return n * encoder + m * decoder + shape.table + shape.extra


def operations(task: str, depth: str) -> float:
    """Floating-point operations of one update."""
    shape, (n, m) = SHAPES[task], stacks(depth)
    tokens = recipe(task, depth)[0]
    encoder = n * (2 * layer_weights(shape, False) + 4 * shape.source * shape.width) + 2 * shape.extra
    attended = shape.target / 2 + (shape.source if n else 0)  # half of the window is hidden, on average
    decoder = m * (2 * layer_weights(shape, n > 0) + 4 * attended * shape.width) + 2 * shape.output
    return 3 * tokens * (shape.encoder_share * encoder + shape.decoder_share * decoder)


def gpu_hours(task: str, depth: str, gpu: str) -> float:
    """Hours on one GPU for the whole training."""
    updates = recipe(task, depth)[1]["max-update"]
    return operations(task, depth) * updates / (PEAK[gpu] * UTILISATION) / 3600


def memory(task: str, depth: str, precision: str, checkpointed: bool = False) -> float:
    """Bytes on one GPU at the recipe's max-tokens; ``checkpointed``: with --checkpoint-activations."""
    shape, (n, m) = SHAPES[task], stacks(depth)
    tokens = recipe(task, depth)[1]["max-tokens"]
    encoder, decoder = SAVED["encoder"], SAVED["decoder" if n else "language model"]
    if checkpointed:  # the layers' inputs, and one layer at work
        kept = shape.encoder_share * (n + (encoder if n else 0)) + shape.decoder_share * (m + decoder)
    else:
        kept = shape.encoder_share * n * encoder + shape.decoder_share * m * decoder
    activations = kept * shape.width * tokens * ACTIVATION_BYTES[precision]
    outputs = shape.output // shape.width
    # logits, then their log-probabilities and gradients in float32
    logits = shape.decoder_share * tokens * outputs * (ACTIVATION_BYTES[precision] + 8)
    return parameters(task, depth) * PARAMETER_BYTES[precision] + activations + logits


def recipe(task: str, depth: str) -> tuple[int, dict]:
    """Tokens per update and fairseq's options of b2t, from the recipe itself."""
    paper_task = TASKS[task]
    return training_options(paper_task, read(CONFIGS / f"{task}.yaml", paper_task), "b2t", depth, "paper")


def tables() -> str:
    """Both tables as Markdown."""
    lines = [
        "| corpus | layers | parameters | PFLOP per update | A100 hours | H100 hours | the paper's GPU hours |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    rows = [(task, depth) for task in TASKS for depth in TASKS[task].depths]
    for task, depth in rows:
        theirs = TABLE_8.get((task, depth))
        told = f"{theirs[0]} x {theirs[1]} h = {theirs[0] * theirs[1]:,}" if theirs else ""
        hours = [f"{gpu_hours(task, depth, gpu):,.0f}" for gpu in PEAK]
        size = f"{parameters(task, depth) / 1e6:,.0f} M"
        lines.append(
            f"| {task} | {depth} | {size} | {operations(task, depth) / 1e15:,.2f} | {' | '.join(hours)} | {told} |"
        )
    lines += [
        "",
        "| corpus | layers | fp32, GB | fp16 or bf16, GB | with --checkpoint-activations, GB |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for task, depth in rows:
        sizes = [memory(task, depth, p) for p in ("fp32", "fp16")] + [memory(task, depth, "fp16", True)]
        lines.append(f"| {task} | {depth} | " + " | ".join(f"{size / 1e9:.1f}" for size in sizes) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(tables())
    sys.exit(0)
