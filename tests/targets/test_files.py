"""Target files: what is refused and how, `extends`, `diff`, and the round trip through text."""

from pathlib import Path

import pytest

from dnncc.targets import KINDS, Target, TargetError, diff, load, loads, names

HERE = Path(__file__).parent
ALL = [*names(), *(str(path) for path in sorted(HERE.glob("*.toml")))]


def refusal(text: str) -> str:
    """The message for TOML text laid over tpu-like."""
    with pytest.raises(TargetError) as caught:
        loads(f'extends = "tpu-like"\n{text}', "x.toml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ALL)
def test_canonical_text_round_trips(name: str) -> None:
    target = load(name)
    again = loads(target.dumps())
    assert again == target
    assert again.dumps() == target.dumps()
    assert again.sha256 == target.sha256
    assert diff(again, target) == []


@pytest.mark.parametrize("name", ALL)
def test_every_kind_has_a_memory_and_engines_with_channels(name: str) -> None:
    target = load(name)
    for kind in KINDS:
        assert kind in target.memory_for(kind).holds
        for engine in (target.load_engine(kind), target.store_engine(kind)):
            assert target.channel_of(engine.name) in target.dram.channels
    assert [m.id for m in target.memories] == list(range(1, len(target.memories) + 1))


def test_the_chips() -> None:
    eyeriss, tpu = load("eyeriss-like"), load("tpu-like")
    assert (eyeriss.array.rows, eyeriss.array.cols, eyeriss.pes) == (12, 14, 168)
    assert eyeriss.memory_for("psum").bytes == 108 * 1024
    # 0.48 GB/s over 200 MHz
    assert eyeriss.dram.channels[0].bytes_per_cycle == pytest.approx(0.48e9 / 200e6)
    assert tpu.pes * 2 * tpu.clock_mhz / 1e6 == pytest.approx(91.75, abs=0.01)  # TOPS
    assert tpu.memory_for("psum").bytes == 4096 * 256 * 4
    assert tpu.load_engine("weight").name == "load1"
    # 30 GiB/s, and 10 from the host into the Unified Buffer: the paper's Figure 1
    assert tpu.channel_of("load1").bytes_per_cycle * 700e6 == pytest.approx(30 * 2**30, rel=0.001)
    assert tpu.channel_of("load0").bytes_per_cycle * 700e6 == pytest.approx(10 * 2**30, rel=0.003)
    assert eyeriss.seconds(200e6) == 1


def test_peak_rates() -> None:
    diannao, full = load("diannao-like"), load("nvdla-like-full")
    # 452 GOP/s, in units of 2^30: 256 multiplications and 16 trees of 15 additions in a cycle
    assert (diannao.pes + 16 * 15) * diannao.clock_mhz * 1e6 / 2**30 == pytest.approx(
        452, rel=0.002
    )
    assert load("shidiannao-like").pes == 64
    assert (full.pes, load("nvdla-like-small").pes) == (2048, 64)


def test_names_and_paths() -> None:
    assert names() == sorted(names())
    assert load(HERE / "odd-13x7.toml").memory_for("ifmap").bytes == 9000
    with pytest.raises(TargetError, match="^eyeris: no such target; there are diannao-like, eye"):
        load("eyeris")
    with pytest.raises(TargetError, match="no such file"):
        load(HERE / "none.toml")
    with pytest.raises(TargetError, match="no such file"):
        load(HERE)


def test_diff_names_each_key() -> None:
    a = loads('extends = "tpu-like"')
    b = loads('extends = "tpu-like"\nclock_mhz = 200\n[[memory]]\nname = "ub"\nbytes = 1600')
    assert diff(a, b) == ["clock_mhz: 700.0 != 200.0", "memory.ub.bytes: 25165824 != 1600"]
    c = loads('extends = "tpu-like"\n[[memory]]\nname = "more"\nbytes = 9\nbanks = 1\n'
              "bytes_per_cycle = 1\nholds = []")  # fmt: skip
    assert "memory.more.bytes: nothing != 9" in diff(a, c)
    assert c.memories[3].id == 4


FIELDS = [
    ("clock_mhz = 0", "x.toml: clock_mhz: must be > 0.0"),
    ("clock_mhz = nan", "x.toml: clock_mhz: must be > 0.0"),
    ("clock_mhz = inf", "x.toml: clock_mhz: "),
    ('clock_mhz = "fast"', "x.toml: clock_mhz: expected `float`, got `str`"),
    ("clock_mhz = 1979-05-27", "x.toml: clock_mhz: "),
    ("volts = 1", "x.toml: volts: unknown key"),
    ('name = "../x"', "x.toml: name: "),
    ('description = "a\\u0007b"', "x.toml: description: "),
    ("[array]\nrows = 0", "x.toml: array.rows: must be >= 1"),
    ("[array]\nrows = 2.5", "x.toml: array.rows: expected `int`, got `float`"),
    ("[array]\nrows = true", "x.toml: array.rows: expected `int`, got `bool`"),
    ("[array]\nspeed = 1", "x.toml: array.speed: unknown key"),
    ('[array]\ndataflow = "magic"', "x.toml: array.dataflow: invalid value 'magic'; there are "),
    ('[array]\ndataflow = "row_stationary"', "x.toml: array.rows: is missing"),
    ("memory = 1", "x.toml: memory: "),
    ("engine = []", "x.toml: engine: "),
    ('[[memory]]\nname = "ub"\nbytes = 0', "x.toml: memory[0].bytes: must be >= 1"),
    ("[[memory]]\nbytes = 1", "x.toml: memory[3].name: is missing"),
    ("[[memory]]\nname = [1]", "x.toml: memory[3].name: "),
    ('[datapath]\noperands = ["int3"]', "x.toml: datapath.operands[0]: "),
    ('[[engine]]\nname = "load7"', "x.toml: engine[3].name: "),
    ("[vector.pool]\nwindow = 8", "x.toml: vector.pool.inputs_per_cycle: is missing"),
    (
        "[vector.pool]\ninputs_per_cycle = 0\nwindow = 8",
        "x.toml: vector.pool.inputs_per_cycle: must be >= 1",
    ),
    (
        "[vector.pool]\ninputs_per_cycle = 8\nwindow = 256",
        "x.toml: vector.pool.window: must be <= 255",
    ),
    ("[vector.pool]\nrows = 8", "x.toml: vector.pool.rows: unknown key"),
    ("[vector]\npool = 8", "x.toml: vector.pool: expected `object | null`, got `int`"),
]


@pytest.mark.parametrize(("text", "message"), FIELDS)
def test_a_field_out_of_range_is_refused(text: str, message: str) -> None:
    assert refusal(text).startswith(message)


COMBINATIONS = {
    "memory_ids_out_of_order": (
        '[[memory]]\nname = "ub"\nid = 2',
        "memory.ub.id: must be 1, its place in the file",
    ),
    "memory_called_dram": (
        '[[memory]]\nname = "dram"\nbytes = 4\nbanks = 1\nbytes_per_cycle = 1\nholds = []',
        "memory.dram: dram is the name of the memory outside the chip",
    ),
    "kind_not_in_one_memory": (
        '[[memory]]\nname = "acc"\nholds = ["psum", "params"]',
        "memory: params must be held by one memory, not by ub and acc",
    ),
    "kind_in_no_memory": (
        '[[memory]]\nname = "acc"\nholds = []',
        "memory: psum must be held by one memory, not by none",
    ),
    "banks_of_unequal_size": (
        '[[memory]]\nname = "ub"\nbanks = 7',
        "memory.ub.banks: 7 banks do not divide 25165824 bytes",
    ),
    "engine_without_channel": (
        '[[engine]]\nname = "load1"\nchannel = "moon"',
        "engine.load1.channel: there is no channel 'moon'",
    ),
    "channel_without_engine": (
        '[[engine]]\nname = "load1"\nchannel = "host"',
        "dram.channel.weights: no engine uses it",
    ),
    "kind_not_served_once": (
        '[[engine]]\nname = "load1"\nserves = ["weight", "ifmap"]',
        "engine: ifmap must be served by one load engine, not by load0 and load1",
    ),
    "kind_not_stored": (
        '[[engine]]\nname = "store0"\nserves = ["ifmap", "weight", "psum", "params"]',
        "engine: ofmap must be served by one store engine, not by none",
    ),
    "burst_not_a_power_of_two": (
        '[[dram.channel]]\nname = "host"\nburst_bytes = 48',
        "dram.channel.host.burst_bytes: must be a power of two",
    ),
    "operand_wider_than_its_word": (
        '[datapath]\noperands = ["int8", "int16"]',
        "datapath.operand_bytes: must be 2 to hold int16 operands",
    ),
    "memory_too_slow_for_the_array": (
        '[[memory]]\nname = "acc"\nbytes_per_cycle = 1023',
        "memory.acc.bytes_per_cycle: must be >= 1024, which the array reads per cycle",
    ),
    "memory_too_slow_for_output_systolic": (
        '[array]\ndataflow = "output_systolic"\nrows = 257\ncols = 256',
        "memory.ub.bytes_per_cycle: must be >= 257, which the array reads per cycle",
    ),
    "memory_too_slow_for_output_stationary": (
        '[array]\ndataflow = "output_stationary"\nrows = 8\ncols = 8\n'
        "ifmap_words_per_cycle = 8\nweight_words_per_cycle = 257\npsums_per_cycle = 8",
        "memory.wfifo.bytes_per_cycle: must be >= 257, which the array reads per cycle",
    ),
    "memory_too_slow_for_no_local_reuse": (
        '[array]\ndataflow = "no_local_reuse"\nrows = 257\ncols = 8\nstripe = 1\n'
        "weight_words_per_cycle = 8\npipeline_cycles = 3\njoins_taps = false",
        "memory.acc.bytes_per_cycle: must be >= 1028, which the array reads per cycle",
    ),
}


@pytest.mark.parametrize("case", COMBINATIONS)
def test_an_impossible_combination_is_refused(case: str) -> None:
    text, message = COMBINATIONS[case]
    assert refusal(text) == f"x.toml: {message}"


def test_a_name_twice_is_refused() -> None:
    text = load("tpu-like").dumps()
    text = text.replace('name = "wfifo"', 'name = "ub"')
    with pytest.raises(TargetError, match="^t: memory.ub: is there twice$"):
        loads(text, "t")


HOSTILE = {
    "not toml": "x = [",
    "deep arrays": "x = " + "[\n" * 20_000,
    "deep tables": "x = " + "{a=[\n" * 10_000,
    "deep keys": "[array]\n" + "a." * 15_000 + "a = 1",
    "many deep keys": "[array]\n" + "".join("a." * 400 + f"a{i} = 1\n" for i in range(79)),
    "huge integer": "x = " + "9" * 20_000,
    "too large": "#" * 70_000,
    "surrogate": "name = '\ud800'",
    "a path": 'extends = "../tpu-like.toml"',
    "an absolute path": 'extends = "/etc/passwd"',
    "hidden": 'extends = ".x.toml"',
    "not a name": "extends = 3",
    "unknown": 'extends = "nothing.toml"',
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_text_is_refused_in_one_line(case: str) -> None:
    with pytest.raises(TargetError) as caught:
        loads(HOSTILE[case], "x.toml")
    message = str(caught.value)
    assert message.startswith("x.toml: ")
    assert "\n" not in message
    assert len(message) < 300


def test_deep_keys_over_a_base_are_refused(tmp_path: Path) -> None:
    deep = "a." * 490 + "a = 1\n"
    (tmp_path / "base.toml").write_text(deep)
    (tmp_path / "x.toml").write_text('extends = "base.toml"\n' + deep)
    with pytest.raises(TargetError):
        load(tmp_path / "x.toml")


def test_files_that_are_not_text(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(TargetError, match="x.toml: "):
        load(path)
    path.write_bytes(b"#" * 70_000)
    with pytest.raises(TargetError, match="larger than 65536 bytes"):
        load(path)


def test_extends_a_file_beside_over_several_steps(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('extends = "b.toml"\n[array]\nrows = 5')
    (tmp_path / "b.toml").write_text('extends = "tpu-like"\n[array]\nrows = 4\ncols = 3')
    target = load(tmp_path / "a.toml")
    assert (target.array.rows, target.array.cols) == (5, 3)
    assert target.memories == load("tpu-like").memories


def test_extends_in_a_circle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('extends = "b.toml"')
    (tmp_path / "b.toml").write_text('extends = "a.toml"')
    with pytest.raises(TargetError, match=r"b.toml: extends: a.toml extends this file$"):
        load(tmp_path / "a.toml")


def test_a_long_chain_is_refused(tmp_path: Path) -> None:
    for i in range(12):
        (tmp_path / f"{i}.toml").write_text(f'extends = "{i + 1}.toml"')
    with pytest.raises(TargetError, match="more than 8 files in a chain"):
        load(tmp_path / "0.toml")


def test_another_dataflow_replaces_the_array() -> None:
    odd = load(HERE / "odd-systolic-13x7.toml")
    assert isinstance(odd, Target)
    assert odd.dataflow == "weight_stationary"
    assert odd.memory_for("psum").name == "acc"
    assert odd.memory_for("weight").name == "spad"
