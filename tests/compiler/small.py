"""Small quantised ONNX models, in QDQ form, for tests of single passes."""

from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, helper

from dnncc.frontend.importer import import_model
from dnncc.ir.graph import Graph
from dnncc.passes.assign_layout import assign_layout
from dnncc.passes.canonicalize import canonicalize
from dnncc.passes.context import Context
from dnncc.passes.fold_constants import fold_constants
from dnncc.passes.form_regions import form_regions
from dnncc.passes.fuse import fuse
from dnncc.passes.legalize import legalize
from dnncc.passes.lower_floats import lower_floats
from dnncc.passes.partition import partition
from dnncc.passes.quantize_outside import quantize_outside
from dnncc.passes.recenter import recenter
from tests.models import make_model

PASSES = (
    *(fold_constants, recenter, canonicalize, legalize, lower_floats, quantize_outside),
    *(form_regions, fuse, partition, assign_layout),
)


class Sketch:
    """Nodes in order; every integer value has scale 1/16 and zero point 0 unless told."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.rng = np.random.default_rng(0)
        self.constants: dict[str, Any] = {
            "scale": np.float32(1 / 16),
            "zero": np.int8(0),
            "double": np.float32(1 / 8),
        }

    def add(self, op: str, inputs: list[str], output: str, **attrs: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=f"N_{output}", **attrs))
        return output

    def real(self, name: str) -> str:
        output = f"{name}_real"
        if all(output not in node.output for node in self.nodes):
            self.add("DequantizeLinear", [name, "scale", "zero"], output)
        return output

    def integer(self, name: str, output: str, scale: str = "scale") -> str:
        return self.add("QuantizeLinear", [name, scale, "zero"], output)

    def constant(self, name: str, value: Any) -> str:
        self.constants[name] = np.asarray(value)
        return name

    def conv(self, x: str, output: str, channels: tuple[int, int] = (4, 4), **attrs: Any) -> str:
        shape = (*channels, 1, 1)
        weight = self.constant(f"{output}_w", self.rng.integers(-9, 9, shape).astype(np.int8))
        y = self.add("Conv", [self.real(x), self.real(weight)], f"{output}_y", **attrs)
        return self.integer(y, output)

    def model(self, inputs: dict[str, Any], outputs: list[str]) -> ModelProto:
        declared = {name: (np.int8, None) for name in outputs}
        model = make_model(self.nodes, inputs, declared, self.constants)
        return model


def compiled(model: ModelProto, until: str = "assign_layout") -> Graph:
    """The Graph after pass `until`."""
    graph = import_model(model)
    for run_pass in PASSES:
        graph = run_pass(graph, Context())
        if run_pass.__name__ == until:
            break
    return graph


IMAGE = (np.int8, (1, 4, 5, 6))
