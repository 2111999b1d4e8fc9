"""An optimizer and a learning-rate schedule that fairseq does not have; importing the package registers them."""

from . import adam_fused, inverse_sqrt_nowarmup  # noqa: F401
