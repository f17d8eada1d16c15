"""What TVM has to know: a pipeline and a packed function, both named for us.

TVM calls `register` when it is imported, through the entry point `tvm.backends`, so that exported
libraries find `dnncc.invoke` in a process that never heard of dnncc. It must be quick: everything
else is imported when it is called.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax

PIPELINE, INVOKE = "dnncc", "dnncc.invoke"


def register() -> None:
    """Make the pipeline and the function known; once or again."""
    relax.pipeline.PIPELINE_MAP[PIPELINE] = pipeline
    tvm.register_global_func(INVOKE, invoked, override=True)


def pipeline(target: str = "eyeriss-like") -> Any:
    """TVM's default pipeline after `partition`: a pass from Relax to what the VM runs."""

    def lower(module: Any, context: Any) -> Any:
        from .parts import partition

        return relax.get_pipeline("default")(partition(module, target))

    return tvm.transform.module_pass(lower, opt_level=0, name="dnncc")


def invoked(binary: Any, *tensors: Any) -> None:
    """`dnncc.invoke`: run a binary on the simulator; inputs, then outputs to be written."""
    from .invoke import invoke

    invoke(binary, *tensors)
