"""Quantised parts of a Relax module become calls of `dnncc.invoke` with a binary baked in."""

from __future__ import annotations

import warnings
from functools import reduce
from operator import or_
from typing import Any

import numpy as np
from tvm import relax
from tvm.relax.dpl import is_op, wildcard

from dnncc.isa import elf

from ..diagnostics import CompileError
from ..driver import compile_model
from ..options import Options
from .clips import with_clips
from .export import export
from .operators import Unsupported
from .regions import ours
from .registration import INVOKE


def partition(module: Any, target: str = "eyeriss-like") -> Any:
    """The module with its quantised parts compiled for a target, given as `dnncc.compile` takes it.

    A part that dnncc refuses is left to TVM, with a warning. Raises TargetError.
    """
    module = with_clips(relax.transform.ConvertToDataflow()(module))
    calls = {call for f in module.functions.values() if is_relax(f) for call in ours(f)}
    if not calls:
        return module
    module = relax.transform.FuseOpsByPattern([pattern(calls)])(module)
    module = relax.transform.MergeCompositeFunctions()(module)
    binaries = compiled(module, target)
    lowered = Calls(module, binaries)
    for name, function in module.functions_items():
        if is_relax(function) and name not in binaries:
            lowered.builder_.update_func(name, lowered.visit_expr(plain(function)))
    left = lowered.builder_.get()
    for name in binaries:
        del left[name]
    return relax.transform.LambdaLift()(left)


def is_relax(function: Any) -> bool:
    return isinstance(function, relax.Function)


def pattern(calls: set[Any]) -> Any:
    """What matches the calls that are ours, one by one; neighbours are merged afterwards.

    So quantisers, sums and what they are shared by need no patterns of their own. It is one
    pattern, as FuseOpsByPattern rewrites the calls between one pattern and the next.
    """

    def mine(context: Any) -> bool:
        return context.matched_expr in calls

    forms = sorted({(call.op.name, len(call.args)) for call in calls})
    called = [is_op(name)(*(wildcard() for _ in range(count))) for name, count in forms]
    return relax.transform.FusionPattern("dnncc.call", reduce(or_, called), check=mine)


def compiled(module: Any, target: str) -> dict[Any, bytes]:
    """The binary of each part, by the part's name in the module."""
    found: dict[Any, bytes] = {}
    for name, function in module.functions_items():
        if is_relax(function) and function.attrs and function.attrs.get("Codegen") == "dnncc":
            try:
                model = export(function, f"part {len(found)}")
                made = compile_model(model, Options(target=target, precision="float"))
                found[name] = elf.write(made.image)
            except (CompileError, Unsupported) as error:
                warnings.warn(f"dnncc leaves a part to TVM: {error}", stacklevel=2)
    return found


def plain(function: Any) -> Any:
    """Without what would send it to a code generator."""
    return function.without_attr("Codegen") if function.attrs else function


@relax.expr_functor.mutator
class Calls(relax.PyExprMutator):  # type: ignore[misc]
    """Calls of parts become calls of `dnncc.invoke`."""

    def __init__(self, module: Any, binaries: dict[Any, bytes]) -> None:
        super().__init__(module)
        self.binaries = binaries

    def visit_call_(self, call: Any) -> Any:
        call = self.visit_expr_post_order(call)
        if not isinstance(call.op, relax.GlobalVar) or call.op not in self.binaries:
            return call
        binary = relax.const(np.frombuffer(self.binaries[call.op], np.uint8))
        return relax.call_dps_packed(INVOKE, [binary, *call.args], fields(call.ty))


def fields(kind: Any) -> Any:
    return list(kind.fields) if isinstance(kind, relax.TupleType) else kind


def binaries(module: Any) -> list[bytes]:
    """The binaries in a partitioned module, in the order of their calls."""
    found: list[bytes] = []

    def visit(expression: Any) -> None:
        if isinstance(expression, relax.Call) and is_invoke(expression):
            found.append(expression.args[1].fields[0].value.numpy().tobytes())

    for function in module.functions.values():
        if is_relax(function):
            relax.analysis.post_order_visit(function, visit)
    return found


def is_invoke(call: Any) -> bool:
    callee = call.args[0] if call.args else None
    return isinstance(callee, relax.ExternFunc) and callee.global_symbol == INVOKE
