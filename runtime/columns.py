"""Tables of plain text, in columns."""

from collections.abc import Sequence
from unicodedata import combining, east_asian_width

GAP = 2
"""Blanks between two columns."""


def drawn(
    headings: Sequence[str], widest: Sequence[int], rows: Sequence[Sequence[str]], width: int
) -> str:
    """A table without lines; of the first columns no more than `widest`, the others right.

    Wider than `width` only where its numbers are, which are never cut.
    """
    words = len(widest)
    lines = [tuple(headings), *map(tuple, rows)]
    widths = [max(map(columns, column)) for column in zip(*lines, strict=True)]
    widths[:words] = [min(pair) for pair in zip(widths[:words], widest, strict=True)]
    over = sum(widths) + GAP * (len(widths) - 1) - width
    widths[0] = max(widths[0] - max(over, 0), 1)
    return "\n".join(line(row, widths, words) for row in lines)


def line(row: Sequence[str], widths: Sequence[int], words: int) -> str:
    """The first `words` columns to the left, numbers to the right."""
    names = [left(text, width) for text, width in zip(row[:words], widths[:words], strict=True)]
    numbers = zip(row[words:], widths[words:], strict=True)
    return (" " * GAP).join([*names, *(f"{text:>{width}}" for text, width in numbers)]).rstrip()


def left(text: str, width: int) -> str:
    """Filled up or cut off to `width` columns."""
    if columns(text) > width:
        while columns(text) > width - 1:
            text = text[:-1]
        text += "…"
    return text + " " * (width - columns(text))


def columns(text: str) -> int:
    """What a terminal needs for it: two for wide characters, none for combining ones."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(c) else 1 + (east_asian_width(c) in "WF") for c in text)
