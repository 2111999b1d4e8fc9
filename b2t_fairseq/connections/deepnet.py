"""DeepNet, DeepNorm: LN(alpha x + F(x)), alpha > 1 and, in its initialisation, beta < 1 grow and shrink with depth.

Wang et al. 2022, "DeepNet: Scaling Transformers to 1,000 Layers". N encoder and M decoder layers:

    encoder      alpha = 0.81 (N^4 M)^(1/16)    beta = 0.87 (N^4 M)^(-1/16)
    decoder      alpha = (3M)^(1/4)             beta = (12M)^(-1/4)
    one stack    alpha = (2L)^(1/4)             beta = (8L)^(-1/4)           (a language model of L layers)
"""

from typing import NamedTuple

from .config import StackConfig
from .gpas import Gated
from .registry import register_connection


class Constants(NamedTuple):
    """alpha: weight of the residual; beta: gain of the initialisation."""

    alpha: float
    beta: float


def deepnet_constants(config: StackConfig) -> Constants:
    """alpha and beta of one stack."""
    if config.other_depth is None:
        return Constants((2 * config.depth) ** 0.25, (8 * config.depth) ** -0.25)
    if config.side == "encoder":
        n4m = config.depth**4 * config.other_depth
        return Constants(0.81 * n4m**0.0625, 0.87 * n4m**-0.0625)
    return Constants((3 * config.depth) ** 0.25, (12 * config.depth) ** -0.25)


@register_connection("deepnet")
class DeepNet(Gated):
    default_init = "deepnet"
    can_be_pruned = False  # alpha is that of the depth

    def __init__(self, config, **options):
        super().__init__(config, **options)
        self.alpha = deepnet_constants(config).alpha

    def sublayer(self, x, l, j, branch, norms):
        (norm,) = norms
        return norm(self.alpha * self.scaled(x, l) + branch(x))

    def extra_repr(self):
        return f"{super().extra_repr()}, alpha={self.alpha:.4f}"
