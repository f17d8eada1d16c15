"""What a million instructions cost that do not repeat themselves: decoded, timed, proved, watched.

    python -m benchmarks.million                 # ResNet-50 on diannao-like, which has so many
    python -m benchmarks.million --program a.elf

CPU seconds, and microseconds an instruction. `timed` and `proved` are by machine code where there
is a C compiler; without, `timed` finds out that little can be left out, and plays the rest.
`watched` is what the sanitizer adds to a run, without the run.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zlib import crc32

NETWORK, TARGET = "resnet50", "diannao-like"


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("benchmarks.million", description="What many instructions cost.")
    p.add_argument("--program", type=Path, metavar="ELF", help="default: compile ResNet-50")
    p.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "dnncc-networks")
    return p


def main() -> None:
    from dnncc.isa import program as programs
    from dnncc.runtime import loading, sanitizer, timing, verification

    options = parser().parse_args()
    path = options.program or compiled(options.cache)
    image = loading.read(path)
    target = loading.target_of(image)
    program = programs.Program.decode(image.text)
    about = verification.Verification(program, image, target)
    work: dict[str, Callable[[], Any]] = {
        "decoded": lambda: programs.Program.decode(image.text),
        "timed": lambda: timing.simulate(program, target),
        "proved": about.findings,
        "watched": lambda: watched(sanitizer.Sanitizer(about), program.count),
    }
    print(f"{program.count} instructions for {target.name}")
    for name, run in work.items():
        seconds = cpu_seconds(run)
        print(f"{name:9}{seconds:8.2f} s{seconds / program.count * 1e6:8.2f} us", flush=True)


def compiled(cache: Path) -> Path:
    """Once for all times that it is asked for while the encoding is what it is."""
    import dnncc
    from benchmarks import networks
    from dnncc.isa import core

    layouts = [cls.record.descr for cls in core.instruction_set().values()]
    path = cache / f"{NETWORK}_{TARGET}_{crc32(repr(layouts).encode()):08x}.elf"
    if not path.is_file():
        dnncc.compile(networks.light(NETWORK, cache)[1], TARGET).save(path)
    return path


def watched(watch: Any, count: int) -> None:
    watch.begin(SimpleNamespace())
    for index in range(count):
        watch.before(index)
        watch.after(index)


def cpu_seconds(run: Callable[[], Any]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


if __name__ == "__main__":
    main()
