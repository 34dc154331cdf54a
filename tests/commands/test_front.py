"""The front of the command line: help at any width and at once, completion, names that are nearly right."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from importlib import import_module
from typing import Any

import pytest

from zerosearch.commands.listing import KEEPING, SUMMARIES, front_page
from zerosearch.commands.screen import LogLines

LONGEST_WORD = 34  # of help: a choice, or a row of fields, which is not broken


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_first_page_names_every_command_and_fits(width: int) -> None:
    page = front_page(width)
    assert [name for name in SUMMARIES if not re.search(rf"^  {name} +\S", page, re.M)] == []
    assert max(map(len, page.splitlines())) <= min(width, 100)


@pytest.mark.parametrize("name", SUMMARIES)
def test_the_help_of_every_command_fits_and_shows_flags_as_flags(
    name: str, zerosearch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for width in (60, 80, 200):
        monkeypatch.setenv("COLUMNS", str(width))
        shown = zerosearch(name, "-h")
        assert shown.code == 0, shown.err
        assert shown.out.startswith(f"Usage: zerosearch {name} ")
        long = [
            line
            for line in shown.out.splitlines()
            if len(line) > width and len(max(line.split(), key=len)) < LONGEST_WORD
        ]
        assert long == []
        assert not re.search(r"<(bool|int|float|str|path|list)|\b(INTEGER|FLOAT|BOOLEAN|RANGE)\b", shown.out)
    assert zerosearch(name, "--help").out == shown.out


def test_the_listing_is_that_of_the_modules() -> None:
    for name in SUMMARIES:
        assert hasattr(import_module(f"zerosearch.commands.{name}"), name)
    assert set(KEEPING) < set(SUMMARIES)
    assert "fidelity" not in KEEPING  # it writes when everything is measured


def imported(*arguments: str) -> set[str]:
    """The packages that a call of the command loads."""
    code = (
        "import sys; from zerosearch.cli import main\n"
        f"sys.argv = {['zerosearch', *arguments]!r}\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "print({name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(re.findall(r"'(\w+)'", done.stderr))


def test_the_first_page_and_the_help_of_commands_wait_for_nothing() -> None:
    assert not imported("--help") & {"typer", "rich", "pydantic", "numpy", "torch", "httpx"}
    code = "import sys; from zerosearch.commands.app import load; [*map(load, sys.argv[1:])]; print(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *SUMMARIES], capture_output=True, text=True, check=True)
    assert not set(re.findall(r"'(\w+)'", done.stdout)) & {"torch", "transformers", "peft", "datasets"}


def test_a_name_that_is_nearly_right_is_answered_with_the_right_one(zerosearch: Any) -> None:
    refused = zerosearch("trian", "demo")
    assert (refused.code, refused.line) == (
        2,
        "error: no such command: trian; did you mean train? (see zerosearch --help)",
    )
    assert "see zerosearch train --help" in zerosearch("train", "--steps").line
    assert "see zerosearch train --help" in zerosearch("train", "demo", "--set").line


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("show", ""), "RUN|EVALUATION"),
        (("report", "a", ""), "RUN"),
        (("compare", "a", " "), "B"),
        (("cost", "--run="), "--run"),
        (("evaluate", "--out", ""), "--out"),
        (("label", "c.toml", "--recorded", "a", "--recorded", ""), "--recorded"),
        (("ask", "", "Capital of Nepal?"), "CONFIG"),
    ],
    ids=str,
)
def test_an_empty_path_is_not_the_current_folder(zerosearch: Any, words: tuple[str, ...], name: str) -> None:
    refused = zerosearch(*words)
    assert (refused.code, refused.line) == (2, f"error: {name} is empty (is a variable of the shell not set?)")


def test_an_empty_text_is_a_text(zerosearch: Any) -> None:
    assert zerosearch("check", "--text", "").line == "error: --text: holds no episode, the text is empty"
    assert zerosearch("ask", "").line == "error: the question is empty"


@pytest.mark.parametrize(
    ("words", "place", "offered"),
    [("zerosearch co", 1, {"compare", "cost", "collect"}), ("zerosearch train --f", 2, {"--folder", "--fresh"})],
)
def test_a_shell_completes_commands_and_options(words: str, place: int, offered: set[str]) -> None:
    environment = {
        **os.environ, "_ZEROSEARCH_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(place),
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-m", "zerosearch"], capture_output=True, text=True, env=environment)
    assert set(done.stdout.split()) == offered, done.stderr


def test_a_line_of_the_log_is_one_line_in_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    LogLines().emit(logging.LogRecord("zerosearch", logging.WARNING, "", 0, "word " * 200, (), None))
    assert capsys.readouterr().err == "word " * 200 + "\n"
