"""Too little of everything: disk, open files, length of names. One line, what was there is kept, and with room again
the same command goes on to the numbers of an undisturbed one."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from faults.work import LABELLED, WORK, Work, begin, clear, finish, left_over, make_base, make_context


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    return make_base(tmp_path_factory.mktemp("resources"), model=bool(request.config.getoption("--faults")))


@pytest.fixture(scope="module")
def context(request: pytest.FixtureRequest) -> Any:
    return make_context(model=bool(request.config.getoption("--faults")))


@contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[None]:
    """A file system of `kib` KiB at `folder`. Skips where only an administrator may mount one."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield
    finally:
        deadline = time.monotonic() + 60  # a killed process may hold it for a moment
        while subprocess.run(["umount", str(folder)], capture_output=True, check=False).returncode:
            assert time.monotonic() < deadline, f"{folder} stays in use"
            time.sleep(0.2)


@pytest.mark.parametrize("work", WORK, ids=[work.name for work in WORK])
def test_a_full_disk(work: Work, base: Path, context: Any, tally: Any, tries: Any, tmp_path: Path) -> None:
    sizes = (4, 12, 24, 40, 80, 160, 320, 640)[: tries(8, 2 if work.name in ("record", "label") else 0)]
    if not sizes or os.name != "posix":
        return
    place = tmp_path / "place"
    shutil.copytree(base, place)
    if work.name == "tune":
        finish(context, LABELLED, place)
    finish(context, work, place)
    whole = work.read(place)
    clear(place)
    for size in sizes:
        with tally("full disk", f"{work.name}, {size} KiB"), small_disk(place / "disk", size):
            process = begin(context, work, place)
            process.join(240)
            log = (place / "log.txt").read_text()
            if process.exitcode:
                assert log.count("error:") == 1, log[-3000:]
                assert "No space left on device" in log, log[-3000:]
            assert "Traceback" not in log, log[-3000:]
            assert left_over(place) == []
            subprocess.run(["mount", "-o", "remount,size=16m", str(place / "disk")], check=True)
            finish(context, work, place)
            assert work.read(place) == whole
        (place / "log.txt").unlink(missing_ok=True)


@pytest.mark.parametrize("work", WORK, ids=[work.name for work in WORK])
def test_few_file_handles(work: Work, base: Path, context: Any, tally: Any, tries: Any, tmp_path: Path) -> None:
    limits = (16, 24)[: tries(2, 2 if work.name in ("record", "label") else 0)]
    if not limits or os.name != "posix":
        return
    place = tmp_path / "place"
    shutil.copytree(base, place)
    if work.name == "tune":
        finish(context, LABELLED, place)
    finish(context, work, place)
    whole = work.read(place)
    for handles in limits:
        with tally("few file handles", f"{work.name}, {handles}"):
            clear(place)
            process = begin(context, work, place, handles)
            process.join(240)
            log = (place / "log.txt").read_text()
            if process.exitcode:
                assert log.count("error:") == 1, log[-3000:]
                assert "Too many open files" in log, log[-3000:]
            assert "Traceback" not in log, log[-3000:]
            assert left_over(place) == []
            finish(context, work, place)
            assert work.read(place) == whole


@pytest.mark.parametrize("work", WORK, ids=[work.name for work in WORK])
def test_names_that_are_too_long_and_places_that_cannot_be_written(
    work: Work, base: Path, context: Any, tally: Any, tries: Any, tmp_path: Path
) -> None:
    if not tries(1, work.name in ("record", "label")):
        return
    place = tmp_path / "place"
    shutil.copytree(base, place)
    if work.name == "tune":
        finish(context, LABELLED, place)
    for target in ("disk/" + "x" * 300, "/proc/nothing", "config.toml/below", "/dev/null/below"):
        with tally("places that cannot be written", f"{work.name}, {target[:20]}"):
            arguments = [argument.replace("disk", target, 1) for argument in work.arguments]
            process = begin(context, Work(work.name, tuple(arguments), work.read, 0), place)
            process.join(240)
            log = (place / "log.txt").read_text()
            (place / "log.txt").unlink()
            assert process.exitcode in (2, 3), log[-3000:]
            assert log.count("error:") == 1, log[-3000:]
            assert "Traceback" not in log
            assert list((place / "disk").iterdir()) == []
