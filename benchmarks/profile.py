"""Where one side's time goes: torch's profiler on one measurement of a case.

python -m benchmarks.profile train-18-18-w512-t1024-fused ours
python -m benchmarks.profile train-18-18-w512-t1024-fused baseline
"""

import argparse
import tempfile

import torch
from torch.profiler import ProfilerActivity, profile

from .cases import CASES


def main() -> None:
    """Warms up, measures once under the profiler, and prints what took longest."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__.split("\n")[0])
    parser.add_argument("case", choices=list(CASES), metavar="CASE", help="python -m benchmarks --list prints them")
    parser.add_argument("side", choices=["ours", "baseline"])
    options = parser.parse_args()
    side = getattr(CASES[options.case], options.side)
    if side.plugin:
        import b2t_fairseq  # noqa: F401
    from .workloads import WORKLOADS

    with tempfile.TemporaryDirectory(prefix="b2t-profile-") as folder:
        workload = WORKLOADS[side.workload](device="cpu", folder=folder, **side.options)
        workload.measure()
        with profile(activities=[ProfilerActivity.CPU]) as found:
            seconds = workload.measure()["seconds"]
    print(found.key_averages().table(sort_by="self_cpu_time_total", row_limit=20, max_name_column_width=48))
    print(f"{options.case}, {side.name}: {seconds:.2f} s under the profiler, {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
