"""dnncc: compile ONNX graphs to accelerator instructions, and run them on a cycle-level simulator.

artifact = dnncc.compile("model.onnx", target="eyeriss-like")
artifact.save("model.elf")
session = dnncc.load("model.elf")
outputs = session.run(None, {"input": array})
print(session.profile.cycles)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # imported when they are needed, so that `import dnncc` is quick
    from onnx import ModelProto

    from dnncc.runtime import InferenceSession

    from .driver import Artifact

__all__ = ["__version__", "compile", "load"]
__version__ = "0.1.0"


def compile(
    model: str | PathLike[str] | ModelProto,
    target: str = "eyeriss-like",
    *,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    strict: bool = False,
    verify: bool = True,
    level: int = 2,
    opt_for: str = "latency",
    disable: Sequence[str] = (),
    calibrate: str | PathLike[str] | Mapping[str, Any] | None = None,
    precision: str = "auto",
    mapping: str | PathLike[str] | Mapping[str, Mapping[str, Any]] | None = None,
    cache: bool = True,
) -> Artifact:
    """Compile an ONNX model for a target, given by name or by the path of its TOML file.

    `shapes` fixes dynamic inputs, by name; `strict` refuses models of which a part would run on the
    host; `verify` checks the program after every pass; `level` is that of -O, `opt_for` is latency,
    energy or edp, their product, and `disable` names passes to leave out. A float model is
    quantised to `precision`: int8, int16, float (it stays on the host) or auto (int16 on 16-bit
    targets, else int8); `calibrate` is a file, a folder or the arrays of its sample inputs.
    `mapping` is a mapping file, or tables by ONNX node with any of steps, order, whole, slots and
    array; the rest is searched, or known from an earlier run if `cache`: it is kept in the user's
    cache folder, unless DNNCC_CACHE is "off". Raises CompileError, TargetError or, for files,
    OSError.
    """
    from .driver import compile_model
    from .mapping.files import from_source
    from .options import Options

    options = Options(
        target=target,
        shapes=dict(shapes or {}),
        strict=strict,
        verify=verify,
        level=level,
        goal=opt_for,
        disabled=tuple(disable),
        calibrate=calibrate,
        precision=precision,
        mapping=from_source(mapping),
        cache=cache,
    )
    return compile_model(model, options)


def load(path: str | PathLike[str], host: str = "auto") -> InferenceSession:
    """A binary, ready to run on the simulator, with the interface of onnxruntime's session.

    `host` is what runs host parts: "reference" (onnx.reference), "tvm" (machine code made here,
    wherever that is safe and right) or "auto" (that for heavy parts that do not round).
    """
    from dnncc.runtime import load as load_session

    return load_session(path, host=host)
