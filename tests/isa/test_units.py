"""Buffers and floors in the debug map: through files and texts, and what is refused."""

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from dnncc.isa import asm, control, core, dma, elf
from dnncc.isa import image as images
from dnncc.isa import program as programs

UNITS = (
    images.Unit("ifmap[0]", 1, 0, 16, 0, 1),
    images.Unit("x; \u00fc", 0, 64, 80, 0, 0, ("x", "view of x")),
)
FLOOR = images.Floor(9, 1, (4, 0), (0, 2))


@pytest.fixture
def image() -> images.Image:
    rows = [dma.Load.records(1, dram=64, spad=core.address(1, 0), d3=16), control.Halt.records(1)]
    text = programs.Program.encode((np.array([i]), row) for i, row in enumerate(rows))
    column = np.zeros(2, np.int32)
    debug = images.Debug(("Conv_0",), ("load ifmap <- x",), column, column, UNITS, (FLOOR,))
    return images.Image(text, b"", 128, "name = 1\n", (), debug=debug)


def test_units_survive_files_and_texts(image: images.Image) -> None:
    assert elf.read(elf.write(image)).debug == image.debug
    text = asm.disassemble(programs.Program.decode(image.text), image)
    assert elf.write(asm.assemble_image(text)) == elf.write(image)
    assert image.debug is not None
    assert image.debug != replace(image.debug, units=UNITS[:1])
    assert image.debug != replace(image.debug, floors=())


@pytest.mark.parametrize(
    "wrong",
    [{"memory": 16}, {"memory": -1}, {"start": -1}, {"stop": -1}, {"first": 2}, {"last": 2},
     {"stop": 1 << 28 | 1}],
)  # fmt: skip
def test_units_that_cannot_be(image: images.Image, wrong: dict[str, Any]) -> None:
    assert image.debug is not None
    bad = replace(image.debug, units=(replace(UNITS[0], **wrong),))
    with pytest.raises(core.IsaError, match="a unit that cannot be: 'ifmap"):
        elf.write(replace(image, debug=bad))


@pytest.mark.parametrize("wrong", [{"array": -1}, {"moved": (1,) * 9}, {"spilled": (1 << 53,)}])
def test_floors_that_cannot_be(image: images.Image, wrong: dict[str, Any]) -> None:
    assert image.debug is not None
    bad = replace(image.debug, floors=(replace(FLOOR, **wrong),))
    with pytest.raises(core.IsaError, match="a floor that cannot be, of node 'Conv_0'"):
        elf.write(replace(image, debug=bad))
    several = replace(image.debug, floors=(FLOOR, FLOOR))
    with pytest.raises(core.IsaError, match="floors of some nodes"):
        elf.write(replace(image, debug=several))
