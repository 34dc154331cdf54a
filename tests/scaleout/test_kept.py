"""A command that is kept: it ends, with all that it started, when the process that wants it ends or says so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

KEPT = [sys.executable, "-m", "zerosearch.scaleout.kept", "sh", "-c", "sleep 1000 & exec sleep 2000"]
WANTS = """
import subprocess, sys, time
kept = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
sys.stdout.buffer.write(kept.stdout.readline())
sys.stdout.flush()
time.sleep(1000)
"""


def group(leader: int) -> list[int]:
    """The processes of a group that are not zombies."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, its = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
        except (OSError, ValueError):
            continue
        if int(its) == leader and state != "Z":
            found.append(int(folder.name))
    return found


def wait_for(number: int, leader: int) -> None:
    """Wait until the group has this number of processes."""
    deadline = time.monotonic() + 30
    while len(group(leader)) != number:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def start(command: list[str] = KEPT) -> tuple[subprocess.Popen[str], int]:
    asked = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert asked.wait(60) == 0  # what keeps the command is nobody's child
    assert asked.stdout is not None
    leader = int(asked.stdout.readline())
    wait_for(2, leader)
    return asked, leader


def test_it_ends_when_the_pipe_is_closed() -> None:
    asked, leader = start()
    status, _ = asked.communicate(timeout=60)  # closes it
    assert int(status) == -signal.SIGTERM
    wait_for(0, leader)


def test_what_a_dead_command_leaves_behind_ends_too() -> None:
    asked, leader = start()
    assert asked.stdout is not None
    os.kill(leader, signal.SIGKILL)
    assert int(asked.stdout.read()) == -signal.SIGKILL
    wait_for(0, leader)


def test_it_ends_when_who_wants_it_is_killed() -> None:
    wants = subprocess.Popen([sys.executable, "-c", WANTS, *KEPT], stdout=subprocess.PIPE, text=True)
    assert wants.stdout is not None
    leader = int(wants.stdout.readline())
    wait_for(2, leader)
    wants.kill()
    wants.wait()
    wait_for(0, leader)
