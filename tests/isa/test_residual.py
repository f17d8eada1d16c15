"""Residual is Requantize followed by Elementwise, bit by bit; a table at the end is a Map."""

from typing import Any

import numpy as np
import pytest

from dnncc.isa import core, vector

PSUM, PARAMS, SIDE, OUT, BETWEEN = (
    *(core.address(1, offset) for offset in (0, 4000, 5000)),
    *(core.address(2, offset) for offset in (0, 4000)),
)
TABLE, INDEX = core.address(2, 5000), core.address(2, 7000)
SIZES = {"n": 2, "k": 5, "p": 4, "q": 6}
COUNT = 240
OPS = (vector.QADD, vector.QMUL, *range(vector.REAL_ADD, vector.REAL_PRELU + 1))
I8, U8, I16, U16 = range(4)
WORST = np.array([-(2**31), 2**31 - 1, -1, 0, 1, 2**24 + 1, -(2**24) - 3, 12345], np.int64)


def limits(code: int) -> tuple[int, int]:
    info = np.iinfo(core.DTYPES[code])
    return int(info.min), min(int(info.max), 32767)


def psums(rng: Any) -> Any:
    """Random ones of all magnitudes, halves when scaled by powers of two, and the extremes."""
    values = rng.integers(-(2**31), 2**31, COUNT) >> rng.integers(0, 32, COUNT)
    values[: len(WORST)] = WORST
    return rng.permutation(values)[None].repeat(2, axis=0)


def table(rng: Any, mode: int) -> Any:
    made = np.zeros((2, SIZES["k"]), vector.PARAMS[mode])
    made["bias"] = rng.choice(np.array([-(2**31), -77, 0, 1, 2**31 - 1]), (2, SIZES["k"]))
    if mode == vector.FIXED:
        made["multiplier"] = rng.integers(1 << 30, (1 << 31) - 1, (2, SIZES["k"]))
        made["shift"] = rng.integers(-31, 32, (2, SIZES["k"]))
    else:
        made["scale"] = np.float32(2.0) ** rng.integers(-32, 2, (2, SIZES["k"]))
        made["scale"] *= rng.choice(np.array([1, 1.37], np.float32), (2, SIZES["k"]))
    return made.view("u1").reshape(2, -1)


def numbers(rng: Any) -> dict[str, Any]:
    """Scales whose results are ties, and others."""
    scale_a, scale_b, offset = rng.choice(np.array([0.5, 1.0, -0.25, 0.0131, 3.7], np.float32), 3)
    zero_a, zero_b, zero = rng.integers(-128, 256, 3)
    low, high = np.sort(rng.integers(-200, 300, 2))
    ints = {"zero_a": zero_a, "zero_b": zero_b, "zero": zero, "low": low, "high": high}
    floats = {"scale_a": scale_a, "scale_b": scale_b, "offset": offset}
    return {**{k: int(v) for k, v in ints.items()}, **{k: float(v) for k, v in floats.items()}}


def dense(prefix: str, names: tuple[str, ...]) -> dict[str, int]:
    steps = np.cumprod([1, SIZES["q"], SIZES["p"], SIZES["k"]])[::-1]
    return {f"{prefix}_s{name}": int(step) for name, step in zip(names, steps, strict=True)}


@pytest.mark.parametrize("between", [I8, U8, I16])
@pytest.mark.parametrize("mode", [vector.FP32, vector.FIXED])
@pytest.mark.parametrize("op", OPS)
def test_it_is_the_two(machine: Any, rng: Any, op: int, mode: int, between: int) -> None:
    for side_code in (I8, U8, I16, U16):
        for swapped in (0, 1):
            out_code = int(rng.choice([I8, U8, I16]))
            machine.put(PSUM, psums(rng), "<i4")
            machine.put(PARAMS, table(rng, mode), "u1")
            machine.put(SIDE, worst_bytes(rng), "u1")
            low, high = limits(between)
            first = {"zero": int(rng.integers(low, high + 1)), "low": low, "high": high}
            second = {"op": op, **numbers(rng)}
            codes = {"side_dtype": side_code, "out_dtype": out_code}
            strides = {**dense("side", ("n", "k", "p", "q")), **dense("out", ("n", "k", "p", "q"))}
            x = {f"x_{name}": value for name, value in first.items()}
            vector.Residual(
                psum=PSUM, params=PARAMS, side=SIDE, out=OUT, mode=mode, swapped=swapped,
                **SIZES, **strides, **codes, **x, **second,
            ).execute(machine)  # fmt: skip
            got = machine.get(OUT, (COUNT,), core.DTYPES[out_code].str).copy()
            expected = composed(machine, mode, swapped, between, codes, first, second)
            assert np.array_equal(got, expected), (side_code, swapped)


