"""Configurations by name: a file of that name wins, an unknown name lists the known ones, a copy is one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from zerosearch.config_file import load_config, names, summary
from zerosearch.errors import ConfigError


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_ships_is_found_by_name_from_any_folder() -> None:
    assert {"demo", "demo-gpu", "make-simulator", "paper-qwen2.5-3b", "preset:search-r1"} <= set(names())
    for name in names():
        assert load_config(name).name == name.removeprefix("preset:")
        assert 20 < len(summary(name)) < 160


def test_a_file_of_that_name_wins_and_a_folder_does_not(place: Path) -> None:
    (place / "demo-gpu").mkdir()
    assert load_config("demo-gpu").name == "demo-gpu"
    (place / "demo").write_text('name = "mine"\n')
    assert load_config("demo").name == "mine"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("demos", r"demos: no such file, and no configuration that ships \(demo, demo-gpu, .*; did you mean demo\?"),
        ("preset:serch-r1", "did you mean preset:search-r1"),
        ("mine.toml", "mine.toml: no such configuration file"),
        ("configs/demo", "configs/demo: no such configuration file"),
    ],
)
def test_an_unknown_name_is_answered_with_the_known_ones(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config(name)


def test_init_writes_a_copy_that_names_its_own_runs(place: Path) -> None:
    from zerosearch.config_file import copy

    copy("preset:search-r1", place / "mine.toml")
    mine, theirs = load_config("mine.toml"), load_config("preset:search-r1")
    assert mine.name == "mine"
    assert mine.model_copy(update={"name": theirs.name}) == theirs
    for name, to in (("demo", "mine.toml"), ("mine.toml", "other.toml"), ("dem", "other.toml"), ("demo", ".toml/..")):
        with pytest.raises(ConfigError):
            copy(name, place / to)
    assert [file.name for file in place.iterdir()] == ["mine.toml"]


def test_init_on_the_command_line(place: Path, zerosearch: Any) -> None:
    assert zerosearch("init").out.count("\n") == len(names())
    done = zerosearch("init", "mine.toml", "--from", "demo")
    assert done.code == 0
    assert "next: zerosearch check mine.toml" in done.out
    again = zerosearch("init", "mine.toml")
    assert (again.code, again.line) == (2, "error: mine.toml: is there already; name another file")
    assert "next: zerosearch check 'a b.toml', zerosearch train" in zerosearch("init", "a b.toml").out
    said = zerosearch("init", "preset:r1").line  # a file of that name would hide it, and be a copy of demo
    assert said.endswith("ships with the package; for your copy of it: zerosearch init r1.toml --from preset:r1")
    assert not (place / "preset:r1").exists()
