"""The files of a run: whole or as they were, whatever fails and wherever a kill strikes."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from zerosearch.errors import DataError, RunError
from zerosearch.files.jsonl import append_jsonl, atomic_write, read_object, read_rows, trim_rows, write_json

ROWS: list[dict[str, Any]] = [
    {"step": 0},
    {"step": 1, "é\u2028": 0.1},
    {"step": 2, "r": -1e-300},
]


def full_disk(*_: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A real failure half-way through a write: the kernel refuses to let any file grow beyond `size` bytes."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_is_written_with_its_folders_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "run" / "checkpoints" / "state.bin"
    for data in (b"old", b"", b"new\x00\r\n" * 9):
        atomic_write(path, data)
        assert path.read_bytes() == data
        assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_old_file_is_left_when_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "metrics.json"
    atomic_write(path, b"old")
    monkeypatch.setattr(os, call, full_disk)
    said = r"\.json: could not be written \(No space left on device\)"
    with pytest.raises(RunError, match=f"metrics{said}; what was there before is kept$"):
        atomic_write(path, b"new")
    with pytest.raises(RunError, match=f"other{said}$"):
        atomic_write(tmp_path / "other.json", b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_old_file_is_left_when_a_write_stops_half_way(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    atomic_write(path, b"old")
    with files_of_at_most(1000), pytest.raises(RunError, match="File too large"):
        atomic_write(path, b"new" * 1000)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_data_is_on_the_disk_before_it_takes_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    atomic_write(path, b"old")
    synced: list[int] = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(fd: int) -> None:
        synced.append(os.fstat(fd).st_size)
        real_fsync(fd)

    def replace(source: Path, target: Path) -> None:
        assert synced == [3]  # all of "new", not what happened to be flushed
        assert path.read_bytes() == b"old"
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    atomic_write(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    for path in (
        tmp_path / "file" / "metrics.json",
        tmp_path / "file" / "deeper" / "metrics.json",
        tmp_path / "folder",
    ):
        with pytest.raises(RunError, match=path.name):
            atomic_write(path, b"x")
        with pytest.raises(RunError, match=path.name):
            append_jsonl(path, {"step": 0})
    assert sorted(tmp_path.iterdir()) == [tmp_path / "file", tmp_path / "folder"]
    assert list((tmp_path / "folder").iterdir()) == []


def test_json_is_the_same_bytes_for_the_same_value(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": [1, 0.1], "a": "é"})
    write_json(tmp_path / "b.json", {"a": "é", "b": [1, 0.1]})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"a": "é", "b": [1, 0.1]}


def test_rows_come_back_as_they_were_appended(tmp_path: Path) -> None:
    path = tmp_path / "run" / "metrics.jsonl"
    assert list(read_rows(path)) == []
    for n, row in enumerate(ROWS, start=1):
        append_jsonl(path, row)
        assert list(read_rows(path)) == ROWS[:n]  # on the disk at once, not at the end


def test_half_a_character_does_not_end_a_run(tmp_path: Path) -> None:
    append_jsonl(tmp_path / "m.jsonl", {"title": "cut \ud83d"})
    write_json(tmp_path / "m.json", {"title": "cut \ud83d"})
    assert (
        list(read_rows(tmp_path / "m.jsonl")) == [{"title": "cut ?"}] == [json.loads((tmp_path / "m.json").read_text())]
    )


def test_a_kill_at_any_byte_loses_the_cut_line_only(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for row in ROWS:
        append_jsonl(path, row)
    whole = path.read_bytes()
    for size in range(len(whole) + 1):
        left = (whole[:size] + (b"\n" if whole[size - 1 : size] == b"}" else b"")).count(b"\n")  # only its end lacks
        path.write_bytes(whole[:size])
        assert list(read_rows(path)) == ROWS[:left]
        append_jsonl(path, {"step": 9})  # the next line is not glued to half a one
        assert list(read_rows(path)) == [*ROWS[:left], {"step": 9}]
        path.write_bytes(whole[:size])
        trim_rows(path, keep_below=9)
        assert list(read_rows(path)) == ROWS[:left]


def test_trimming_takes_out_what_will_be_written_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    trim_rows(path, keep_below=1)
    assert not path.exists()
    for row in (*ROWS, ROWS[1]):
        append_jsonl(path, row)
    first = path.read_bytes().split(b"\n")[0] + b"\n"
    trim_rows(path, keep_below=1)
    assert path.read_bytes() == first  # to the byte
    trim_rows(path, keep_below=0)
    assert path.read_bytes() == b""


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs /dev/full")
def test_appending_to_a_full_disk_stops_the_run(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.symlink_to("/dev/full")
    with pytest.raises(RunError, match=r"metrics\.jsonl: could not be written \(No space left on device\)"):
        append_jsonl(path, ROWS[0])


def test_a_line_cut_off_by_a_full_disk_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    append_jsonl(path, ROWS[0])
    with files_of_at_most(path.stat().st_size + 10), pytest.raises(RunError, match="File too large"):
        append_jsonl(path, ROWS[1])
    assert list(read_rows(path)) == ROWS[:1]
    append_jsonl(path, ROWS[1])
    assert list(read_rows(path)) == ROWS[:2]


def test_what_was_not_written_here_is_not_thrown_away(tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    for text in ("my notes", '{"a": 1}\nmy notes'):
        path.write_text(text)
        with pytest.raises(DataError, match="its last line was not written by this command"):
            append_jsonl(path, ROWS[0])
        assert path.read_text() == text
    path.write_bytes(b'{"a": 1}\n\0\0\0')  # a power cut
    append_jsonl(path, ROWS[0])
    assert list(read_rows(path)) == [{"a": 1}, ROWS[0]]


ODD = {"null": "not an object", "[1]": "not an object", "": "not valid JSON", "[" * 200_000: "nested too deeply",
       '{"a": ' + "9" * 6_000 + "}": "a number of thousands of digits", "\x7b\x22": "not valid JSON"}  # fmt: skip


@pytest.mark.parametrize("text", ODD)
def test_a_file_of_another_shape_is_one_line_that_names_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "collect.json"
    path.write_text(text)
    with pytest.raises(DataError, match=ODD[text]) as caught:
        read_object(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_file_that_cannot_be_read_is_one_line_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "latin").write_bytes(b'{"a": "\xe9"}\n')
    for name, said in (
        ("folder", "is a folder"),
        ("loop", "symbolic links"),
        ("latin", "not UTF-8 at byte 7"),
    ):
        for read in (read_object, lambda path: list(read_rows(path))):
            with pytest.raises(DataError, match=rf"{name}.*{said}"):
                read(tmp_path / name)
    with pytest.raises(DataError, match="no such file"):
        read_object(tmp_path / "nothing")


@pytest.mark.parametrize("damage", [b'{"step": 1, "lo{"step": 2}\n', b"\x00\x00\n", b'"\xff"\n'])
def test_damage_that_no_kill_makes_is_named(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    append_jsonl(path, ROWS[0])
    path.write_bytes(path.read_bytes() + damage)
    rows = read_rows(path)
    assert next(rows) == ROWS[0]
    with pytest.raises(DataError, match=r"metrics\.jsonl:2: not valid JSON"):
        next(rows)


def test_a_first_line_that_is_no_json_is_another_kind_of_file(tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_text("dear diary\n")
    with pytest.raises(DataError, match="is this the file that was meant"):
        list(read_rows(path))
    path.write_text('{"a": 1}\ndear diary\n')
    with pytest.raises(DataError, match=f"^{path}:2: .*; remove this line to go on"):
        list(read_rows(path))
