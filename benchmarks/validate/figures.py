"""Figures of ours beside published ones, as Markdown tables."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Cells = Sequence[str]


@dataclass(frozen=True, slots=True)
class Figure:
    """`within` is the relative error that is allowed, 0 for equality in all published `digits`
    after the point, None where there is none to keep. `reason` is why it misses, if it does."""

    what: str
    ours: float
    published: float | None = None
    within: float | None = None
    digits: int = 1
    reason: str = ""

    @property
    def error(self) -> float:
        """Relative to the published figure."""
        return self.ours / self.published - 1 if self.published else 0.0

    @property
    def misses(self) -> bool:
        if self.published is None or self.within is None:
            return False
        if self.within == 0:
            return round(self.ours, self.digits) != self.published
        return abs(self.error) > self.within

    def cells(self) -> Cells:
        known = self.published is not None
        return (
            self.what,
            f"{self.published:,.{self.digits}f}" if known else "",
            f"{self.ours:,.{self.digits}f}",
            f"{self.error:+.1%}" if known else "",
            allowed(self.within) if known else "",
            "MISS" if self.misses else "",
        )


@dataclass(frozen=True, slots=True)
class Table:
    """Figures of one kind, `unit` and all; `notes` say how ours come about."""

    title: str
    figures: tuple[Figure, ...]
    notes: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        yield f"### {self.title}"
        yield ""
        yield from aligned([HEAD, *(f.cells() for f in self.figures)])
        said = [f"{f.what}: {f.reason}" for f in self.figures if f.misses and f.reason]
        for text in (*self.notes, *said):
            yield from ("", text)


@dataclass(frozen=True, slots=True)
class Chapter:
    """All tables of a chip, and where its figures are from."""

    title: str
    source: str
    tables: tuple[Table, ...]

    def text(self) -> str:
        lines = [f"## {self.title}", "", self.source]
        for table in self.tables:
            lines += ["", *table.lines()]
        return "\n".join(lines) + "\n"

    @property
    def misses(self) -> list[str]:
        return [f"{t.title}: {f.what}" for t in self.tables for f in t.figures if f.misses]


HEAD = ("", "published", "ours", "error", "within", "")


def allowed(within: float | None) -> str:
    if within is None:
        return ""
    return f"{100 * within:g} %" if within else "exact"


def aligned(rows: Sequence[Cells]) -> Iterator[str]:
    """A Markdown table whose columns also line up in a terminal; the first row is the head."""
    widths = [max(3, *(len(cell) for cell in column)) for column in zip(*rows, strict=True)]
    yield row_of(rows[0], widths)
    rule = (f"{'-' * (w - 1)}{':' if i else '-'}" for i, w in enumerate(widths))
    yield f"| {' | '.join(rule)} |"
    yield from (row_of(row, widths) for row in rows[1:])


def row_of(row: Cells, widths: Sequence[int]) -> str:
    first, *rest = zip(row, widths, strict=True)
    cells = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]
    return f"| {' | '.join(cells)} |"


def compared(
    names: Sequence[str],
    ours: Sequence[float],
    published: Sequence[float],
    within: float | None,
    digits: int = 1,
) -> tuple[Figure, ...]:
    """A figure per name."""
    rows = zip(names, ours, published, strict=True)
    return tuple(Figure(name, a, b, within, digits) for name, a, b in rows)
