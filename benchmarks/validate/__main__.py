"""Print the tables of the chips that are named, of all but vgg16 if none is."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from . import arrays, eyeriss_isca16, eyeriss_jssc17, gemmini, nvdla, tpu, vgg16
from .figures import Chapter

CHAPTERS: dict[str, Callable[[], Chapter]] = {
    "eyeriss_jssc17": eyeriss_jssc17.chapter,
    "eyeriss_isca16": eyeriss_isca16.chapter,
    "tpu": tpu.chapter,
    "nvdla": nvdla.chapter,
    "gemmini": gemmini.chapter,
    "diannao": arrays.diannao,
    "shidiannao": arrays.shidiannao,
    "systolic": arrays.systolic,
}
VGG16 = "vgg16"
PREFACE = """# Our models beside published measurements

As printed by `python -m benchmarks.validate`, which has the published figures as data, and their
sources. "within" is the error that we allow ourselves; what misses it is a MISS, and stays one
until the model is better; the reason below a table is the most likely one, not a proven one.
No constant of the models is fitted to these figures. Where a published figure can be read in
several ways, the table says which one was taken, and what another gives; what was settled after
its result was seen has the earlier reading beside it, with its misses.
"""


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("benchmarks.validate", description=__doc__)
    p.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(CHAPTERS)}, or {VGG16}")
    p.add_argument("--mapping", type=Path, metavar="FILE.toml", help="mappings of vgg16's layers")
    p.add_argument("--write", type=Path, metavar="FILE.md", help="where all tables go, too")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status. A miss is no failure: it is there to be read."""
    options = parser().parse_args(arguments)
    unknown = set(options.names) - {*CHAPTERS, VGG16}
    if unknown or (options.mapping and options.names != [VGG16]):
        parser().error(f"unknown: {', '.join(unknown)}" if unknown else "--mapping is of vgg16")
    try:
        return run(options)
    except vgg16.MappingError as error:
        said = str(error)
    except OSError as error:
        said = f"{error.filename}: {error.strerror}"
    print(f"error: {said}", file=sys.stderr)
    return 1


def run(options: argparse.Namespace) -> int:
    texts, misses = [PREFACE], []
    for name in options.names or CHAPTERS:
        if name == VGG16:
            text = vgg16.text(options.mapping)
        else:
            chapter = CHAPTERS[name]()
            misses += [f"{chapter.title}: {miss}" for miss in chapter.misses]
            text = chapter.text()
        print(text, flush=True)
        texts.append(text)
    if options.names != [VGG16]:
        texts.append(summary(misses))
        print(texts[-1])
    if options.write:
        options.write.write_text("\n".join(texts))
    return 0


def summary(misses: list[str]) -> str:
    lines = [f"* {miss}" for miss in misses] or ["none"]
    return "\n".join(["## Misses", "", *lines]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
