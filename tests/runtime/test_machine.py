"""Memories: what a view is, what it cannot reach, and which orders of execution are legal."""

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from dnncc.isa import core
from dnncc.runtime import InferenceSession, RunError, loading, machine, order

INT8, INT32 = 0, 4


@pytest.fixture
def memory() -> machine.Machine:
    found = machine.Machine(bytes(range(64)), [256, 128], 3)
    found.poison()
    return found


def test_constants_are_shared_and_cannot_be_written(memory: machine.Machine) -> None:
    view = memory.view(0, 8, (2, 4), (4, 1), INT8)
    assert view.shape == (3, 2, 4) and view.strides == (0, 4, 1)
    assert (view == np.arange(8, 16).reshape(2, 4)).all()
    with pytest.raises(ValueError, match="read-only"):
        view[...] = 0


def test_the_rest_is_private_and_poisoned(memory: machine.Machine) -> None:
    view = memory.view(0, 64, (192,), (1,), INT8)
    assert (view.view(np.uint8) == 0xA5).all()
    memory.view(1, 4, (2,), (3,), INT32)[1] = 7
    whole = memory.view(1, 0, (32,), (1,), INT32)
    assert np.argwhere(whole == 7).tolist() == [[1, 1], [1, 4]]


def test_strides_of_0_repeat(memory: machine.Machine) -> None:
    assert memory.view(0, 5, (2, 3), (0, 1), INT8)[0].tolist() == [[5, 6, 7], [5, 6, 7]]


@pytest.mark.parametrize(
    ("number", "offset", "shape"),
    [(0, 0, (65,)), (1, 3 * 128, (1,)), (1, 0, (1 << 40,)), (2, 0, (1,)), (1, -1, (1,))],
)
def test_out_of_bounds(
    memory: machine.Machine, number: int, offset: int, shape: tuple[int, ...]
) -> None:
    with pytest.raises(RunError, match="out of bounds"):
        memory.view(number, offset, shape, (1,), INT8)


def test_only_what_a_program_reaches_is_allocated(build: Any, tiny: Any) -> None:
    image = build.image([build.load(0, 100, 16)], [], dram_bytes=640)
    session = InferenceSession(image)
    assert loading.extents(session.program.regions, image, tiny) == [640, 116]


def test_too_much_memory_is_refused(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "LARGEST_ARENA", 1000)
    with pytest.raises(RunError, match="needs 4224 bytes of memory for one input"):
        InferenceSession(build.image([build.load(0, 100, 16)], []))


def test_random_orders_are_legal_and_differ(build: Any) -> None:
    rows = []
    for i in range(30):
        rows.append(build.load(0, 0, 8, after_vector=min(i, 2)))
        rows.append(build.copy(0, 64, 8, after_load0=i % 2))
        if i == 15:
            rows.append(build.fence(after_vector=1))
    program = build.program(rows)
    orders = [list(order.order(program, f"random:{seed}")) for seed in range(10)]
    assert len({tuple(o) for o in orders}) == 10
    for found in orders:
        assert sorted(found) == list(range(program.count))
        assert found[-1] == program.count - 1
        check_legal(program, found)


def check_legal(program: Any, found: list[int]) -> None:
    """Queues in order, waits satisfied, nothing across a control instruction too early."""
    place = np.argsort(found)
    for engine in range(len(core.ENGINES)):
        queue = np.flatnonzero(program.engine_of == engine)
        assert (np.diff(place[queue]) > 0).all()
        for i, count in enumerate(program.waits[:, engine]):
            assert count == 0 or place[queue[count - 1]] < place[i]
    for barrier in np.flatnonzero(program.engine_of < 0):
        assert (place[barrier + 1 :] > place[barrier]).all()


def test_an_order_that_needs_an_impossible_wait_ends(build: Any) -> None:
    program = build.program([build.load(0, 0, 8), build.copy(0, 64, 8, after_load0=1)])
    impossible = program.waits.copy()
    impossible[1, 0] = 9
    broken = replace(program, waits=impossible)
    blocked = "vector at 1 waits for 9 of load0, of which 1 retired"
    with pytest.raises(RunError, match=f"no instruction can go on: {blocked}"):
        list(order.order(broken, "random:1"))
