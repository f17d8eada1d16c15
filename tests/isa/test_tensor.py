"""The tensor instruction against sums in NumPy's int64, tap by tap."""

from typing import Any

import numpy as np
import pytest

from dnncc.isa import core, tensor

IFMAP, WEIGHT = core.address(1, 16), core.address(1, 1 << 19)
PSUM, ZEROS = core.address(2, 64), core.address(2, 1 << 19)
BYTES = 1 << 20
CODES = {0: "i1", 1: "u1", 2: "<i2", 3: "<u2"}


def wrapped(sums: Any) -> Any:
    return sums.astype(np.int64).astype(np.uint32).view(np.int32)


def reference(x: Any, w: Any, f: dict[str, int], zeros: Any = None) -> Any:
    """x [batch, n, g, c, h, w], w [batch, g, k, c, r, s] -> int64 [batch, n, g, k, p, q]."""
    x = x.astype(np.int64) - f["ifmap_zero"]
    w = w.astype(np.int64) - f["weight_zero"]
    if zeros is not None:
        w = w - zeros[..., None, None, None]
    rows = (f["p"] - 1) * f["stride_y"] + (f["r"] - 1) * f["dilation_y"] + 1
    columns = (f["q"] - 1) * f["stride_x"] + (f["s"] - 1) * f["dilation_x"] + 1
    more = (rows + x.shape[-2], columns + x.shape[-1])
    border = [(0, 0)] * 4 + [(f["pad_top"], more[0]), (f["pad_left"], more[1])]
    x = np.pad(x, border)
    total: Any = 0
    for r in range(f["r"]):
        for s in range(f["s"]):
            y, z = r * f["dilation_y"], s * f["dilation_x"]
            part = x[..., y : y + rows : f["stride_y"], z : z + columns : f["stride_x"]]
            part = part[..., : f["p"], : f["q"]]
            total = total + np.einsum("bngcpq,bgkc->bngkpq", part, w[..., r, s])
    return total


def run(machine: Any, f: dict[str, int], rng: Any, worst: bool = False) -> None:
    """One instruction on dense random operands, checked; `worst` takes only the extreme values."""
    x_shape = (f["n"], f["g"], f["c"], f["h"], f["w"])
    w_shape = (f["g"], f["k"], f["c"], f["r"], f["s"])
    batch = machine.bytes.shape[1]
    operands: list[Any] = []
    for shape, code, where in ((x_shape, "ifmap_dtype", IFMAP), (w_shape, "weight_dtype", WEIGHT)):
        info = np.iinfo(core.DTYPES[f[code]])
        values = rng.integers(info.min, info.max, (batch, *shape), endpoint=True)
        values = (
            np.where(values > (info.min + info.max) / 2, info.max, info.min) if worst else values
        )
        machine.put(where, values, CODES[f[code]])
        operands.append(values)
    psum_shape = (f["n"], f["g"], f["k"], f["p"], f["q"])
    old = machine.get(PSUM, psum_shape, "<i4")
    zeros = rng.integers(-128, 128, (batch, f["g"], f["k"])) if f.pop("per_channel", 0) else None
    if zeros is not None:
        machine.put(ZEROS, zeros, "<i2")
    where = {"ifmap": IFMAP, "weight": WEIGHT, "psum": PSUM, "zeros": 0 if zeros is None else ZEROS}
    one = tensor.Tensor(**where, **f, **dense_strides(f))
    assert not any(np.any(bad) for bad, _ in one.faults())
    one.execute(machine)
    expected = reference(operands[0], operands[1], f, zeros) + (old if f["accumulate"] else 0)
    assert np.array_equal(machine.get(PSUM, psum_shape, "<i4"), wrapped(expected))


def dense_strides(f: dict[str, int]) -> dict[str, int]:
    plane, taps = f["h"] * f["w"], f["r"] * f["s"]
    return {
        "ifmap_sn": f["g"] * f["c"] * plane,
        "ifmap_sc": plane,
        "ifmap_sh": f["w"],
        "weight_sg": f["k"] * f["c"] * taps,
        "weight_sk": f["c"] * taps,
        "weight_sc": taps,
    }


