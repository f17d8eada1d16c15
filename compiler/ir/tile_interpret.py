"""A Tile program, run on real inputs step by step: every slot of a buffer is an array of its own.

Steps act on tiles, not on bytes: no address, stride or wait plays a part, so it runs before
`allocate` too, and what it finds wrong is wrong in the program: a slot, a halo, an order. The
arithmetic is that of the instructions, whose operands here are the tiles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from dnncc.isa import core, vector
from dnncc.isa import tensor as array

from ..diagnostics import CompileError
from .graph import Array, Graph, Tensor
from .interpret import execute_onnx, held, with_real_outputs
from .ring import Ring
from .tile import (
    Compute,
    Extent,
    HostCall,
    Load,
    Loop,
    Nest,
    Operand,
    Range,
    Step,
    Store,
    TileProgram,
    slot_index,
)

POISON = 0xA5


def interpret_tile(program: TileProgram, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """The value of every tensor that has storage, by name. Raises CompileError."""
    storage = Storage(program.graph)
    for name in program.graph.inputs:
        storage[name][...] = held(program.graph, name, feeds)
    for nest in program.nests:
        Interpreter(storage, nest).run()
    return with_real_outputs(program.graph, storage.values())


class Storage:
    """The elements of each root, through the views of its tensors."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        roots = {t.view.root for t in graph.tensors.values() if t.view}
        self.roots = {r: poisoned(graph.tensors[r].size, held_as(graph.tensors[r])) for r in roots}

    def __getitem__(self, name: str) -> Array:
        tensor = self.graph.tensors[name]
        if name in self.graph.constants:
            return self.graph.constants[name]
        if tensor.view is None:
            raise CompileError(f"'{name}' has no storage")
        flat = self.roots[tensor.view.root].view(held_as(tensor))[tensor.view.offset :]
        strides = tuple(s * flat.itemsize for s in tensor.view.strides)
        return np.lib.stride_tricks.as_strided(flat, tensor.shape, strides)

    def values(self) -> dict[str, Array]:
        """Copies of all tensors; of constants, those that the model gives out."""
        stored = [k for k, t in self.graph.tensors.items() if t.view and k not in self.constants]
        outputs = [k for k in self.graph.outputs if k in self.constants]
        return {n: self[n].astype(self.graph.tensors[n].dtype) for n in (*stored, *outputs)}

    @property
    def constants(self) -> Mapping[str, Array]:
        return self.graph.constants


def held_as(tensor: Tensor) -> np.dtype[Any]:
    """What a tensor's elements are kept as: a scratchpad may hold them wider, and so do we."""
    on_chip = tensor.memory != "dram" or tensor.head is not None
    wide = on_chip and tensor.dtype.kind in "iu"
    return np.dtype(np.int32) if wide else tensor.dtype


def poisoned(size: int, dtype: np.dtype[Any]) -> Array:
    """What no one has written, and no one should read."""
    return np.full(size * dtype.itemsize, POISON, np.uint8).view(dtype)


class Tiles:
    """Operands of one step, in place of the machine's memories: memory i is the i-th tile."""

    def __init__(self, tiles: Iterable[Array]) -> None:
        self.tiles = [np.zeros(0), *tiles]

    def view(
        self, memory: int, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], code: int
    ) -> Array:
        tile = self.tiles[memory]
        tile = tile.reshape(tile.shape[-MOST:])
        if tile.size == np.prod(shape):
            return tile.reshape(1, *shape)
        return np.broadcast_to(tile, (1, *shape))


