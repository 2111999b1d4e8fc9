"""`--criterion cross_entropy_fused` and `--criterion label_smoothed_cross_entropy_fused`, for training on a CPU.

fairseq's criteria of these names without `_fused`: the same options, numbers to rounding, and checkpoints that either
continues. For N words and a vocabulary of V those pass some ten times over tensors of N x V, the largest of a step; the
compiled kernel (`native`) reads the scores once, and once more to write their gradient. Where there is none (on other
devices, without a compiler, with adaptive softmax or `--ignore-prefix-size`) fairseq's own is used.
"""

from collections.abc import Mapping

import torch
from fairseq.criterions import cross_entropy, label_smoothed_cross_entropy, register_criterion
from torch import Tensor
from torch.autograd.function import once_differentiable

from .. import native


class SmoothedCrossEntropy(torch.autograd.Function):
    """-sum_j q_j log p_j, and -log p_target, with p = softmax(scores).

    q_j = eps / (V - 1), but 1 - eps for the target (Szegedy et al. 2016, section 7, as fairseq reads it: the target
    gets no share of eps).

    Args of `apply`:
        scores: (N, V), in float32 or bfloat16.
        target: (N,) int64.
        smoothing: eps.
        ignored: a target whose rows count nothing.

    Returns:
        (N,) and (N,) in float32, the second without a gradient.
    """

    @staticmethod
    def forward(ctx, scores: Tensor, target: Tensor, smoothing: float, ignored: int) -> tuple[Tensor, Tensor]:
        share = smoothing / (scores.size(1) - 1)
        norms, total, nll = native.log_sums(scores, target)
        smooth = scores.size(1) * norms - total
        is_ignored = target == ignored
        nll.masked_fill_(is_ignored, 0), smooth.masked_fill_(is_ignored, 0)
        ctx.save_for_backward(scores, target, norms, is_ignored)
        ctx.share, ctx.of_target = share, 1 - smoothing - share
        ctx.mark_non_differentiable(nll)
        return ctx.of_target * nll + share * smooth, nll

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor, _: Tensor | None) -> tuple[Tensor, None, None, None]:
        scores, target, norms, is_ignored = ctx.saved_tensors
        factors = gradient.masked_fill(is_ignored, 0)
        return native.softmax_minus(scores, target, norms, factors, ctx.share, ctx.of_target), None, None, None


def fused(model, net_output: tuple, target: Tensor, smoothing: float, ignored: int) -> tuple[Tensor, Tensor] | None:
    """Return the loss and the negative log-likelihood of each word, (N,) each; None where there is no kernel."""
    scores = net_output[0]
    decoder = getattr(model, "decoder", model)
    is_plain = isinstance(scores, Tensor) and getattr(decoder, "adaptive_softmax", None) is None
    if not is_plain or not native.suits(scores, *native.DTYPES) or scores.size(-1) < 2:
        return None
    rows, target = scores.reshape(-1, scores.size(-1)), target.reshape(-1)
    if not len(target) == len(rows) > 0 or not 0 <= int(target.min()) <= int(target.max()) < rows.size(1):
        return None  # torch's operations say what is wrong
    return SmoothedCrossEntropy.apply(rows, target, smoothing, ignored)


# The classes have the names of fairseq's, which its trainer compares with the checkpoint's before it resumes.


@register_criterion("cross_entropy_fused", dataclass=cross_entropy.CrossEntropyCriterionConfig)
class CrossEntropyCriterion(cross_entropy.CrossEntropyCriterion):
    """fairseq's `cross_entropy`."""

    def compute_loss(self, model, net_output: tuple, sample: Mapping, reduce: bool = True) -> tuple[Tensor, Tensor]:
        losses = fused(model, net_output, model.get_targets(sample, net_output), 0.0, self.padding_idx)
        if losses is None:
            return super().compute_loss(model, net_output, sample, reduce=reduce)
        loss = losses[0].sum() if reduce else losses[0]
        return loss, loss


@register_criterion(
    "label_smoothed_cross_entropy_fused",
    dataclass=label_smoothed_cross_entropy.LabelSmoothedCrossEntropyCriterionConfig,
)
class LabelSmoothedCrossEntropyCriterion(label_smoothed_cross_entropy.LabelSmoothedCrossEntropyCriterion):
    """fairseq's `label_smoothed_cross_entropy`."""

    def compute_loss(self, model, net_output: tuple, sample: Mapping, reduce: bool = True) -> tuple[Tensor, Tensor]:
        losses = None
        if not self.ignore_prefix_size:
            losses = fused(model, net_output, model.get_targets(sample, net_output), self.eps, self.padding_idx)
        if losses is None:
            return super().compute_loss(model, net_output, sample, reduce=reduce)
        return tuple(x.sum() if reduce else x.unsqueeze(-1) for x in losses)  # unreduced, fairseq's are (N, 1)