def random_fields(rng: Any, **fixed: int) -> dict[str, int]:
    """A convolution of odd sizes, whose tile may miss rows at any border."""
    f = {name: int(rng.integers(1, 6)) for name in ("g", "k", "c", "p", "q")}
    f |= {name: int(rng.integers(1, 4)) for name in ("n", "r", "s")}
    f |= {
        f"{name}_{axis}": int(rng.integers(1, 4))
        for name in ("stride", "dilation")
        for axis in "yx"
    }
    f |= {"pad_top": int(rng.integers(0, 4)), "pad_left": int(rng.integers(0, 4))}
    f |= {"h": int(rng.integers(1, 20)), "w": int(rng.integers(1, 20))}
    f |= {name: int(rng.integers(0, 2)) for name in ("accumulate", "per_channel")}
    f |= {name: int(rng.integers(0, 4)) for name in ("ifmap_dtype", "weight_dtype")}
    f |= {name: int(rng.integers(-128, 256)) for name in ("ifmap_zero", "weight_zero")}
    return f | fixed


@pytest.fixture
def large(make_machine: Any, rng: Any) -> Any:
    return make_machine(rng, memory_bytes=BYTES)


def test_convolution(large: Any, rng: Any) -> None:
    for _ in range(150):
        run(large, random_fields(rng), rng)


def test_depthwise(large: Any, rng: Any) -> None:
    for _ in range(80):
        run(large, random_fields(rng, k=1, c=1, g=int(rng.integers(1, 9))), rng)


def test_matrix_product(large: Any, rng: Any) -> None:
    one = {name: 1 for name in ("n", "g", "p", "r", "s", "stride_y", "stride_x", "dilation_y")}
    one |= {"dilation_x": 1, "pad_top": 0, "pad_left": 0, "h": 1}
    for _ in range(60):
        m, k, c = (int(v) for v in rng.integers(1, 70, 3))
        run(large, random_fields(rng, **one, q=m, w=m, k=k, c=c), rng)


@pytest.mark.parametrize("dtypes", [(0, 0), (1, 0), (1, 1), (0, 2), (2, 0), (2, 2), (3, 3), (2, 3)])
@pytest.mark.parametrize("terms", [16, 257, 1041, 5000])
def test_long_sums_of_extremes_are_exact(large: Any, rng: Any, dtypes: Any, terms: int) -> None:
    fixed = {"n": 1, "g": 1, "k": 7, "c": terms, "p": 1, "q": 5, "r": 1, "s": 1, "h": 1, "w": 5}
    fixed |= {"ifmap_dtype": dtypes[0], "weight_dtype": dtypes[1], "pad_top": 0, "pad_left": 0}
    fixed |= {"stride_y": 1, "stride_x": 1, "dilation_y": 1, "dilation_x": 1}
    for zeros in ((0, 0), (128, -127), (-128, 255)):
        zero = {"ifmap_zero": zeros[0], "weight_zero": zeros[1], "per_channel": 0}
        run(large, random_fields(rng, **fixed, **zero), rng, worst=True)


def test_sums_that_only_grow_wrap_at_32_bits(large: Any, rng: Any) -> None:
    """65535 * 65535 * 4000, accumulated on what was there."""
    fixed = {"n": 1, "g": 1, "k": 1, "c": 4000, "p": 1, "q": 1, "r": 1, "s": 1, "h": 1, "w": 1}
    f = random_fields(rng, **fixed, ifmap_dtype=3, weight_dtype=3, ifmap_zero=0, weight_zero=0)
    f |= {"pad_top": 0, "pad_left": 0, "accumulate": 1, "per_channel": 0}
    large.bytes[1] = 255
    old = large.get(PSUM, (1,), "<i4")
    tensor.Tensor(ifmap=IFMAP, weight=WEIGHT, psum=PSUM, **without(f), **dense_strides(f)).execute(
        large
    )
    assert np.array_equal(
        large.get(PSUM, (1,), "<i4"), wrapped(old.astype(np.int64) + 4000 * 65535**2)
    )


def without(f: dict[str, int]) -> dict[str, int]:
    return {name: value for name, value in f.items() if name != "per_channel"}


@pytest.mark.parametrize("zero", [-32768, -16385, 16385, 32767])
def test_far_zero_points_do_not_wrap(large: Any, rng: Any, zero: int) -> None:
    run(large, random_fields(rng, ifmap_zero=zero, weight_zero=zero, ifmap_dtype=1), rng)


