"""After it, limits are `relax.clip` again.

TVM 0.27 imports ONNX's Clip as TIR functions of maximum and minimum, which say nothing to a back
end, with `where(isnan(limit), infinity, limit)` for each limit. The functions are recognised by
what they compute: by being what TVM makes of a maximum of those shapes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import tvm_ffi
from tvm import ir, relax, topi
from tvm.relax.dpl import is_op, rewrite_call, wildcard

LIMITS = {"maximum": topi.maximum, "minimum": topi.minimum}


def with_clips(module: Any) -> Any:
    """The module with calls of clip where it has such pairs of functions."""
    found = Limits(module)
    for name, function in module.functions_items():
        if isinstance(function, relax.Function):
            raised = clipped(found.visit_expr(function))
            found.builder_.update_func(name, relax.analysis.remove_all_unused(raised))
    return relax.transform.DeadCodeElimination()(found.builder_.get())


@relax.expr_functor.mutator
class Limits(relax.PyExprMutator):  # type: ignore[misc]
    """Calls of TIR that are a maximum or minimum with a constant become calls of Relax's."""

    def __init__(self, module: Any) -> None:
        super().__init__(module)
        self.module = module
        self.constants: dict[Any, Any] = {}

    def visit_call_(self, call: Any) -> Any:
        known = self.limit(call)
        call = self.visit_expr_post_order(call)
        if not known:
            return call
        tensor, bound = call.args[1].fields
        return getattr(relax.op, known)(tensor, self.constant(bound))

    def limit(self, call: Any) -> str:
        """ "maximum" or "minimum" if the call is one of a tensor with a scalar; else ""."""
        if not is_call(call, "relax.call_tir") or not isinstance(call.args[0], relax.GlobalVar):
            return ""
        given = call.args[1].fields
        if len(given) != 2 or len(given[1].ty.shape) or self.constant(given[1]) is None:
            return ""
        body = self.module[call.args[0]]
        return next((name for name in LIMITS if same(body, made(name, given))), "")

    def constant(self, expression: Any) -> Any:
        """The constant behind a variable, through TVM's guard against NaN; None if it varies."""
        value = self.bound(expression)
        if is_call(value, "relax.where") and is_call(self.bound(value.args[0]), "relax.isnan"):
            value = self.constant(value.args[2])
        finite = isinstance(value, ir.GenericConst) and not np.isnan(value.value.numpy()).any()
        return value if finite else None

    def bound(self, expression: Any) -> Any:
        found = self.lookup_binding(expression) if isinstance(expression, relax.Var) else None
        return found if found is not None else expression


def is_call(expression: Any, name: str) -> bool:
    return isinstance(expression, relax.Call) and getattr(expression.op, "name", "") == name


def same(one: Any, other: Any) -> bool:
    return bool(tvm_ffi.structural_equal(nameless(one), nameless(other), map_free_vars=True))


def nameless(function: Any) -> Any:
    return function.without_attr("global_symbol")


def made(name: str, given: Any) -> Any:
    """What TVM makes of that operator for tensors of these types."""
    builder = relax.BlockBuilder()
    tensors = [relax.Var(f"t{i}", expression.ty) for i, expression in enumerate(given)]
    with builder.function("f", tensors):
        builder.emit_func_output(builder.emit_te(LIMITS[name], *tensors))
    functions = builder.get().functions.values()
    return next(f for f in functions if not isinstance(f, relax.Function))


def clipped(function: Any) -> Any:
    """minimum(maximum(x, low), high) as clip(x, low, high)."""
    x, low, high = wildcard(), wildcard(), wildcard()
    pattern = is_op("relax.minimum")(is_op("relax.maximum")(x, low), high)

    def clip(matched: Any, found: Any) -> Any:
        limits = list(numbers(found[low], found[high]))
        return relax.op.clip(found[x], *limits) if len(limits) == 2 else matched

    return rewrite_call(pattern, clip, function)


def numbers(*expressions: Any) -> Iterator[float]:
    """The values of those that are constant scalars."""
    for expression in expressions:
        if isinstance(expression, ir.GenericConst) and expression.value.numpy().size == 1:
            yield float(expression.value.numpy().reshape(()))
