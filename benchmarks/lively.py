"""A randomly initialised translation model that behaves like a trained one as far as beam search can tell.

A deep random network says one word for ever, because its states differ little from each other. Here its sub-layers add
less, as in a trained one, so that states stay apart; its output layer is made to look at the differences, and to end
each sentence of a batch at a step of its own.
"""

import torch
from fairseq.dataclass.configs import GenerationConfig
from torch import Tensor

from . import batches

BRANCH = 0.25  # what the last weights of every sub-layer are multiplied with
LOGIT_SPREAD = 4.0  # standard deviation over the words; a trained model is as sure of itself
SLOPE = 2.0  # by which EOS's logit, minus the best word's, grows with each step
FIRST, STEPS = 20, 38  # sentences end from here to there, as translations of a length-sorted batch of 28 words do


@torch.no_grad()
def enliven(model, task, sample: dict, times: int = 1) -> None:
    """Rewrite weights so that the hypotheses for one batch end between `times` 20 and `times` 38 words.

    The model's embeddings must be untied. The number of weights and the work they make stay the same.
    """
    model.eval()
    for name, parameter in model.named_parameters():
        if name.endswith(("out_proj.weight", "fc2.weight")):
            parameter *= BRANCH
    weight = model.decoder.output_projection.weight
    weight *= LOGIT_SPREAD
    look_at_differences(weight, states(model, task, sample, times * STEPS).flatten(0, 1))  # (T * B, C)
    end_at_different_steps(weight, states(model, task, sample, times * STEPS), times * FIRST)


def look_at_differences(weight: Tensor, x: Tensor) -> None:
    """Tell words (V, C) apart by how states x (N, C) differ, weak directions amplified; the mean favours none."""
    mean = x.mean(0)
    values, vectors = torch.linalg.eigh((x - mean).T @ (x - mean) / len(x))
    whiten = vectors / values.clamp(min=float(values.mean())).sqrt() @ vectors.T
    weight.copy_(weight @ whiten)
    unit = mean / mean.norm()
    weight -= torch.outer(weight @ unit, unit)


def end_at_different_steps(weight: Tensor, x: Tensor, first: int) -> None:
    """Fit EOS's row of (V, C) to states x (T, B, C): its logit overtakes the best word's at another step each."""
    steps, sentences, _ = x.shape
    order = torch.randperm(sentences, generator=torch.Generator().manual_seed(0))
    ends = torch.linspace(first, steps - 1, sentences + 2)[1:-1][order]
    best = (x @ weight.T).amax(-1)
    wanted = best + SLOPE * (torch.arange(steps).unsqueeze(1) - ends)
    x, wanted = x.flatten(0, 1).double(), wanted.flatten().double()
    squares = x.T @ x
    squares.diagonal().add_(1e-4 * float(squares.diagonal().mean()))
    weight[batches.EOS] = torch.linalg.solve(squares, x.T @ wanted).to(weight)


def states(model, task, sample: dict, steps: int) -> Tensor:
    """Return what the output layer reads while a batch is decoded greedily and no sentence may end: (T, B, C)."""
    endless = GenerationConfig(beam=1, min_len=steps, max_len_a=0, max_len_b=steps)
    hypotheses = task.inference_step(task.build_generator([model], endless), [model], sample)
    words = torch.stack([best["tokens"][: steps - 1] for best, *_ in hypotheses])
    source = {name: value for name, value in sample["net_input"].items() if name != "prev_output_tokens"}
    before = torch.cat([words.new_full((len(words), 1), batches.EOS), words], 1)
    return model.decoder(before, encoder_out=model.encoder(**source), features_only=True)[0].transpose(0, 1)
