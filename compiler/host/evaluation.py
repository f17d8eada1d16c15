"""Which operators onnx.reference computes."""

from __future__ import annotations

from functools import cache

from onnx import helper


@cache
def is_missing(operator: str, domain: str, version: int) -> bool:
    """Whether it has no implementation of its own, nor one by other operators."""
    from onnx.reference import ReferenceEvaluator  # loads the schemas of all of ONNX

    node = helper.make_node(operator, [], ["y"], domain=domain)
    try:
        ReferenceEvaluator(node, opsets={domain: version})
    except NotImplementedError:
        return True
    except Exception:  # it would take the whole model to say
        return False
    return False
