"""The table, the JSON and the Markdown."""

from b2t_fairseq.common.files import write_atomically, write_record

COLUMNS = ("case", "sides", "s", "tokens/s", "ratio", "min-max", "peak MB", "peak ratio", "remarks")


def row(name: str, result: dict) -> list[str]:
    """Return a case's cells; pairs of figures are ours / baseline."""
    ours, baseline = result["ours"], result["baseline"]
    speeds = [f"{side['tokens_per_second']:,.0f}" if "tokens_per_second" in side else "–" for side in (ours, baseline)]
    return [
        name,
        f"{ours['name']} / {baseline['name']}",
        f"{ours['seconds']:.3g} / {baseline['seconds']:.3g}",
        " / ".join(speeds),
        f"{result['ratio']:.3f}",
        f"{result['ratio_min']:.2f}-{result['ratio_max']:.2f}",
        f"{ours['peak_mb']:,.0f} / {baseline['peak_mb']:,.0f}",
        f"{result['peak_ratio']:.2f}",
        remarks(result),
    ]


def remarks(result: dict) -> str:
    """Say whether hypotheses are identical, the share of the products' speed, and what else cannot be a column."""
    ours, baseline = result["ours"], result["baseline"]
    said = []
    if result["identical_hypotheses"] is not None:
        same = "identical" if result["identical_hypotheses"] else "NOT identical"
        said.append(f"hypotheses {same}, {ours['lengths'][0]}-{ours['lengths'][1]} tokens")
    if result["score_difference"] is not None:
        said.append(f"scores differ by {result['score_difference']:.0e}")
    if "of_gemm_peak" in ours:
        said.append(f"{ours['of_gemm_peak']:.0%} / {baseline['of_gemm_peak']:.0%} of the products' speed")
    if "gflops" in ours:
        said.append(f"{ours['gflops']:.0f} / {baseline['gflops']:.0f} GFLOP/s")
    if "calls" in ours:
        said.append(f"{ours['calls']:,.0f} / {baseline['calls']:,.0f} operator calls")
    if ours.get("parameters") != baseline.get("parameters"):
        said.append(f"{ours['parameters']:,} / {baseline['parameters']:,} parameters")
    return "; ".join(said)


def about(facts: dict) -> str:
    """Describe the machine in a line."""
    return (
        f"{facts['cpu']}, {facts['cores']} cores, {facts['threads']} threads, {facts['device']}; "
        f"Python {facts['python']}, torch {facts['torch']}, {facts['fairseq']}, b2t_fairseq {facts['plugin']} "
        f"({facts['commit']}); {facts['date']}, load average at the start {facts['load_average']}"
    )


def table(results: dict[str, dict]) -> str:
    """Return a Markdown table, aligned to be read in a terminal as well; cases that failed stand below it."""
    rows = [row(name, result) for name, result in results.items() if "failed" not in result]
    lines = []
    if rows:
        widths = [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]
        cells = [COLUMNS, ["-" * width for width in widths], *rows]
        lines = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in cells]
    lines += [f"\n{name} failed: {result['failed']}" for name, result in results.items() if "failed" in result]
    return "\n".join(lines)


def write_all(results: dict[str, dict], facts: dict, json_file: str | None, markdown: str | None) -> None:
    """Write what is finished so far."""
    if json_file:
        write_record(json_file, {"machine": facts, "cases": results})
    if markdown:
        write_atomically(markdown, f"{table(results)}\n\n{about(facts)}\n")
