"""Running binaries: values and cycles from one decoded program.

session = load("model.elf")
outputs = session.run(None, {"x": array})
session.profile.report["cycles"]
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import (
        attribution,
        cli,
        energy,
        errors,
        events,
        files,
        host,
        loading,
        machine,
        order,
        pricing,
        report,
        session,
        signature,
        table,
        timing,
    )
    from .errors import RunError
    from .session import InferenceSession, load

__all__ = [
    "InferenceSession",
    "RunError",
    "attribution",
    "cli",
    "energy",
    "errors",
    "events",
    "files",
    "host",
    "load",
    "loading",
    "machine",
    "order",
    "pricing",
    "report",
    "session",
    "signature",
    "table",
    "timing",
]

HOME = {"InferenceSession": "session", "RunError": "errors", "load": "session"}


def __getattr__(name: str) -> Any:
    """Import on first use: `dnncc-run --help` needs none of it."""
    from importlib import import_module

    if name not in HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{HOME[name]}", __name__), name)
