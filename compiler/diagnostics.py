"""Errors a user can act on: one line that names the file, the node, the fault and the remedy."""

from typing import Any


class CompileError(Exception):
    """Printed as `FILE: node 'Conv_12': what, and what to do`; absent parts are left out."""

    def __init__(
        self, message: str, *, file: str | None = None, node: str | None = None, hint: str = ""
    ) -> None:
        super().__init__(message)
        self.file = file
        self.node = node
        self.message = " ".join(message.split())
        self.hint = hint

    def __str__(self) -> str:
        where = [self.file] if self.file else []
        where += [f"node '{self.node}'"] if self.node else []
        what = f"{self.message}; {self.hint}" if self.hint else self.message
        text = ": ".join([*where, what])  # names may hold anything; one line has no control codes
        return "".join(c if c.isprintable() else "?" for c in text)


class UnknownShape(CompileError):
    """The shape of a value depends on what the inputs hold."""


class Remarks(list[str]):
    """One-line notes on what was assumed of a model, printed unless --quiet.

    `warnings` are printed always; `quantisation` says how a float model became a quantised one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.warnings: list[str] = []
        self.quantisation: dict[str, Any] = {}
