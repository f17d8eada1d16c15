"""Host parts: nodes that are not on the accelerator, run on tensors in DRAM.

By onnx.reference, or by machine code that TVM makes of them here (native/). Their time is wall
clock of this computer; the accelerator's cycles do not include it.
"""

from collections.abc import Iterator, Mapping
from time import perf_counter
from typing import Any

import numpy as np

from dnncc.isa import image as images

from .errors import RunError
from .machine import Array, Machine

HOSTS = ("auto", "tvm", "reference")
"""What may run host parts: native/choice.py says when which does."""


class HostError(RunError):
    """A host part that cannot run; the text is one line."""


class HostRunner:
    """A host part, ready to run. Raises HostError when its model is not valid.

    `choice` is what runs it, and why; `seconds` what that took for `inputs_seen` inputs.
    """

    def __init__(
        self,
        number: int,
        part: images.HostPart,
        symbols: Mapping[str, images.Symbol],
        host: str = "auto",
    ) -> None:
        self.name = f"host part {number}"
        self.inputs = {n: symbols[n] for n in part.inputs}
        self.outputs = {n: symbols[n] for n in part.outputs}
        reference = evaluator(self.name, part.model)
        from .native.choice import choose  # it needs onnx, as the above does

        self.choice = choose(part.model, host)
        self.evaluate = self.choice.evaluate or reference
        self.seconds, self.inputs_seen = 0.0, 0

    def run(self, machine: Machine) -> None:
        """Run the part for each input of the batch and put its outputs where their symbols are."""
        sources = {n: machine.symbol(s) for n, s in self.inputs.items()}
        targets = {n: machine.symbol(s) for n, s in self.outputs.items()}
        start = perf_counter()
        for b in range(machine.batch):
            feeds = {n: np.array(v[b], order="C") for n, v in sources.items()}
            for (name, target), value in zip(targets.items(), self.results(feeds), strict=True):
                self.write(target[b, ...], np.asarray(value), name)
        self.seconds += perf_counter() - start
        self.inputs_seen += machine.batch

    def told(self) -> dict[str, Any]:
        """What ran it, why, and how long, for the report."""
        return {
            "runner": self.choice.runner,
            "why": self.choice.why,
            "inputs": self.inputs_seen,
            "seconds": self.seconds,
        }

    def results(self, feeds: dict[str, Array]) -> list[Any]:
        try:
            return list(self.evaluate(list(self.outputs), feeds))
        except Exception as error:  # whatever a reference operator raises is about the model
            raise HostError(f"{self.name}: {one_line(error)}") from None

    def write(self, target: Array, value: Array, name: str) -> None:
        if value.shape != target.shape or value.dtype != target.dtype:
            got, expected = (
                f"{value.dtype}{list(value.shape)}",
                f"{target.dtype}{list(target.shape)}",
            )
            raise HostError(f"{self.name}: output {name!r} is {got}, its symbol is {expected}")
        target[...] = value


def evaluator(name: str, model: bytes) -> Any:
    """The `run(outputs, feeds)` of onnx.reference for an encoded model."""
    import onnx  # slow to import: only programs with host parts pay for it
    from onnx.reference import ReferenceEvaluator

    try:
        proto = onnx.load_model_from_string(model)
        external = [t.name for t in tensors(proto.graph) if t.data_location == t.EXTERNAL]
        run = None if external else ReferenceEvaluator(proto).run
    except Exception as error:  # a malformed model fails in many ways
        raise HostError(f"{name}: not a valid model: {one_line(error)}") from None
    if external:
        raise HostError(f"{name}: {external[0]!r} is data outside of the binary; refused")
    return run


def part_problems(part: images.HostPart, symbols: Mapping[str, images.Symbol]) -> Iterator[str]:
    """What of its model does not fit the tensors that it takes and gives, in words."""
    import onnx

    try:
        graph = onnx.load_model_from_string(part.model).graph
    except Exception as error:
        yield f"not a valid model: {one_line(error)}"
        return
    for names, values, kind in (
        (part.inputs, graph.input, "input"),
        (part.outputs, graph.output, "output"),
    ):
        held = {v.name: v.type.tensor_type for v in values}
        for name in names:
            if name not in held:
                yield f"its model has no {kind} {name!r}"
            elif (got := typed(held[name])) != (want := described(symbols[name])) and got:
                yield f"{kind} {name!r} of its model is {got}, its symbol is {want}"


def typed(tensor: Any) -> str:
    """Type and shape of a value of a model; "" if it does not say all of it."""
    import onnx

    dims = tensor.shape.dim
    if not tensor.elem_type or not all(d.HasField("dim_value") for d in dims):
        return ""
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    return f"{dtype}{[d.dim_value for d in dims]}"


def described(symbol: images.Symbol) -> str:
    return f"{symbol.type}{list(symbol.shape)}"


def tensors(graph: Any) -> Iterator[Any]:
    """All tensors that a graph and its subgraphs hold."""
    yield from graph.initializer
    for attribute in (a for node in graph.node for a in node.attribute):
        yield attribute.t
        yield from attribute.tensors
        for inner in (attribute.g, *attribute.graphs):
            yield from tensors(inner) if inner.ByteSize() else ()


def one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
