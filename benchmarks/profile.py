"""Where one side's time goes: torch's profiler on one measurement of a case.

python -m benchmarks.profile train-18-18-w512-t1024-fused ours
python -m benchmarks.profile train-18-18-w512-t1024-fused baseline
"""

import argparse
import os
import tempfile
from collections.abc import Sequence

import torch
from torch.profiler import ProfilerActivity, profile

from .cases import CASES

PRODUCTS = (
    *("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::mkldnn_linear"),
    *("SplitProduct", "SplitProductBackward"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Warm up, measure once under the profiler, and print what took longest."""
    # not our own Parser: the baseline's side is this process, and must not import the plugin
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.profile", description=__doc__.split("\n")[0], allow_abbrev=False
    )
    parser.error = lambda message: parser.exit(2, f"error: {message}; --help lists the options\n")
    parser.add_argument("case", choices=list(CASES), metavar="CASE", help="python -m benchmarks --list prints them")
    parser.add_argument("side", choices=["ours", "baseline"])
    options = parser.parse_args(arguments)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # as the benchmarks' sides do
    side = getattr(CASES[options.case], options.side)
    if side.plugin:
        import b2t_fairseq  # noqa: F401
    from .workloads import WORKLOADS

    with tempfile.TemporaryDirectory(prefix="b2t-profile-") as folder:
        workload = WORKLOADS[side.workload](device="cpu", folder=folder, **side.options)
        workload.measure()
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            seconds = workload.measure()["seconds"]
    operators = profiler.key_averages()
    print(operators.table(sort_by="self_cpu_time_total", row_limit=20, max_name_column_width=48))
    products = sum(of.self_cpu_time_total for of in operators if of.key in PRODUCTS) / 1e6
    everything = sum(of.self_cpu_time_total for of in operators) / 1e6
    print(f"{options.case}, {side.name}: {seconds:.2f} s under the profiler, {torch.get_num_threads()} threads")
    print(f"{products:.3f} s in matrix products, {everything - products:.3f} s in all else that it recorded")


if __name__ == "__main__":
    main()
