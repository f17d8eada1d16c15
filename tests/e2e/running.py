"""Compiled models, and the values of inner tensors while a binary runs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto

import dnncc
from dnncc.driver import Artifact
from dnncc.isa import elf
from dnncc.isa.image import Symbol
from dnncc.runtime import InferenceSession, load
from dnncc.runtime.signature import batched, given, taken
from tests.models import find_model

ODD = str(Path(__file__).parents[1] / "targets" / "odd-13x7.toml")
TARGETS = ("eyeriss-like", "tpu-like")


@dataclass(frozen=True)
class Compiled:
    artifact: Artifact
    session: InferenceSession

    def run(self, feeds: Mapping[str, Any], schedule: str = "serial") -> dict[str, Any]:
        """The outputs by name; the sanitizer watches."""
        names = [t.name for t in self.session.get_outputs()]
        values = self.session.run(names, feeds, schedule, sanitize=True)
        return dict(zip(names, values, strict=True))

    def inner(
        self, feeds: Mapping[str, Any], forced: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Each tensor that lies in a memory, as it is when the node that makes it has ended.

        Later its memory may hold another one, so the program is executed node by node. What reads a
        tensor of `forced` reads the value given there.
        """
        session, image = self.session, self.session.image
        assert image.debug is not None
        made = [n.outputs for n in self.artifact.graph.nodes if n.op in ("group", "host")]
        last = {int(n): i for i, n in enumerate(image.debug.node_of) if n >= 0}
        machine = session.ready(batched(session.get_inputs(), feeds)[1])
        values = {}
        for index in range(session.program.count):
            session.step(index, machine)
            for number in (n for n, end in last.items() if end == index):
                for name in (name for name in made[number] if name in session.symbols):
                    symbol = session.symbols[name]
                    values[name] = taken(symbol, machine.symbol(symbol))[0]
                    if forced and name in forced:
                        put(machine, symbol, given(symbol, forced[name]))
        return values


def put(machine: Any, symbol: Symbol, value: Any) -> None:
    """Write a tensor where it lies, be that two places."""
    head = symbol.head
    for part in symbol.parts():
        own = value
        if head is not None:
            first, rest = np.split(value, [head.count], axis=head.axis)
            own = first if part.memory == head.memory else rest
        machine.symbol(part)[0][...] = own


def through_binary(
    model: str | Path | ModelProto, target: str, disable: Sequence[str] = ()
) -> Compiled:
    """What the bytes of the binary hold, not what the compiler has in memory."""
    artifact = dnncc.compile(model, target, disable=disable)
    return Compiled(artifact, load(elf.write(artifact.image)))


@lru_cache(maxsize=32)
def compiled(name: str, target: str) -> Compiled:
    """A model of the models folder; skips the test if it is not there."""
    return through_binary(find_model(name), target)


@lru_cache(maxsize=2)
def proto(name: str) -> ModelProto:
    return onnx.load(find_model(name))


def saved(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The inputs beside a model, and the outputs that onnxruntime's default session gave.

    They were made where uint8 by int8 products are exact, or are the plain session's where the
    optimised one gave the same.
    """
    arrays = np.load(find_model(name).parent / "io_ort.npz")
    outputs = dict(named(arrays, "ort_noopt:")) | dict(named(arrays, "ort_opt:"))
    return dict(named(arrays, "in:")), outputs


def named(arrays: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for key in arrays.files:
        if key.startswith(prefix):
            yield key.removeprefix(prefix), arrays[key]


def assert_same(got: Mapping[str, Any], expected: Mapping[str, Any], where: str) -> None:
    """Type, shape and every element of every output."""
    assert list(got) == list(expected), where
    for name, value in expected.items():
        assert got[name].dtype == value.dtype, f"{where}: {name}"
        np.testing.assert_array_equal(got[name], value, f"{where}: {name}")
