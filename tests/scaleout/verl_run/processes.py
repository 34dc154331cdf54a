"""Processes that a test waits for."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

import psutil


def wait_until(true: Callable[[], bool], of: subprocess.Popen[str] | None = None, seconds: float = 900.0) -> None:
    """Raises `AssertionError` where it takes too long, or the process `of` ends before."""
    deadline = time.monotonic() + seconds
    while not true():
        assert of is None or of.poll() is None, f"the process ended before, with status {of and of.returncode}"
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.1)


def gone(processes: list[int]) -> bool:
    """Whether none of them lives."""
    return not any(psutil.pid_exists(one) and psutil.Process(one).status() != "zombie" for one in processes)
