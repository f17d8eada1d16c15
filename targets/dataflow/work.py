"""Work: tiles for the tensor engine, described by arrays, so that one call prices many tiles."""

from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
from msgspec import Struct

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
IntsLike = npt.ArrayLike


class Work(Struct, frozen=True, eq=False):
    """Tiles of a convolution, one per element of the arrays, which broadcast together.

    k output and c input channels are those of one of the g groups; p x q is the ofmap, r x s the
    filter, h x w the ifmap (rows x columns, with the padding that lies in the memory). A depthwise
    convolution has k = c = 1. `accumulate`: psums are added to those in the memory.
    """

    n: Ints
    g: Ints
    k: Ints
    c: Ints
    p: Ints
    q: Ints
    r: Ints
    s: Ints
    stride_y: Ints
    stride_x: Ints
    dilation_y: Ints
    dilation_x: Ints
    h: Ints
    w: Ints
    accumulate: Ints

    @classmethod
    def of(cls, **sizes: IntsLike) -> Self:
        """Tiles from the sizes that are not 1; h and w are what the filter reaches if not given.

        Raises TypeError for a name that is not a size, ValueError for a size below 1.
        """
        given = {name: np.asarray(value).astype(np.int64) for name, value in sizes.items()}
        one = np.ones((), np.int64)
        p, r = given.get("p", one), given.get("r", one)
        q, s = given.get("q", one), given.get("s", one)
        high = reach(p, given.get("stride_y", one), r, given.get("dilation_y", one))
        wide = reach(q, given.get("stride_x", one), s, given.get("dilation_x", one))
        rest = {"h": high, "w": wide, "accumulate": np.zeros((), np.int64)}
        unit = dict.fromkeys(cls.__struct_fields__, one)
        for name, value in given.items():
            if name != "accumulate" and np.min(value, initial=1) < 1:
                raise ValueError(f"{name} must be >= 1")
        return cls(**{name: np.asarray(v) for name, v in (unit | rest | given).items()})

    @classmethod
    def matmul(cls, m: IntsLike, c: IntsLike, k: IntsLike, **sizes: IntsLike) -> Self:
        """[m, c] x [c, k]: the rows of the left matrix are the columns of a one-row ofmap."""
        return cls.of(q=m, c=c, k=k, **sizes)

    @classmethod
    def from_table(cls, table: Ints) -> Self:
        """The inverse of `table`: int64 [..., 15], the sizes in the order of the fields."""
        return cls(*(table[..., i] for i in range(table.shape[-1])))

    def table(self) -> Ints:
        """int64 [..., 15], with the sizes in the order of the fields."""
        columns = [getattr(self, name) for name in self.__struct_fields__]
        table = np.empty((*np.broadcast(*columns).shape, len(columns)), np.int64)
        for place, column in enumerate(columns):
            table[..., place] = column
        return table

    def macs(self) -> Ints:
        """Multiplications with a weight, padding included."""
        return self.n * self.g * self.k * self.c * self.p * self.q * self.r * self.s

    def is_valid(self) -> Bools:
        """Whether all sizes but `accumulate` are at least 1: bool [...]."""
        return np.asarray((self.table()[..., :-1] >= 1).all(axis=-1))

    def words(self) -> dict[str, Ints]:
        """Words that a tile takes in the memories: "ifmap", "weight", "psum"."""
        return {
            "ifmap": self.n * self.g * self.c * self.h * self.w,
            "weight": self.g * self.k * self.c * self.r * self.s,
            "psum": self.n * self.g * self.k * self.p * self.q,
        }


class Phases(NamedTuple):
    """When an instruction uses the array: cycles = head + body + tail, int64 arrays.

    In the head only weights enter, in the tail only psums leave. Of two instructions back to back,
    the second may start min(hide, its head) cycles before the body of the first one ends.
    """

    head: Ints
    body: Ints
    tail: Ints
    hide: Ints

    @property
    def cycles(self) -> Ints:
        return self.head + self.body + self.tail

    def repeated(self, times: Ints) -> Ints:
        """Cycles of so many such instructions, back to back."""
        shared = np.minimum(self.tail + np.minimum(self.hide, self.head), self.cycles)
        return np.asarray(times * (self.cycles - shared) + shared)


def flat(work: Work, params: Ints) -> tuple[Work, Ints, tuple[int, ...]]:
    """Tiles and parameters broadcast together: 1-D tiles, int64 [tiles, n], and their shape."""
    table = work.table()
    shape = np.broadcast_shapes(table.shape[:-1], params.shape[:-1])
    rows = [np.broadcast_to(x, (*shape, x.shape[-1])) for x in (table, params)]
    tiles, mapped = (x.reshape(-1, x.shape[-1]) for x in rows)
    return Work.from_table(tiles), mapped, shape


def reach(outputs: Ints, stride: Ints, taps: Ints, dilation: Ints) -> Ints:
    """The inputs from the first one to the last one that a row of outputs needs."""
    return np.asarray((outputs - 1) * stride + (taps - 1) * dilation + 1)


def distinct(outputs: Ints, stride: Ints, taps: Ints, dilation: Ints) -> Ints:
    """How many different inputs a row of outputs needs: values of j*stride + i*dilation.

    Divided by their common factor the steps are u and v; (j, i) and (j + v, i - u) meet in the same
    input, so of the outputs * taps pairs, (outputs - v) * (taps - u) only repeat another one.
    """
    common = np.gcd(stride, dilation)
    repeats_j = np.maximum(outputs - dilation // common, 0)
    repeats_i = np.maximum(taps - stride // common, 0)
    return np.asarray(outputs * taps - repeats_j * repeats_i)


def patches(work: Work, ifmap: Ints) -> Ints:
    """[g, c*r*s, n*p*q]: under each tap of the filter, the ifmap element of each psum."""
    r, s = np.arange(int(work.r)) * work.dilation_y, np.arange(int(work.s)) * work.dilation_x
    p, q = np.arange(int(work.p)) * work.stride_y, np.arange(int(work.q)) * work.stride_x
    y, x = r[:, None] + p, s[:, None] + q
    taken = ifmap[:, :, :, y[:, None, :, None], x[None, :, None, :]]
    psums = int(work.n * work.p * work.q)
    return np.asarray(taken.transpose(1, 2, 3, 4, 0, 5, 6).reshape(ifmap.shape[1], -1, psums))


def ceil_div(a: Ints, b: Ints | int) -> Ints:
    """Whole blocks of `b` that cover `a`, both below 2^53, where quotients of floats are never on
    the wrong side of a whole number; they take a fifth of the time of those of integers."""
    return np.ceil(np.true_divide(a, b)).astype(np.int64)
