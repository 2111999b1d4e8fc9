"""Admin: LN(omega * x + F(x)), omega a trainable vector per sub-layer, set once from the variances of the first batch.

Liu et al. 2020, "Understanding the Difficulty of Training Transformers". The profiling pass is `--connection-init
admin`; with another initialisation omega starts at 1, which is Post-LN.
"""

import torch
from torch import Tensor, nn

from .base import Connection
from .registry import register_connection


@register_connection("admin")
class Admin(Connection):
    default_init = "admin"
    norm_kinds = ("layer", "rms", "dyt", "derf")
    why_not_others = "the pass that sets omega would count as a batch in UN's moving statistics"
    can_be_pruned = False  # omega belongs to a layer's place
    has_parameters_per_layer = True

    def __init__(self, config, **options):
        super().__init__(config, **options)
        sublayers = config.depth * len(config.kinds)
        self.omega = nn.ParameterList(nn.Parameter(torch.ones(config.width)) for _ in range(sublayers))
        self.profiled = False  # has a value of its own: from a profiling pass or a checkpoint

    def omega_of(self, l: int, j: int) -> Tensor:
        """Return the weight (C,) on the residual of sub-layer j of layer l."""
        return self.omega[(l - 1) * len(self.config.kinds) + j]

    def sublayer(self, x, l, j, branch, norms):
        (norm,) = norms
        return norm(self.omega_of(l, j) * x + branch(x))

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        self.profiled = self.profiled or f"{prefix}omega.0" in state_dict
