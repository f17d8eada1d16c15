"""Running binaries: values and cycles from one decoded program.

session = load("model.elf")
outputs = session.run(None, {"x": array})
session.profile.report["cycles"]
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import (
        accesses,
        attribution,
        cli,
        clocks,
        debugger,
        dump,
        energy,
        errors,
        files,
        findings,
        handovers,
        hazards,
        host,
        inspection,
        lifetime,
        loading,
        machine,
        native,
        observe,
        order,
        placement,
        pricing,
        provenance,
        report,
        sanitizer,
        session,
        shadow,
        signature,
        table,
        threads,
        timing,
        trace,
        verification,
        verify,
        watch,
        worth,
        zeros,
    )
    from .errors import RunError
    from .session import InferenceSession, load

__all__ = [
    "InferenceSession",
    "RunError",
    "accesses",
    "attribution",
    "cli",
    "clocks",
    "debugger",
    "dump",
    "energy",
    "errors",
    "files",
    "findings",
    "handovers",
    "hazards",
    "host",
    "inspection",
    "lifetime",
    "load",
    "loading",
    "machine",
    "native",
    "observe",
    "order",
    "placement",
    "pricing",
    "provenance",
    "report",
    "sanitizer",
    "session",
    "shadow",
    "signature",
    "table",
    "threads",
    "timing",
    "trace",
    "verification",
    "verify",
    "watch",
    "worth",
    "zeros",
]

HOME = {"InferenceSession": "session", "RunError": "errors", "load": "session"}


def __getattr__(name: str) -> Any:
    """Import on first use: `dnncc-run --help` needs none of it."""
    from importlib import import_module

    if name not in HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{HOME[name]}", __name__), name)
