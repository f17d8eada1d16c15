"""Loading and running: values, batches, orders of execution, what is refused."""

from typing import Any

import numpy as np
import onnx
import pytest
from msgspec.structs import replace

from dnncc.isa import core, elf
from dnncc.isa import image as images
from dnncc.isa import program as programs
from dnncc.runtime import InferenceSession, RunError, load
from dnncc.runtime import session as sessions

M, C, K = 6, 4, 3
X, Y, Z, SUM = 64, 256, 512, 1024
"""DRAM bytes of the input, the product, the input's copy and the host's sum; weights lie at 0."""


def weights() -> np.ndarray[Any, np.dtype[np.int8]]:
    return np.arange(-5, 7, dtype=np.int8).reshape(K, C)


def rows(build: Any, wait: int = 1) -> list[Any]:
    """y = w @ x, and z = x, each through its own part of the scratchpad."""
    return [
        build.load(0, 0, 12),
        build.load(X, 64, C * M),
        build.matmul(64, 0, 128, (M, C, K), after_load0=wait),
        build.copy(64, 512, C * M, after_load0=wait),
        build.store(128, Y, K * M, dram_dtype=4, spad_dtype=4, after_tensor=wait),
        build.store(512, Z, C * M, after_vector=wait),
    ]


@pytest.fixture
def image(build: Any, symbol: Any) -> images.Image:
    symbols = [
        symbol("x", "input", "int8", (1, C, M), X),
        symbol("y", "output", "int32", (1, K, M), Y),
        symbol("z", "tensor", "int8", (1, C, M), Z),
    ]
    constants = weights().tobytes() + bytes(52)
    found: images.Image = build.image(rows(build), symbols, rodata=constants)
    return found


