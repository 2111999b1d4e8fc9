"""Learning-rate schedules that fairseq does not have; importing the package registers them."""

from . import inverse_sqrt_nowarmup  # noqa: F401
