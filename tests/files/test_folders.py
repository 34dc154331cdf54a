"""Folders that a command writes: one owner, nothing foreign overwritten, and one whole copy after a kill anywhere."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from zerosearch.errors import FolderError, RunError
from zerosearch.files.folders import ADAPTER_FILES, check_folder, owned, replacing, restore, scratch, unwritten

FILES = ("a.json", "b.bin")
REPLACE_FOR_EVER = """
import sys
from pathlib import Path
from zerosearch.files.folders import replacing
folder = Path(sys.argv[1])
for n in range(100_000):
    with replacing(folder, ("a.json", "b.bin")) as work:
        (work / "a.json").write_text(str(n))
        (work / "b.bin").write_text(str(n))
    print(n, flush=True)
"""
HOLD = """
import sys
from pathlib import Path
from zerosearch.files.folders import owned
with owned(Path(sys.argv[1]), "train"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def child(code: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process of its own, past its first line of output."""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def write(folder: Path, text: str) -> None:
    with replacing(folder, FILES) as work:
        for name in FILES:
            (work / name).write_text(text)


def read(folder: Path) -> set[str]:
    return {(folder / name).read_text() for name in FILES}


def test_a_folder_is_made_replaced_and_kept_where_the_new_one_fails(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "out"
    write(folder, "old")
    write(folder, "new")
    assert read(folder) == {"new"}
    with pytest.raises(TypeError), replacing(folder, FILES) as work:
        (work / "a.json").write_text(7)  # type: ignore[arg-type]
    kept = r"No space left on device\); what was there before is kept"
    with pytest.raises(RunError, match=kept), replacing(folder, FILES):
        Path("/dev/full").write_text("new")
    assert read(folder) == {"new"}
    assert [p.name for p in folder.parent.iterdir()] == ["out"]


def test_files_get_the_mode_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "out", FILES) as work:
            (work / "a.json").touch(0o600)  # as safetensors makes them
    finally:
        os.umask(before)
    assert (tmp_path / "out" / "a.json").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("name", ["notes.txt", ".git", "thesis/chapter.tex", "adapter_config.json/x"])
def test_a_folder_with_other_contents_is_refused_and_left_as_it_is(tmp_path: Path, name: str) -> None:
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(FolderError, match="which this command did not make; name another folder"):
        check_folder(tmp_path / "out", ADAPTER_FILES)
    with pytest.raises(FolderError), replacing(tmp_path / "out", FILES):
        pass
    assert path.read_text() == "mine"


def test_what_is_no_folder_of_its_own_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.chdir(tmp_path / "empty")
    for path, said in (
        (tmp_path / "file", "is a file"),
        (tmp_path / "loop", "symbolic link"),
        (Path("."), "the folder you are in"),
        (tmp_path, "the folder you are in"),
        (Path("/proc"), "the folder|mounted disk"),
    ):
        with pytest.raises(FolderError, match=said):
            check_folder(path, FILES)
    monkeypatch.chdir(Path(__file__).parent)
    with pytest.raises(FolderError, match="symbolic link"):
        check_folder(tmp_path / "link", FILES)
    check_folder(tmp_path / "empty", FILES)
    check_folder(tmp_path / "new", FILES)


def test_what_was_put_into_the_folder_meanwhile_is_set_aside(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    write(folder, "old")
    with replacing(folder, FILES) as work:
        (work / "a.json").write_text("new")
        (folder / "notes.txt").write_text("mine")
    assert [p.name for p in folder.iterdir()] == ["a.json"]
    assert (tmp_path / "out.old-1" / "notes.txt").read_text() == "mine"


def test_a_kill_at_any_moment_leaves_one_whole_folder(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    for wait in range(5):
        with child(REPLACE_FOR_EVER, folder) as process:
            time.sleep(0.003 * wait)
            process.send_signal(signal.SIGKILL)
            process.wait()
        restore(folder)
        assert len(read(folder)) == 1
        with owned(folder, "tune"):
            pass
        write(folder, "again")
        assert read(folder) == {"again"}
        assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_second_process_is_refused_and_a_kill_lets_go(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "demo"
    with child(HOLD, folder) as process:
        with pytest.raises(FolderError) as caught, owned(tmp_path / "runs" / "x" / ".." / "demo", "evaluate"):
            pass
        assert f"zerosearch train (process {process.pid} on {socket.gethostname()}) is writing here" in str(
            caught.value
        )
        with owned(tmp_path / "runs" / "other", "train"):
            pass
        process.kill()
        process.wait()
        assert (folder.parent / ".demo.lock").exists()
        with owned(folder, "train"):
            pass
    assert list(folder.parent.iterdir()) == []


def test_the_folders_made_for_a_lock_go_with_it(tmp_path: Path) -> None:
    with owned(tmp_path / "a" / "b" / "c", "train"):
        assert (tmp_path / "a" / "b" / ".c.lock").exists()
    assert list(tmp_path.iterdir()) == []


def test_another_hosts_lock_is_refused_with_a_way_out(tmp_path: Path) -> None:
    lock = tmp_path / ".out.lock"
    lock.write_text(json.dumps({"command": "train", "host": "elsewhere", "pid": 7}))
    with pytest.raises(FolderError, match=rf"process 7 on elsewhere.*remove {lock}"), owned(tmp_path / "out", "train"):
        pass
    for stale in ("", "{", "[" * 10_000, json.dumps({"host": socket.gethostname(), "pid": 2**22 + 1})):
        lock.write_text(stale)
        with owned(tmp_path / "out", "train"):
            pass
        assert not lock.exists()


def test_what_a_killed_process_left_half_written_is_swept_and_nothing_else(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    out = tmp_path / "out"
    (out / "evaluations").mkdir(parents=True)
    stale = [out / f".cost.json.partial-{gone.pid}", out / "evaluations" / f".x.json.partial-{gone.pid}"]
    stale += [tmp_path / f".out.partial-{gone.pid}", tmp_path / f".out.unfinished.partial-{gone.pid}"]
    kept = [out / f".x.partial-{os.getppid()}", out / f"mine.partial-{gone.pid}", out / ".x.partial-old"]
    kept += [tmp_path / f".other.partial-{gone.pid}"]
    for path in stale + kept:
        path.write_text("x")
    with owned(out, "train"):
        assert not any(path.exists() for path in stale)
        assert all(path.exists() for path in kept)


def test_a_scratch_folder_goes_and_takes_those_of_killed_processes_with_it(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    old = tmp_path / f".index.{socket.gethostname()}.partial-{gone.pid}"
    other = tmp_path / f".index.elsewhere.partial-{gone.pid}"
    for path in (old, other):
        path.mkdir()
    with scratch(tmp_path, "index") as work:
        assert work.is_dir()
        assert not old.exists()
    assert list(tmp_path.iterdir()) == [other]


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "out", tmp_path / ("x" * 300), Path("/proc/nothing/out")):
        with pytest.raises(RunError, match="could not be written"), owned(path, "train"):
            pass


def test_a_full_disk_is_told_whatever_torch_makes_of_it() -> None:
    def write() -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        finally:
            raise RuntimeError("basic_ios::clear: iostream error")

    with pytest.raises(RuntimeError) as raised:
        write()
    assert unwritten(raised.value) == "No space left on device"
    assert unwritten(RuntimeError("shapes do not fit")) is None


def test_a_folder_may_be_named_by_a_dot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    restore(Path("."))
    assert (tmp_path / "here").is_dir()