def feeds(batch: int, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {"x": rng.integers(-128, 128, (batch, C, M), np.int8)}


def product(x: Any) -> Any:
    return weights().astype(np.int32) @ x.astype(np.int32)


def test_values_signature_and_inner_tensors(image: images.Image) -> None:
    session = load(elf.write(image))
    assert [(t.name, t.shape, t.type) for t in session.get_inputs()] == [
        ("x", [1, C, M], "tensor(int8)")
    ]
    assert session.get_outputs()[0].type == "tensor(int32)"
    x = feeds(1)
    (y,) = session.run(None, x)
    assert y.dtype == np.int32 and y.shape == (1, K, M)
    assert (y == product(x["x"])).all()
    assert (session.tensor("z") == x["x"]).all()
    assert [v.shape for v in session.run(["z", "y"], x)] == [(1, C, M), (1, K, M)]


@pytest.mark.parametrize("limit", [1, 20_000, 1 << 28])
def test_a_batch_equals_its_inputs_one_by_one(
    image: images.Image, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MEMORY_LIMIT", limit)  # chunks of 1, of a few, of all
    session, x = load(image), feeds(7)
    (together,) = session.run(None, x)
    alone = [session.run(None, {"x": one[None]})[0] for one in x["x"]]
    assert (together == np.concatenate(alone)).all()


@pytest.mark.parametrize("seed", range(8))
def test_legal_orders_do_not_change_results(image: images.Image, seed: int) -> None:
    session, x = load(image), feeds(2)
    (y,) = session.run(None, x, schedule=f"random:{seed}")
    assert (y == product(x["x"])).all()


def test_missing_waits_show_in_some_order(image: images.Image, build: Any) -> None:
    session, x = load(replace(image, text=build.text(rows(build, wait=0)))), feeds(1)
    assert (session.run(None, x)[0] == product(x["x"])).all()
    wrong = [
        (session.run(None, x, schedule=f"random:{seed}")[0] != product(x["x"])).any()
        for seed in range(20)
    ]
    assert any(wrong)


def test_memory_is_poisoned_before_each_run(image: images.Image, build: Any) -> None:
    unwritten = replace(image, text=build.text([build.store(3000, Z, C * M)]))
    session = load(unwritten)
    session.run(None, feeds(1))
    assert (session.tensor("z").view(np.uint8) == 0xA5).all()


def host_image(image: images.Image, build: Any, symbol: Any, **more: Any) -> images.Image:
    """A host part that doubles y and adds the input, after the accelerator."""
    info = onnx.helper.make_tensor_value_info
    nodes = [
        onnx.helper.make_node("Cast", ["x"], ["wide"], to=onnx.TensorProto.INT32),
        onnx.helper.make_node("ReduceSum", ["wide"], ["total"], keepdims=1),
        onnx.helper.make_node("Add", ["y", "total"], ["s"]),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "part",
        [
            info("x", onnx.TensorProto.INT8, [1, C, M]),
            info("y", onnx.TensorProto.INT32, [1, K, M]),
        ],
        [info("s", onnx.TensorProto.INT32, [1, K, M])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    part = images.HostPart(
        model.SerializeToString(), ("x", "y"), ("s",), (("Add_3", "not on the accelerator"),)
    )
    transposed = images.Symbol("s", "output", "int32", (1, K, M), (0, 1, K), 0, SUM)
    code = build.text([*rows(build), build.host(0, after_store0=1)])
    return replace(image, text=code, host=(part,), symbols=(*image.symbols, transposed), **more)


def test_host_parts_run_per_input(image: images.Image, build: Any, symbol: Any) -> None:
    session, x = load(host_image(image, build, symbol)), feeds(3)
    (s,) = session.run(["s"], x, schedule="random:3")
    total = x["x"].astype(np.int32).sum(axis=(1, 2), keepdims=True)
    assert (s == product(x["x"]) + total).all()
    assert session.profile.report["host_parts"][0]["nodes"][0]["node"] == "Add_3"


def test_a_host_part_that_is_no_model(image: images.Image, build: Any, symbol: Any) -> None:
    good = host_image(image, build, symbol)
    bad = replace(good, host=(replace(good.host[0], model=b"\xff" * 9),))
    with pytest.raises(RunError, match="host part 0: not a valid model"):
        load(bad).run(None, feeds(1))


def test_external_data_of_a_host_part_is_refused(
    image: images.Image, build: Any, symbol: Any
) -> None:
    good = host_image(image, build, symbol)
    model = onnx.load_model_from_string(good.host[0].model)
    outside = model.graph.initializer.add(name="secret", data_type=1, dims=[1])
    outside.data_location = onnx.TensorProto.EXTERNAL
    outside.external_data.add(key="location", value="../secret")
    part = replace(good.host[0], model=model.SerializeToString())
    with pytest.raises(RunError, match="'secret' is data outside of the binary"):
        load(replace(good, host=(part,))).run(None, feeds(1))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "input 'x' is missing; the model takes 'x'"),
        ({"x": 0, "q": 1}, "input 'q': the model has no such input; it has 'x'"),
        ({"x": np.zeros((1, C, M), np.uint8)}, r"'x': expected int8\[1, 4, 6\], got uint8\[1, 4"),
        ({"x": np.zeros((1, C, 5), np.int8)}, r"expected int8\[1, 4, 6\], got int8\[1, 4, 5\]"),
        ({"x": np.zeros((C, M), np.int8)}, r"got int8\[4, 6\]"),
        ({"x": np.zeros((0, C, M), np.int8)}, r"got int8\[0, 4, 6\]"),
    ],
)
def test_feeds_that_do_not_fit(image: images.Image, given: Any, message: str) -> None:
    with pytest.raises(RunError, match=message):
        load(image).run(None, given)


def test_names_and_schedules_that_do_not_exist(image: images.Image) -> None:
    session = load(image)
    with pytest.raises(RunError, match="output 'w': the binary has no such tensor"):
        session.run(["w"], feeds(1))
    with pytest.raises(RunError, match="use serial or random:SEED"):
        session.run(None, feeds(1), schedule="fast")
    with pytest.raises(RunError, match="run the model first"):
        load(image).tensor("z")


def test_another_target_is_refused_with_the_differences(image: images.Image, tiny: Any) -> None:
    load(image, target=tiny)
    with pytest.raises(RunError, match="'tiny', not for 'tpu-like'(.|\n)*clock_mhz: 100.0 != 700"):
        load(image, target="tpu-like")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (lambda b: [b.load(4090, 0, 16)], "reads"),
        (lambda b: [b.store(0, 8, 16)], "instruction 0 writes to the constants"),
        (lambda b: [b.load(60, 0, 16)], "instruction 0 reads across the end of the constants"),
        (lambda b: [b.load(0, 0, 16, queue=1)], "runs on load1, which tiny does not have"),
        (lambda b: [b.host(2)], "instruction 0: there is no host part 2"),
        (
            lambda b: [b.matmul(0, 64, 128, (2, 2, 2)), b.matmul(0, 64, 128, (2, 4, 4), map1=0)],
            "",
        ),
    ],
)
def test_programs_that_are_refused(
    image: images.Image, build: Any, text: Any, message: str
) -> None:
    bad = replace(image, text=build.text(text(build)))
    if not message:
        load(bad)
        return
    with pytest.raises((RunError, core.IsaError), match=message):
        load(bad)


