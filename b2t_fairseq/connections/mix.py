"""Mix-LN: `post` in the layers l <= K, `pre` after them, K = floor(a L); one LN after the whole stack.

Li et al. 2024, "Mix-LN: Unleashing the Power of Deeper Layers by Combining Pre-LN and Post-LN". K is computed for each
stack by its own depth (our decision; the paper's models are decoder-only).
"""

from fractions import Fraction

from ..common.errors import UserError
from .base import Connection, Option
from .registry import register_connection


@register_connection("mix")
class MixLN(Connection):
    has_final_norm = True
    can_be_pruned = False  # which layers are Post-LN depends on the depth
    options = {"a": Option(0.25, "share of the layers, from the bottom, that are Post-LN")}

    def __init__(self, config, **options):
        super().__init__(config, **options)
        if not 0 <= options["a"] <= 1:
            raise UserError(f"--connection-options: a={options['a']} must be between 0 and 1, a share of the layers")
        self.post_layers = int(Fraction(str(options["a"])) * config.depth)  # exact: 0.29 * 100 is 29, not 28.99...

    def sublayer(self, x, l, j, branch, norms):
        (norm,) = norms
        return norm(x + branch(x)) if l <= self.post_layers else x + branch(norm(x))

    def extra_repr(self):
        return f"{super().extra_repr()}, K={self.post_layers}"
