"""SIGKILL at a random moment, again and again, of every command that writes: the results are those of an undisturbed
command to the last digit, and nothing is left over."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from faults.work import LABELLED, WORK, Work, begin, clear, finish, make_base, make_context, names


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    return make_base(tmp_path_factory.mktemp("kills"), model=bool(request.config.getoption("--faults")))


@pytest.fixture(scope="module")
def context(request: pytest.FixtureRequest) -> Any:
    return make_context(model=bool(request.config.getoption("--faults")))


@pytest.mark.parametrize("work", WORK, ids=[work.name for work in WORK])
def test_kills(work: Work, base: Path, context: Any, tally: Any, tries: Any, tmp_path: Path) -> None:
    kills = tries(work.kills, 2 if work.name in ("record", "label") else 0)
    if not kills:
        return
    place = tmp_path / "place"
    shutil.copytree(base, place)
    if work.name == "tune":
        finish(context, LABELLED, place)
    seconds = finish(context, work, place)
    whole = work.read(place)
    made = names(place)
    moments = random.Random(work.name)
    if work.resumes:
        clear(place)
    for kill in range(kills):
        with tally(f"SIGKILL, {work.name}", f"kill {kill}"):
            process = begin(context, work, place)
            process.join(moments.uniform(0, seconds))
            ended = not process.is_alive()
            if not ended:
                os.kill(process.pid, 9)
                process.join()
            if not work.resumes:
                assert work.read(place) == whole  # the older one, or the new one: they are equal
            if ended or kill == kills - 1:
                finish(context, work, place)
                assert work.read(place) == whole
                assert names(place) == made
                if work.resumes:
                    clear(place)