def worst_bytes(rng: Any) -> Any:
    made = rng.integers(0, 256, (2, 2 * COUNT))
    made[:, :6] = 0, 128, 255, 127, 0, 128
    return made


def composed(
    machine: Any, mode: int, swapped: int, between: int, codes: Any, first: Any, second: Any
) -> Any:
    vector.Requantize(
        psum=PSUM, params=PARAMS, out=BETWEEN, mode=mode, out_dtype=between,
        **SIZES, **dense("out", ("n", "k", "p", "q")), **first,
    ).execute(machine)  # fmt: skip
    operands = ((BETWEEN, between), (SIDE, codes["side_dtype"]))
    (a, a_code), (b, b_code) = operands[::-1] if swapped else operands
    sizes = {f"d{i}": size for i, size in enumerate(SIZES.values())}
    strides = {
        k: v for name in ("a", "b", "out") for k, v in dense(name, ("0", "1", "2", "3")).items()
    }
    types = {"a_dtype": a_code, "b_dtype": b_code, "out_dtype": codes["out_dtype"]}
    vector.Elementwise(a=a, b=b, out=OUT, **sizes, **strides, **types, **second).execute(machine)
    return machine.get(OUT, (COUNT,), core.DTYPES[codes["out_dtype"]].str)


@pytest.mark.parametrize("out_code", [I8, U8, I16, U16])
@pytest.mark.parametrize("mode", [vector.FP32, vector.FIXED])
@pytest.mark.parametrize("combined", [False, True])
def test_a_table_is_a_map_behind(
    machine: Any, rng: Any, combined: bool, mode: int, out_code: int
) -> None:
    """Values below, within and above the table's 256 entries."""
    machine.put(PSUM, psums(rng), "<i4")
    machine.put(PARAMS, table(rng, mode), "u1")
    machine.put(SIDE, worst_bytes(rng), "u1")
    machine.put(TABLE, rng.integers(0, 256, (2, 512)), "u1")
    cls: Any = vector.Residual if combined else vector.Requantize
    fields = {**SIZES, **dense("out", ("n", "k", "p", "q")), "psum": PSUM, "params": PARAMS}
    fields |= {"mode": mode, "low": -300, "high": 400, "zero": 3}
    if combined:
        fields |= {"side": SIDE, "scale_b": 2.0, **dense("side", ("n", "k", "p", "q"))}
    cls(**fields, out=INDEX, out_dtype=I16).execute(machine)
    codes = {"x_dtype": I16, "out_dtype": out_code}
    sizes = {"d3": COUNT, "op": vector.TABLE, "first": -77}
    vector.Map(x=INDEX, out=OUT, table=TABLE, **codes, **sizes).execute(machine)
    expected = machine.get(OUT, (COUNT,), core.DTYPES[out_code].str).copy()
    assert len(np.unique(expected)) > 2
    cls(**fields, out=OUT, out_dtype=out_code, table=TABLE, first=-77).execute(machine)
    assert np.array_equal(machine.get(OUT, (COUNT,), core.DTYPES[out_code].str), expected)


def test_a_side_per_channel_is_broadcast(machine: Any, rng: Any) -> None:
    machine.put(PSUM, psums(rng), "<i4")
    machine.put(PARAMS, table(rng, vector.FP32), "u1")
    side = rng.integers(-128, 128, (2, SIZES["k"]))
    fields = {"psum": PSUM, "params": PARAMS, "side": SIDE, "out": OUT, **SIZES}
    fields |= {**dense("out", ("n", "k", "p", "q")), "scale_a": 0.5, "scale_b": 0.75}
    whole = np.broadcast_to(side[:, None, :, None, None], (2, *SIZES.values()))
    machine.put(SIDE, whole.reshape(2, -1), "i1")
    vector.Residual(**fields, **dense("side", ("n", "k", "p", "q"))).execute(machine)
    expected = machine.get(OUT, (COUNT,), "i1").copy()
    machine.put(SIDE, side, "i1")
    vector.Residual(**fields, side_sk=1, side_sq=0).execute(machine)
    assert np.array_equal(machine.get(OUT, (COUNT,), "i1"), expected)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"mode": vector.UNSCALED}, "sums that are not scaled are no operand"),
        ({"op": vector.BINARY_CODES["add"]}, "the operator has no scales"),
        ({"x_low": 3, "x_high": 2}, "x_low is above x_high"),
        ({"q": 2, "out_sq": 0}, "elements of out coincide"),
    ],
)
def test_what_is_illegal(fields: dict[str, int], why: str) -> None:
    item = vector.Residual(psum=PSUM, params=PARAMS, side=SIDE, out=OUT, **fields)
    assert why in [reason for condition, reason in item.faults() if np.any(condition)]
