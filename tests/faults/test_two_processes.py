"""Two processes that write to one folder at once: one works, the other is refused with a line, nothing is mixed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from faults.work import LABELLED, WORK, Work, begin, clear, finish, left_over, make_base, make_context


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    return make_base(tmp_path_factory.mktemp("two"), model=bool(request.config.getoption("--faults")))


@pytest.fixture(scope="module")
def context(request: pytest.FixtureRequest) -> Any:
    return make_context(model=bool(request.config.getoption("--faults")))


@pytest.mark.parametrize("work", WORK, ids=[work.name for work in WORK])
def test_two_at_once(work: Work, base: Path, context: Any, tally: Any, tries: Any, tmp_path: Path) -> None:
    times = tries(3, 1 if work.name in ("record", "label") else 0)
    if not times:
        return
    place = tmp_path / "place"
    shutil.copytree(base, place)
    if work.name == "tune":
        finish(context, LABELLED, place)
    finish(context, work, place)
    whole = work.read(place)
    for n in range(times):
        with tally("two processes, one folder", f"{work.name} {n}"):
            clear(place)
            both = [begin(context, work, place) for _ in range(2)]
            for process in both:
                process.join(240)
            codes = sorted(process.exitcode for process in both)
            log = (place / "log.txt").read_text()
            assert codes in ([0, 2], [0, 0]), log[-3000:]  # [0, 0]: the second came when the first was done
            assert ("is writing here" in log) == (codes == [0, 2]), log[-3000:]
            assert "Traceback" not in log
            assert work.read(place) == whole
            assert left_over(place) == []