class Interpreter:
    """Runs one nest."""

    def __init__(self, storage: Storage, nest: Nest) -> None:
        self.storage, self.nest = storage, nest
        self.buffers = {b.name: b for b in nest.buffers}
        self.slots: dict[tuple[str, int], Array] = {}
        self.env: dict[str, Range] = {v: Range(0, n, 0, 1) for v, n in nest.dims.items()}

    def run(self) -> None:
        self.block(self.nest.body)

    def block(self, body: Iterable[Loop | Step]) -> None:
        for item in body:
            if isinstance(item, Loop):
                self.loop(item)
            else:
                self.step(item)

    def loop(self, loop: Loop) -> None:
        outside = self.env.get(loop.var)
        for index in range(loop.first, loop.first + loop.trips):
            low = index * loop.step
            high = min(low + loop.step, loop.extent)
            self.env[loop.var] = Range(low, high, index, loop.whole)
            self.block(loop.body)
        if outside is not None:
            self.env[loop.var] = outside

    def step(self, step: Step) -> None:
        if isinstance(step, Load) and self.buffers[step.out.buffer].ring:
            self.roll(step.out)
        elif isinstance(step, Load):
            self.put(step.out, self.part(step.out).astype(step.out.dtype))
        elif isinstance(step, Store):
            target = self.part(step.source)
            target[...] = self.tile(step.source).astype(target.dtype)
        elif isinstance(step, HostCall):
            self.host(step.part)
        else:
            COMPUTE[step.op](self, step)

    def host(self, part: int) -> None:
        graph = self.storage.graph
        node = [n for n in graph.nodes if n.op == "host"][part]
        inputs = [i for i in node.inputs if i and i not in graph.constants]
        values = {name: self.storage[name].copy() for name in inputs}
        execute_onnx(graph, node.body, values)
        for name in filter(None, node.outputs):
            self.storage[name][...] = values[name]

    def extents(self, operand: Operand) -> tuple[Extent, ...]:
        return tuple(d.range(self.env) for d in operand.box)

    def part(self, operand: Operand) -> Array:
        """The operand's box of its tensor, in place."""
        spans = tuple(slice(int(e.low), int(e.high)) for e in self.extents(operand))
        return self.storage[operand.tensor][spans]

    def slot(self, operand: Operand) -> tuple[str, int]:
        buffer = self.buffers[operand.buffer]
        return operand.buffer, int(slot_index(operand, buffer.slots, self.env))

    def put(self, operand: Operand, tile: Array) -> None:
        """Write the tile where the operand is kept."""
        if operand.held and self.buffers[operand.buffer].ring:
            ring = Ring.of(operand, self.buffers[operand.buffer], self.env)
            self.into_ring(operand, ring, ring.tile[ring.axis], tile)
        elif operand.held:
            self.held(operand)[self.inside(operand)] = tile
        elif operand.buffer:
            self.slots[self.slot(operand)] = tile
        else:
            self.part(operand)[...] = tile

    def tile(self, operand: Operand) -> Array:
        """What is kept there. Raises CompileError if that is no tile of the operand's shape."""
        if not operand.buffer:
            return self.part(operand).astype(operand.dtype)
        held = self.slots.get(self.slot(operand))
        spans = self.inside(operand)
        if held is not None and self.buffers[operand.buffer].ring:
            held = self.rolled(operand, held)
        elif held is not None and (operand.whole or operand.held):
            held = held[spans]
        wanted = tuple(s.stop - s.start for s in spans)
        if held is None or held.shape != wanted or held.dtype != operand.dtype:
            raise self.error(operand, "nothing" if held is None else f"{held.dtype}{held.shape}")
        return held

    def roll(self, operand: Operand) -> None:
        """Bring the rows of a ring that the tile before did not have."""
        ring = Ring.of(operand, self.buffers[operand.buffer], self.env)
        spans = tuple(slice(int(e.low), int(e.high)) for e in ring.with_rows(ring.fresh))
        rows = self.storage[operand.tensor][spans].astype(operand.dtype)
        self.into_ring(operand, ring, ring.fresh, rows)

    def into_ring(self, operand: Operand, ring: Ring, rows: Extent, tile: Array) -> None:
        found = self.room(operand, tuple(int(size) for size in ring.shape()))
        places = ring.place(np.arange(int(rows.low), int(rows.high)))
        np.moveaxis(found, ring.axis, 0)[places] = np.moveaxis(tile, ring.axis, 0)

    def rolled(self, operand: Operand, held: Array) -> Array:
        """The rows of a tile, in order, of the ring that they are kept in."""
        ring = Ring.of(operand, self.buffers[operand.buffer], self.env)
        rows = ring.tile[ring.axis]
        places = ring.place(np.arange(int(rows.low), int(rows.high)))
        return np.asarray(held.take(places, ring.axis))

    def inside(self, operand: Operand) -> tuple[slice, ...]:
        """The operand's box in what its buffer holds."""
        around = (d.range(self.env) for d in operand.buffered())
        pairs = zip(self.extents(operand), around, strict=True)
        return tuple(slice(int(e.low - a.low), int(e.high - a.low)) for e, a in pairs)

    def held(self, operand: Operand) -> Array:
        """What is in the slot that `operand` is a part of."""
        return self.room(operand, tuple(int(d.range(self.env).size) for d in operand.held))

    def room(self, operand: Operand, shape: tuple[int, ...]) -> Array:
        """What is in the operand's slot; new where something else was there."""
        found = self.slots.get(self.slot(operand))
        if found is None or found.shape != shape or found.dtype != operand.dtype:
            found = poisoned(math.prod(shape), operand.dtype).reshape(shape)
            self.slots[self.slot(operand)] = found
        return found

    def error(self, operand: Operand, held: str) -> CompileError:
        at = ", ".join(f"{v}={r.index}" for v, r in self.env.items() if r.trips > 1)
        what = f"a tile of '{operand.tensor or 'psum'}'"
        message = f"slot {self.slot(operand)} should hold {what} at {at or 'its start'}, not {held}"
        return CompileError(message, node=", ".join(self.nest.loc) or self.nest.op)


