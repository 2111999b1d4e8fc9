"""Let `--bf16` work without a TPU.

Without it: fairseq's option parser takes `--bf16` as a request for a TPU (`args.tpu = True`), and training dies with
`'NoneType' object has no attribute 'xla_device'`, on CPU and on GPU.
Versions: every fairseq so far; any torch, as long as torch_xla is not installed.
Unnecessary: once the parser asks for torch_xla first. `fairseq-hydra-train common.bf16=true` never had this fault.
"""

from fairseq import options, utils

from ..wrap import wrap


def apply() -> None:
    wrap(options, "parse_args_and_arch", __name__, _make)


def _make(original):
    def parse_args_and_arch(*args, **kwargs):
        parsed = original(*args, **kwargs)
        known = parsed[0] if isinstance(parsed, tuple) else parsed
        if getattr(utils, "xm", None) is None and getattr(known, "bf16", False):
            known.tpu = False
        return parsed

    return parse_args_and_arch
