"""The time since the last line, on a terminal: shown, written over, gone at the end; nothing of it in a file."""

from __future__ import annotations

import io
import time
from collections.abc import Callable

import pytest

from scripts.terminal_recording import Screen
from zerosearch.commands.screen import Console
from zerosearch.commands.train import Waiting
from zerosearch.learning.lines import clock


def screen_of(text: str) -> list[str]:
    screen = Screen(60)
    screen.feed(text.replace("\n", "\r\n"))
    return ["".join(char for char, _ in row) for row in screen.shown()]


def terminal(monkeypatch: pytest.MonkeyPatch) -> Console:
    monkeypatch.setenv("TERM", "xterm")
    console = Console()
    console.file = io.StringIO()
    monkeypatch.setattr(type(console), "is_terminal", True)
    return console


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_terminal_shows_the_time_since_the_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    console = terminal(monkeypatch)
    file = console.file
    assert isinstance(file, io.StringIO)
    with Waiting(console, quiet=0.02) as waiting:
        waiting.say("step 1")
        until(lambda: screen_of(file.getvalue()) == ["step 1", "... 0:00"])
        waiting.say("step 2 is a longer line")
        file.write("stopping\n")  # by somebody else
        until(lambda: screen_of(file.getvalue()) == ["step 1", "step 2 is a longer line", "stopping", "... 0:00"])
    assert screen_of(file.getvalue()) == ["step 1", "step 2 is a longer line", "stopping", ""]


def test_soon_after_a_line_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    console = terminal(monkeypatch)
    with Waiting(console, quiet=30) as waiting:
        waiting.say("step 1")
        time.sleep(0.1)
        assert "..." not in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_file_has_the_lines_alone() -> None:
    console = Console()
    console.file = io.StringIO()
    with Waiting(console, quiet=0.02) as waiting:
        waiting.say("step 1")
        time.sleep(0.1)
    assert console.file.getvalue() == "step 1\n"


@pytest.mark.parametrize(("seconds", "said"), [(6.6, "0:07"), (750, "12:30"), (3900, "1:05:00")])
def test_times(seconds: float, said: str) -> None:
    assert clock(seconds) == said
