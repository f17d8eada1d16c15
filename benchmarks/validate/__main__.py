"""Print the tables of the chips that are named, of all if none is."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from . import eyeriss_jssc17
from .figures import Chapter

CHAPTERS: dict[str, Callable[[], Chapter]] = {
    "eyeriss_jssc17": eyeriss_jssc17.chapter,
}


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("benchmarks.validate", description=__doc__)
    p.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(CHAPTERS)}")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    for name in options.names or CHAPTERS:
        print(CHAPTERS[name]().text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
