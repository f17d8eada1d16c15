"""The manual of the passes, docs/passes.md, made from their docstrings.

python -m dnncc.passes.manual > docs/passes.md
"""

import sys
from collections.abc import Iterator
from inspect import cleandoc, getdoc

from ..levels import OMITTED
from .pipeline import PIPELINE, Pass, unchanged

INTRODUCTION = """# The passes

Made by `python -m dnncc.passes.manual` from the docstrings in compiler/passes/; do not edit.

A model is imported as a Graph; each pass is a function that takes a program and makes the next, and
says what is then true. The program is verified after each. `dnncc --list-passes` prints this list.

| to | ask for |
|---|---|
| see the program after or before a pass | `--print-after P`, `--print-before P` |
| see what passes change, as diffs | `--print-changed` |
| see one ONNX node only | `--filter NODE` with these |
| have all of it in numbered files | `--dump-dir D` |
| stop, and go on from a file | `--stop-after P -o FILE`, `--start-from P FILE` |
| run single passes on a file | `dnncc-opt FILE --passes P,Q` |
| know where the time goes | `--time-passes`, `--time-passes=json` |
| leave a pass out | `--disable-pass P`, `--opt-bisect-limit N`, `-O0` |
| run it after every pass, and compare | `--check-each-pass X.npz`, or `random` |
| find the pass and the node that break a model | `dnncc-bisect model.onnx` |
| cut a model down to what fails | `dnncc-reduce model.onnx` |
"""


def markdown() -> str:
    return "\n".join([INTRODUCTION, *table(), *(line for p in PIPELINE for line in section(p))])


def table() -> Iterator[str]:
    yield "| pass | makes a | can be left out |"
    yield "|---|---|---|"
    for step in PIPELINE:
        optional = "yes" if step.instead else "no"
        yield f"| [{step.name}](#{step.name}) | {step.level} program | {optional} |"


def section(step: Pass) -> Iterator[str]:
    yield from ("", f"## {step.name}", "")
    yield cleandoc(sys.modules[step.run.__module__].__doc__ or "")
    yield from ("", without(step))


def without(step: Pass) -> str:
    """What becomes of the program where the pass does not run."""
    if step.instead is None:
        return f"*It cannot be left out: {step.needed}.*"
    levels = " and ".join(f"-O{i}" for i, names in enumerate(OMITTED) if step.name in names)
    when = f" It does not run at {levels}." if levels else ""
    if step.instead is unchanged:
        return f"*It can be left out.{when}*"
    instead = (getdoc(step.instead) or "").partition(": ")[2]
    return f"*It can be left out: {instead.rstrip('.')}.{when}*"


if __name__ == "__main__":
    print(markdown())
