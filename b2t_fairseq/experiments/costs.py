"""What the paper's trainings cost: parameters, operations, GPU hours, memory. Computed, never measured on a GPU.

    operations of an update   3 x forward (the backward pass is two more); forward of a token: 2 for each weight of the
                              matrices it passes, 4 T d for each attention over T tokens
    GPU hours                 operations / (peak x utilisation)
    memory                    bytes a parameter + saved activations + the output layer, without fragmentation

`python -m b2t_fairseq.experiments.costs` prints the tables of docs/paper_scale.md.
"""

import sys

from .recipes import read_paper_recipe, training_options
from .tasks import PAPER_CORPORA
from .tasks.base import Corpus, Shape, Task

PEAK = {"A100": 312e12, "H100": 989e12}  # dense bf16 operations a second, by the data sheets (SXM)
UTILISATION = 0.25  # our assumption for narrow models in fairseq; large ones reach more
#: bytes a parameter: fp32 weights, gradients, Adam's two moments; in half precision 16-bit weights and gradients, and
#: float32 master weights, their gradients, two moments
PARAMETER_BYTES = {"fp32": 4 + 4 + 8, "fp16": 2 + 2 + 4 + 4 + 8, "bf16": 2 + 2 + 4 + 4 + 8}
ACTIVATION_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}
#: vectors of the model's width that a layer keeps for the backward pass, for each token: counted with torch's hooks for
#: saved tensors in b2t's layers, on a CPU in float32
SAVED = {"encoder": 14.0, "decoder": 21.0, "language model": 14.0}


def layer_weights(shape: Shape, cross: bool) -> int:
    """Return the weights of one layer's matrices."""
    return (8 if cross else 4) * shape.width**2 + 2 * shape.width * shape.ffn


def stacks(depth: str) -> tuple[int, int]:
    """Return encoder and decoder layers; a language model has no encoder."""
    numbers = [int(part) for part in depth.split("-")]
    return (0, numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1])


def parameters(corpus: Corpus, depth: str) -> int:
    """Return all parameters of the Post-LN or B2T model."""
    shape, (n, m) = corpus.shape, stacks(depth)
    small = shape.ffn + shape.width  # FFN biases
    encoder = layer_weights(shape, False) + 4 * shape.width + small + 2 * 2 * shape.width
    cross = n > 0
    norms = 3 if cross else 2
    decoder = layer_weights(shape, cross) + (8 if cross else 4) * shape.width + small + norms * 2 * shape.width
    return n * encoder + m * decoder + shape.table + shape.extra


def operations(task: type[Task], corpus: Corpus, depth: str) -> float:
    """Return the floating-point operations of one update."""
    shape, (n, m) = corpus.shape, stacks(depth)
    tokens = recipe(task, corpus, depth)[0]
    encoder = n * (2 * layer_weights(shape, False) + 4 * shape.source * shape.width) + 2 * shape.extra
    attended = shape.target / 2 + (shape.source if n else 0)  # half of the window is hidden, on average
    decoder = m * (2 * layer_weights(shape, n > 0) + 4 * attended * shape.width) + 2 * shape.output
    return 3 * tokens * (shape.encoder_share * encoder + shape.decoder_share * decoder)


def gpu_hours(task: type[Task], corpus: Corpus, depth: str, gpu: str) -> float:
    """Return the hours on one GPU for the whole training."""
    updates = recipe(task, corpus, depth)[1]["max-update"]
    return operations(task, corpus, depth) * updates / (PEAK[gpu] * UTILISATION) / 3600


def memory(task: type[Task], corpus: Corpus, depth: str, precision: str, checkpointed: bool = False) -> float:
    """Return the bytes on one GPU at the recipe's max-tokens; `checkpointed`: with --checkpoint-activations."""
    shape, (n, m) = corpus.shape, stacks(depth)
    tokens = recipe(task, corpus, depth)[1]["max-tokens"]
    encoder, decoder = SAVED["encoder"], SAVED["decoder" if n else "language model"]
    if checkpointed:  # the layers' inputs, and one layer at work
        kept = shape.encoder_share * (n + (encoder if n else 0)) + shape.decoder_share * (m + decoder)
    else:
        kept = shape.encoder_share * n * encoder + shape.decoder_share * m * decoder
    activations = kept * shape.width * tokens * ACTIVATION_BYTES[precision]
    outputs = shape.output // shape.width
    # logits, then their log-probabilities and gradients in float32
    logits = shape.decoder_share * tokens * outputs * (ACTIVATION_BYTES[precision] + 8)
    return parameters(corpus, depth) * PARAMETER_BYTES[precision] + activations + logits


def recipe(task: type[Task], corpus: Corpus, depth: str) -> tuple[int, dict]:
    """Return tokens per update and fairseq's options of b2t, from the recipe itself."""
    blocks = read_paper_recipe(corpus.recipe, task.command, corpus.depths, corpus.tests)
    return training_options(blocks, "b2t", depth, "paper")


def tables() -> str:
    """Return both tables as Markdown."""
    lines = [
        "| corpus | layers | parameters | PFLOP per update | A100 hours | H100 hours | the paper's GPU hours |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    rows = [(task, corpus, depth) for task, corpus in PAPER_CORPORA.values() for depth in corpus.depths]
    for task, corpus, depth in rows:
        theirs = (corpus.published_cost or {}).get(depth)
        paper = f"{theirs[0]} x {theirs[1]} h = {theirs[0] * theirs[1]:,}" if theirs else ""
        hours = [f"{gpu_hours(task, corpus, depth, gpu):,.0f}" for gpu in PEAK]
        size = f"{parameters(corpus, depth) / 1e6:,.0f} M"
        update = f"{operations(task, corpus, depth) / 1e15:,.2f}"
        lines.append(f"| {corpus.name} | {depth} | {size} | {update} | {' | '.join(hours)} | {paper} |")
    lines += [
        "",
        "| corpus | layers | fp32, GB | fp16 or bf16, GB | with --checkpoint-activations, GB |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for task, corpus, depth in rows:
        sizes = [memory(task, corpus, depth, p) for p in ("fp32", "fp16")] + [memory(task, corpus, depth, "fp16", True)]
        lines.append(f"| {corpus.name} | {depth} | " + " | ".join(f"{size / 1e9:.1f}" for size in sizes) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(tables())
    sys.exit(0)
