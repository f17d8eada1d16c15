"""Where the time and the memory of a compilation go: a tree of spans."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from msgspec import Struct, field

from ..passes.pipeline import Pass, Program
from .observer import Observer


class Span(Struct):
    """`seconds` of wall time, those of `children` included; `peak` is the most memory that the
    process has ever held by its end, and `grown` how much of that is of this span, in bytes."""

    name: str
    seconds: float = 0.0
    peak: int = 0
    grown: int = 0
    children: list["Span"] = field(default_factory=list)

    @property
    def own(self) -> float:
        """Seconds in no child."""
        return self.seconds - sum(c.seconds for c in self.children)

    def record(self) -> dict[str, Any]:
        inner = {"children": [c.record() for c in self.children]} if self.children else {}
        return {
            "name": self.name,
            "seconds": round(self.seconds, 6),
            "self_seconds": round(self.own, 6),
            "peak_bytes": self.peak,
            "grown_bytes": self.grown,
            **inner,
        }


def peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


class Stopwatch(Observer):
    """A span per pass, under one per level; `span` times anything else."""

    def __init__(self) -> None:
        self.root = Span("total")
        self.open = [self.root]
        self.started = [(time.perf_counter(), peak_memory())]

    def before(self, step: Pass, program: Program | None) -> None:
        if not self.is_inside(step.level):
            self.close_level()
            self.begin(step.level)
        self.begin(step.name)

    def after(self, step: Pass, program: Program) -> None:
        self.end()

    def is_inside(self, level: str) -> bool:
        return len(self.open) > 1 and self.open[1].name == level

    def close_level(self) -> None:
        while len(self.open) > 1:
            self.end()

    def begin(self, name: str) -> None:
        span = Span(name)
        self.open[-1].children.append(span)
        self.open.append(span)
        self.started.append((time.perf_counter(), peak_memory()))

    def end(self) -> None:
        start, memory = self.started.pop()
        span = self.open.pop()
        span.seconds = time.perf_counter() - start
        span.peak = peak_memory()
        span.grown = span.peak - memory

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        self.begin(name)
        try:
            yield
        finally:
            self.end()

    def finish(self) -> Span:
        """The whole tree; the watch has stopped."""
        while self.open:
            self.end()
        return self.root


class Timed(Observer):
    """Another observer, its time in a span of its own."""

    def __init__(self, name: str, inner: Observer, watch: Stopwatch) -> None:
        self.name, self.inner, self.watch = name, inner, watch

    def should_run(self, step: Pass) -> bool:
        return self.inner.should_run(step)

    def before(self, step: Pass, program: Program | None) -> None:
        self.inner.before(step, program)

    def after(self, step: Pass, program: Program) -> None:
        with self.watch.span(f"{self.name} {step.name}"):
            self.inner.after(step, program)

    def summary(self) -> str:
        return self.inner.summary()


def tree(root: Span) -> str:
    """A table: seconds, share and self time of each span, and the memory peak."""
    rows = [f"{'seconds':>9} {'self':>9} {'share':>6} {'peak MB':>8}  span"]
    whole = root.seconds or 1.0
    for depth, span in walk(root, 0):
        share = span.seconds / whole
        row = f"{span.seconds:9.4f} {span.own:9.4f} {share:6.1%} {span.peak / 1e6:8.1f}"
        rows.append(f"{row}  {'  ' * depth}{span.name}")
    return "\n".join(rows)


def walk(span: Span, depth: int) -> Iterator[tuple[int, Span]]:
    yield depth, span
    for child in span.children:
        yield from walk(child, depth + 1)
