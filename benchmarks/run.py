"""What compiling a model and running its binary costs, here and on the accelerator.

    python -m benchmarks.run MODEL --target NAME|FILE [--runs N] [--json]

Seconds are medians of N warm runs in this process; "first" is the first one, with all imports.
Peak memory is that of the whole process.
"""

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

Row = dict[str, Any]


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("benchmarks.run", description="What compiling and running costs.")
    p.add_argument("model", help="an ONNX model of static shape")
    p.add_argument("--target", default="eyeriss-like", help="a name, or a TOML file (%(default)s)")
    p.add_argument("--runs", type=int, default=5, metavar="N", help="warm runs (%(default)s)")
    p.add_argument("--json", action="store_true", help="print the figures as JSON")
    return p


def main() -> None:
    options = parser().parse_args()
    row = measure(options.model, options.target, max(1, options.runs))
    print(json.dumps(row, indent=2) if options.json else text(row))


def measure(path: str, target: str, runs: int) -> Row:
    """Compile, run on random inputs, and time both."""
    first_compile, artifact = timed(lambda: compile_model(path, target))
    first_run, (session, feeds) = timed(lambda: first(artifact))
    timing, profile = timed(lambda: session.profile)
    warm_run = [timed(lambda: session.run(None, feeds))[0] for _ in range(runs)]
    peak = peak_bytes()
    warm_compile = [timed(lambda: compile_model(path, target))[0] for _ in range(runs)]
    report = profile.report
    return {
        "model": path,
        "target": report["target"]["name"],
        "compile_first_seconds": first_compile,
        "compile_seconds": statistics.median(warm_compile),
        "run_first_seconds": first_run,
        "run_seconds": statistics.median(warm_run),
        "timing_seconds": timing,
        "peak_memory_bytes": peak,
        "cycles": report["cycles"],
        "time_us": report["time_us"],
        "macs": report["macs"],
        "utilisation": report["utilisation"],
        "dram_read_bytes": report["dram_read_bytes"],
        "dram_written_bytes": report["dram_written_bytes"],
        "energy": report["energy"]["total"],
        "energy_unit": report["energy"]["unit"],
        "instructions": report["instructions"],
        "code_bytes": report["code_bytes"],
        "weight_bytes": report["weight_bytes"],
    }


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def compile_model(path: str, target: str) -> Any:
    import dnncc

    return dnncc.compile(path, target)


def first(artifact: Any) -> tuple[Any, dict[str, Any]]:
    """A session on the binary's bytes that has run once, and its random inputs."""
    from dnncc.isa import elf
    from dnncc.runtime import files, load

    session = load(elf.write(artifact.image))
    feeds = files.random_inputs(session.get_inputs(), 0)
    session.run(None, feeds)
    return session, feeds


def peak_bytes() -> int:
    """The largest resident set of this process so far; Linux counts in KiB, macOS in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def text(row: Row) -> str:
    share = row["code_bytes"] / row["weight_bytes"] if row["weight_bytes"] else 0.0
    dram = row["dram_read_bytes"] + row["dram_written_bytes"]
    lines = [
        f"{row['model']} on {row['target']}",
        *(f"  {what:12} {seconds(row, what)}" for what in ("compile", "run")),
        f"  timing       {row['timing_seconds']:.3f} s",
        f"  peak memory  {row['peak_memory_bytes'] / 2**20:.0f} MiB",
        f"  cycles       {row['cycles']:,} = {row['time_us']:,.1f} us",
        f"  utilisation  {row['utilisation']:.1%} of peak, {row['macs']:,} MACs",
        f"  DRAM         {dram:,} bytes: {row['dram_read_bytes']:,} read, "
        f"{row['dram_written_bytes']:,} written",
        f"  energy       {row['energy']:.4g} {row['energy_unit']}",
        f"  code         {row['code_bytes']:,} bytes, {share:.1%} of the weights; "
        f"{row['instructions']:,} instructions",
    ]
    return "\n".join(lines)


def seconds(row: Row, what: str) -> str:
    return f"{row[f'{what}_seconds']:.3f} s, first {row[f'{what}_first_seconds']:.3f} s"


if __name__ == "__main__":
    main()