def arranged(tile: Array, axes: str, wanted: str) -> Array:
    """A tile whose axes have these names with those that are wanted, others of size 1 added."""
    kept = [i for i, a in enumerate(axes) if a in wanted]
    dropped = tuple(i for i, a in enumerate(axes) if a not in wanted)
    tile = tile.transpose(*dropped, *sorted(kept, key=lambda i: wanted.index(axes[i])))
    lead = tile.reshape(tile.shape[len(dropped) :])
    return lead.reshape([lead.shape[rank(axes, wanted, a)] if a in axes else 1 for a in wanted])


def rank(axes: str, wanted: str, name: str) -> int:
    """The place of `name` among those of `wanted` that there are."""
    return sum(a in axes for a in wanted[: wanted.index(name)])


def named(operand: tuple[Extent, ...], axes: str, name: str) -> Extent:
    """The extent of an axis; one index where there is none."""
    return operand[axes.index(name)] if name in axes else Extent(0, 1, 0, 0)


def address(number: int) -> int:
    return int(core.address(number, 0))


def tensor(run: Interpreter, step: Compute) -> None:
    env, attrs, operands = run.env, dict(step.attrs), step.operands
    attrs.pop("parameters", None)  # they set the time, never the values
    x_axes, w_axes, psum_axes = (attrs.pop(f"{a}_axes") for a in ("ifmap", "weight", "psum"))
    extents = run.extents(operands["ifmap"])
    sums = run.extents(operands["psum"])
    h, w = (named(extents, x_axes, a) for a in "hw")
    cut = {a: named(sums, psum_axes, a).before for a in "pq"}
    x = arranged(run.tile(operands["ifmap"]), x_axes, "nchw")
    weight = arranged(run.tile(operands["weight"]), w_axes, "kcrs")
    tiles = [x, weight]
    zeros = {}
    if "zeros" in operands:
        zeros = {"zeros": address(4)}
    accumulate = any(env[v].index > 0 for v in step.accumulate)
    plane = {v: int(named(sums, psum_axes, v).size) for v in "nkpq"}
    groups = x.shape[1] // weight.shape[1]
    sizes = {**plane, "g": groups, "k": plane["k"] // groups, "c": weight.shape[1]}
    psum = np.zeros(tuple(plane.values()), np.int32)
    if accumulate:
        psum[...] = arranged(run.tile(operands["psum"]), psum_axes, "nkpq")
    tiles += [psum, *([run.tile(operands["zeros"])] if zeros else [])]
    array.Tensor(
        ifmap=address(1), weight=address(2), psum=address(3), **zeros, **sizes, **attrs,
        h=int(h.size), w=int(w.size),
        pad_top=int(h.before - cut["p"] * attrs["stride_y"]),
        pad_left=int(w.before - cut["q"] * attrs["stride_x"]),
        accumulate=int(accumulate),
    ).execute(Tiles(tiles))  # fmt: skip
    run.put(operands["psum"], arranged(psum, "nkpq", psum_axes).copy())


def requantize(run: Interpreter, step: Compute) -> None:
    from_psums(run, step, vector.Requantize)


def residual(run: Interpreter, step: Compute) -> None:
    tile, axes = run.tile(step.operands["side"]), step.attrs["axes"]
    sizes = [int(e.size) for e in run.extents(step.operands["out"])]
    side = arranged(np.broadcast_to(tile, sizes), axes, "nkpq").copy()
    from_psums(run, step, vector.Residual, side)


def from_psums(run: Interpreter, step: Compute, cls: Any, *side: Array) -> None:
    """A requantising step."""
    attrs, fields = dict(step.attrs), dict[str, int]()
    more = list(side)
    if side:
        fields = {"side": address(4), "side_dtype": core.dtype_code(side[0].dtype)}
    if "table" in step.operands:
        more.append(run.tile(step.operands["table"]))
        fields["table"] = address(3 + len(more))
    axes, out = attrs.pop("axes"), step.operands["out"]
    n, groups, k, p, q = (int(named(run.extents(out), axes, a).size) for a in GROUPED)
    shape = n, groups * k, p, q
    result = np.zeros(shape, out.dtype)
    tiles = [run.tile(step.operands[name]) for name in ("psum", "params")]
    cls(
        psum=address(1), params=address(2), out=address(3), **fields,
        **dict(zip("nkpq", shape, strict=True)), **attrs, out_dtype=core.dtype_code(out.dtype),
    ).execute(Tiles([tiles[0].copy(), tiles[1], result, *more]))  # fmt: skip
    made = arranged(result.reshape(n, groups, k, p, q), GROUPED, axes)
    run.put(out, made.copy())


GROUPED = "ngkpq"

MOST = 4
"""Dimensions of a block of elements; a step takes one index of each dimension before these."""


def padded(sizes: tuple[int, ...], fill: int = 1) -> tuple[int, ...]:
    return (fill,) * (MOST - len(sizes)) + sizes[-MOST:]


def lanes(cls: type[vector.Elementwise] | type[vector.Map], names: str) -> Callable[..., None]:
    """A step from elements to elements."""

    def run_step(run: Interpreter, step: Compute) -> None:
        out = step.operands["out"]
        result = np.zeros(tuple(int(e.size) for e in run.extents(out)), out.dtype)
        tiles = [run.tile(step.operands[name]) for name in names]
        tiles += [run.tile(step.operands["table"])] if "table" in step.operands else []
        roles = [*names, *(["table"] if "table" in step.operands else []), "out"]
        places = {role: address(i) for i, role in enumerate(roles, 1)}
        types = {f"{n}_dtype": core.dtype_code(step.operands[n].dtype) for n in (*names, "out")}
        sizes = {f"d{i}": n for i, n in enumerate(padded(result.shape))}
        cls(**places, **types, **sizes, **step.attrs).execute(Tiles([*tiles, result]))
        run.put(out, result)

    return run_step


def reduce(run: Interpreter, step: Compute) -> None:
    x, out = run.tile(step.operands["x"]), step.operands["out"]
    sizes = tuple(int(e.size) for e in run.extents(out))
    result = np.zeros(sizes, out.dtype)
    kept = tuple(int(n == m) for n, m in zip(x.shape, sizes, strict=True))
    fields: dict[str, Any] = {f"d{i}": n for i, n in enumerate(padded(x.shape))}
    fields |= {f"out_s{i}": n for i, n in enumerate(padded(kept, 0))}
    codes = {"x_dtype": core.dtype_code(x.dtype), "out_dtype": core.dtype_code(out.dtype)}
    vector.Reduce(x=address(1), out=address(2), **fields, **codes, **step.attrs).execute(
        Tiles([x, result])
    )
    run.put(out, result)


def pool(run: Interpreter, step: Compute) -> None:
    attrs, x, out = dict(step.attrs), step.operands["x"], step.operands["out"]
    x_axes, out_axes = attrs.pop("axes"), attrs.pop("out_axes")
    extents, results = run.extents(x), run.extents(out)
    h, w = (named(extents, x_axes, a) for a in "hw")
    cut = {a: named(results, out_axes, a).before for a in "pq"}
    pad_top = int(attrs.pop("pad_top", h.before - cut["p"] * attrs["stride_y"]))
    pad_left = int(w.before - cut["q"] * attrs["stride_x"])
    shape = {a: int(named(results, out_axes, a).size) for a in "ncpq"}
    result = np.zeros(tuple(shape.values()), out.dtype)
    vector.Pool(
        x=address(1), out=address(2), **shape, **attrs,
        h=int(h.size), w=int(w.size), pad_top=pad_top, pad_left=pad_left,
        x_dtype=core.dtype_code(x.dtype), out_dtype=core.dtype_code(out.dtype),
    ).execute(Tiles([arranged(run.tile(x), x_axes, "nchw"), result]))  # fmt: skip
    run.put(out, arranged(result, "ncpq", out_axes).copy())


COMPUTE: Mapping[str, Callable[[Interpreter, Compute], None]] = {
    "tensor": tensor,
    "requantize": requantize,
    "residual": residual,
    "elementwise": lanes(vector.Elementwise, "ab"),
    "map": lanes(vector.Map, "x"),
    "pool": pool,
    "reduce": reduce,
}
