"""Mappings of earlier compilations: the same bytes, whatever the file holds."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

import dnncc
from dnncc import targets
from dnncc.cli import main
from dnncc.isa import elf
from dnncc.mapping import cache as caches
from dnncc.mapping.cache import Cache, folder, hashed, line, open_cache, read
from dnncc.mapping.given import ANY
from dnncc.mapping.mapping import Priced
from dnncc.mapping.search import options_of, to_mapping
from dnncc.mapping.space import sizes_of
from dnncc.passes import choose_mapping as choosing
from tests.compiler.mapping.exhaustive import Space
from tests.compiler.mapping.test_bound import layers
from tests.compiler.networks import small_network

TARGET = "eyeriss-like"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("DNNCC_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "dnncc"


def compiled(**options: Any) -> bytes:
    return elf.write(dnncc.compile(small_network(), TARGET, **options).image)


def the_file(home: Path) -> Path:
    (path,) = home.iterdir()
    return path


def no_search(goal: str, problem: Any, limit: int) -> Any:
    raise AssertionError("searched")


def test_a_second_compilation_searches_nothing_and_makes_the_same_bytes(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = compiled(cache=False)
    assert not home.exists()
    assert compiled() == expected
    monkeypatch.setattr(choosing, "searching_for", no_search)
    assert compiled() == expected


def test_other_targets_efforts_and_given_mappings_have_their_own(home: Path) -> None:
    compiled()
    compiled(level=3)
    compiled(opt_for="energy")
    dnncc.compile(small_network(), "tpu-like")
    assert len(list(home.iterdir())) == 4
    before = the_file_of(home, "tpu-like").read_bytes()
    dnncc.compile(small_network(), "tpu-like", mapping={"N_b_y": {"steps": {"k": 4}}})
    assert the_file_of(home, "tpu-like").read_bytes() == before


def the_file_of(home: Path, target: str) -> Path:
    path = open_cache(home, targets.load(target), 2).path
    assert path is not None
    return path


@pytest.mark.parametrize("target", [n for n in targets.names() if n != "eyeriss-jssc17"])
def test_whatever_the_search_may_choose_is_found_again(target: str, tmp_path: Path) -> None:
    problem = Space(layers([(24, 8, 3, 1)], 6), target).problem
    kept = Cache(tmp_path / "mappings.txt")
    steps = {v: sizes_of(problem.load, ANY, v, problem.fill)[-1] for v in problem.load.dims}
    for way in options_of(problem):
        chosen = Priced(to_mapping(problem, way, steps), 7)
        kept.add(problem, chosen)
        assert kept.find(problem) == chosen


HOSTILE = (
    "",
    "null",
    "[]",
    "[" * 900,
    "{}",
    '{"choice": 0, "steps": {}}',
    '{"choice": -1, "steps": STEPS}',
    '{"choice": 10000, "steps": STEPS}',
    '{"choice": true, "steps": STEPS}',
    '{"choice": 1e99, "steps": STEPS}',
    '{"choice": 0, "steps": HUGE}',
    '{"choice": 0, "steps": ZERO}',
    '{"choice": 0, "steps": TEXT}',
    '{"choice": 0, "steps": [1, 2]}',
)


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_no_candidate_is_searched_again(home: Path, text: str) -> None:
    expected = compiled()
    path = the_file(home)
    lines = dict(read(path))
    hostile = {name: replaced(text, json.loads(old)["steps"]) for name, old in lines.items()}
    path.write_text("".join(line(name, new) for name, new in hostile.items()))
    assert compiled() == expected
    assert dict(read(path)) == lines


def replaced(text: str, steps: dict[str, int]) -> str:
    for word, value in (("HUGE", 1 << 70), ("ZERO", 0), ("TEXT", "1")):
        text = text.replace(word, json.dumps(dict.fromkeys(steps, value)))
    return text.replace("STEPS", json.dumps(steps))


def damaged(data: bytes) -> list[bytes]:
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    return [b"", data[: len(data) // 2], bytes(flipped), os.urandom(4096), b"\xff" * 99, data * 2]


def test_damaged_files_are_mended(home: Path) -> None:
    expected = compiled()
    path = the_file(home)
    whole = dict(read(path))
    for data in damaged(path.read_bytes()):
        path.write_bytes(data)
        assert compiled() == expected
        assert dict(read(path)) == whole


def test_a_folder_that_cannot_be_used_does_no_harm(home: Path) -> None:
    expected = compiled(cache=False)
    home.write_text("a file")
    assert compiled() == expected
    home.unlink()
    the_file_of(home, TARGET).mkdir(parents=True)
    assert compiled() == expected


def test_a_pipe_is_not_waited_for(home: Path) -> None:
    home.mkdir()
    os.mkfifo(the_file_of(home, TARGET))
    assert compiled() == compiled(cache=False)


def test_what_two_add_at_once_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "mappings-x.txt"
    one, two = Cache(path, {hashed("a"): "1"}, True), Cache(path, {hashed("b"): "2"}, True)
    one.save()
    two.save()
    assert dict(read(path)) == {hashed("a"): "1", hashed("b"): "2"}
    assert list(tmp_path.iterdir()) == [path]


def test_the_oldest_files_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches, "MOST_FILES", 2)
    for number in range(4):
        Cache(path := tmp_path / f"mappings-{number}.txt", {"a": "1"}, True).save()
        os.utime(path, (number, number))
    Cache(tmp_path / "mappings-5.txt", {"a": "1"}, True).save()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mappings-3.txt", "mappings-5.txt"]


def test_where_it_is() -> None:
    assert folder({"XDG_CACHE_HOME": "/c", "HOME": "/h"}) == Path("/c/dnncc")
    assert folder({"HOME": "/h"}) == Path("/h/.cache/dnncc")
    assert folder({"XDG_CACHE_HOME": "relative", "HOME": "/h"}) == Path("/h/.cache/dnncc")
    assert folder({}) is None
    assert folder({"HOME": "/h", "DNNCC_CACHE": "off"}) is None


def test_the_command_can_do_without(home: Path, tmp_path: Path) -> None:
    model = tmp_path / "net.onnx"
    model.write_bytes(small_network().SerializeToString())
    assert main([str(model), "-o", str(tmp_path / "a.elf"), "--no-cache"]) == 0
    assert not home.exists()
    assert main([str(model), "-o", str(tmp_path / "b.elf")]) == 0
    assert home.exists()
    assert (tmp_path / "a.elf").read_bytes() == (tmp_path / "b.elf").read_bytes()