def test_strides_select_the_operands(large: Any, rng: Any) -> None:
    """A channel-last ifmap, and every second output channel of a weight."""
    x = rng.integers(-128, 128, (2, 5, 6, 4))
    w = rng.integers(-128, 128, (2, 6, 4, 3, 2))
    large.put(IFMAP, x, "i1")
    large.put(WEIGHT, w, "i1")
    sizes = {"k": 3, "c": 4, "p": 3, "q": 5, "h": 5, "w": 6, "r": 3, "s": 2}
    strides = {"ifmap_sc": 1, "ifmap_sh": 24, "ifmap_sw": 4, "weight_sk": 48, "weight_sc": 6}
    one = tensor.Tensor(ifmap=IFMAP, weight=WEIGHT, psum=PSUM, **sizes, **strides)
    one.execute(large)
    f = sizes | {"stride_y": 1, "stride_x": 1, "dilation_y": 1, "dilation_x": 1}
    f |= {"pad_top": 0, "pad_left": 0, "ifmap_zero": 0, "weight_zero": 0}
    dense = x.transpose(0, 3, 1, 2)[:, None, None]
    expected = reference(dense, w[:, None, ::2], f)[:, 0, 0]
    assert np.array_equal(large.get(PSUM, (3, 3, 5), "<i4"), expected)


def test_map_fields_do_not_change_values(large: Any, rng: Any, make_machine: Any) -> None:
    f = without(random_fields(rng, accumulate=0))
    results = []
    for mapping in (0, 7):
        fields = f | dense_strides(f) | {f"map{i}": mapping for i in range(6)}
        copy = make_machine(rng, memory_bytes=BYTES)
        copy.bytes = large.bytes.copy()
        tensor.Tensor(ifmap=IFMAP, weight=WEIGHT, psum=PSUM, **fields).execute(copy)
        results.append(copy.bytes)
    assert np.array_equal(*results)


@pytest.mark.parametrize("rows_outermost", [False, True])
def test_rows_in_a_ring(large: Any, rng: Any, make_machine: Any, rows_outermost: bool) -> None:
    """The same sums as of the same rows one after the other, wherever in the ring they begin."""
    for _ in range(60):
        f = without(random_fields(rng, ifmap_dtype=0))
        ring = int(rng.integers(f["h"], f["h"] + 6))
        first = int(rng.integers(0, ring))
        x = rng.integers(-128, 128, (2, f["n"], f["g"], f["c"], f["h"], f["w"]))
        held = rng.integers(-128, 128, (2, f["n"], f["g"], f["c"], ring, f["w"]))
        held[..., (first + np.arange(f["h"])) % ring, :] = x
        plain, rolled = (make_machine(rng, memory_bytes=BYTES) for _ in range(2))
        plain.bytes = large.bytes.copy()
        rolled.bytes = plain.bytes.copy()
        plain.put(IFMAP, x, "i1")
        rolled.put(IFMAP, np.moveaxis(held, -2, 1) if rows_outermost else held, "i1")
        where = {"ifmap": IFMAP, "weight": WEIGHT, "psum": PSUM}
        one = tensor.Tensor(**where, **f, **dense_strides(f))
        other = tensor.Tensor(**where, **f, **ring_strides(f, ring, rows_outermost))
        other.ring, other.ring_row = ring, first
        assert not any(np.any(bad) for bad, _ in other.faults())
        one.execute(plain)
        other.execute(rolled)
        shape = tuple(f[name] for name in "ngkpq")
        assert np.array_equal(plain.get(PSUM, shape, "<i4"), rolled.get(PSUM, shape, "<i4"))


def ring_strides(f: dict[str, int], ring: int, rows_outermost: bool) -> dict[str, int]:
    strides = dense_strides(f | {"h": ring})
    if rows_outermost:
        plane = {"ifmap_sn": f["g"] * f["c"] * f["w"], "ifmap_sc": f["w"]}
        strides |= plane | {"ifmap_sh": f["n"] * f["g"] * f["c"] * f["w"]}
    return strides


def test_a_ring_is_read_in_two_ranges() -> None:
    """Rows 2, 3, 0 of a ring of 4, of 8 bytes each, whose second half is another's."""
    one = tensor.Tensor(
        ifmap=IFMAP, weight=WEIGHT, psum=PSUM, h=3, w=4, ifmap_sh=8, ring=4, ring_row=2
    )
    assert [(int(r.start), int(r.stop)) for r in one.ifmap_regions()] == [(32, 44), (16, 20)]
    one.ring_row = 1
    assert [(int(r.start), int(r.stop)) for r in one.ifmap_regions()] == [(24, 44), (16, 16)]