def test_mutated_programs_are_refused_or_run(image: images.Image) -> None:
    program = programs.Program.decode(image.text)
    rng, refused = np.random.default_rng(3), 0
    for _ in range(200):
        parts = [(part.indices, part.records.copy()) for part in program.parts]
        _, records = parts[rng.integers(len(parts) - 1)]
        name = str(rng.choice([n for n in records.dtype.names or () if n != "opcode"]))
        records[name] = rng.integers(0, 256, records[name].shape)
        try:
            mutant = replace(image, text=programs.Program.encode(parts))
            load(mutant).run(None, feeds(1))
        except (RunError, core.IsaError):
            refused += 1
    assert 20 < refused < 200


def test_array_parameters_that_are_illegal(image: images.Image, build: Any) -> None:
    tile = build.matmul(0, 64, 128, (2, 4, 4))
    tile["map0"] = 9
    with pytest.raises(RunError, match="instruction 0: the array cannot run this tile"):
        load(replace(image, text=build.text([tile])))


def test_symbols_that_are_refused(image: images.Image, symbol: Any) -> None:
    bad = (
        (symbol("x", "input", "int8", (1, 8), 0), "lies in the constants"),
        (symbol("x", "input", "int8", (1, 8000), X), "are not in memory 0"),
        (symbol("x", "input", "object", (1, 8), X), "dtype 'object' is not known"),
    )
    for found, message in bad:
        with pytest.raises((RunError, core.IsaError), match=message):
            load(replace(image, symbols=(found,)))


def test_a_debug_map_of_another_program_is_refused(image: images.Image) -> None:
    short = np.zeros(2, np.int32)
    debug = images.Debug(("Conv_1",), ("step",), short, short)
    with pytest.raises(RunError, match="of 2 instructions, there are 7"):
        load(replace(image, debug=debug))


def test_a_corrupt_file_is_refused(image: images.Image, tmp_path: Any) -> None:
    data = bytearray(elf.write(image))
    for name, content in (("cut", data[:200]), ("text", b"hello"), ("empty", b"")):
        path = tmp_path / f"{name}.elf"
        path.write_bytes(bytes(content))
        with pytest.raises(RunError, match=f"{name}.elf: "):
            load(path)
    data[len(data) // 2] ^= 1
    with pytest.raises(RunError, match="model: "):
        load(bytes(data))


def test_a_session_without_a_file(image: images.Image) -> None:
    assert InferenceSession(image).profile.cycles > 0
