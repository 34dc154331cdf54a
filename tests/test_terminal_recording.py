"""Recordings of terminals: what a screen shows, and that README's pictures are drawn from what was recorded."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "terminal_recording.py"
PICTURES = {"ask": "zerosearch ask, after the demo", "demo": "make demo, on two CPU cores"}


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True)


def drawn(folder: Path, cast: Path, *options: str) -> str:
    done = run("draw", cast, folder / "out.svg", *options)
    assert done.returncode == 0, done.stderr
    return (folder / "out.svg").read_text(encoding="utf-8")


def shown_at_the_end(picture: str) -> list[str]:
    """The rows that stay, each as its runs of text."""
    groups = ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}g")
    return ["|".join(text.text or "" for text in group) for group in groups if group.get("class") == "s"]


def test_a_command_is_recorded_and_its_last_screen_is_drawn(tmp_path: Path) -> None:
    command = (
        "printf 'one <&> two\\n'; printf ' 1 s'; printf '\\r 2 s\\033[K'; printf '\\r\\033[1;31mdone\\033[0m é│\\n'"
    )
    done = run("record", tmp_path / "x.cast", command, "--columns", "30")
    assert done.returncode == 0, done.stderr
    header = json.loads((tmp_path / "x.cast").read_text(encoding="utf-8").splitlines()[0])
    assert (header["command"], header["width"]) == (command, 30)
    picture = drawn(tmp_path, tmp_path / "x.cast", "--title", "a & b", "--typed", "run it")
    assert shown_at_the_end(picture) == ["$|run it", "one <&> two", "done|é│"]
    assert re.search(r'class="b" style="fill:#ff7b72">done<', picture)


def test_a_command_that_fails_is_no_recording(tmp_path: Path) -> None:
    assert run("record", tmp_path / "x.cast", "exit 3").stderr == "the command ended with 3\n"


def test_a_long_wait_is_cut_and_a_row_stands_until_it_changes(tmp_path: Path) -> None:
    events = [[5.0, "o", "first"], [9.0, "o", "\r\n"], [9.5, "o", "be"], [10.25, "o", "fore"]]
    lines = [{"version": 2, "width": 20, "height": 5, "command": "x"}, *events]
    (tmp_path / "x.cast").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    picture = drawn(tmp_path, tmp_path / "x.cast", "--title", "t", "--longest-wait", "1")
    first, before = (
        float(re.findall(rf"1ms ([\d.]+)s forwards.*>{text}<", picture)[0]) for text in ("first", "before")
    )
    assert before - first == pytest.approx(1 + 0.5 + 0.75)
    ((lasts, since),) = re.findall(r'<g style="animation:on ([\d.]+)s ([\d.]+)s">.*>be<', picture)
    assert float(lasts) == 0.75
    assert float(since) + float(lasts) == pytest.approx(before)


def test_a_sequence_that_is_not_known_is_an_error_and_no_wrong_picture(tmp_path: Path) -> None:
    cast = '{"version": 2, "width": 20, "height": 5, "command": "x"}\n[0.1, "o", "\\u001b[2J"]'
    (tmp_path / "x.cast").write_text(cast, encoding="utf-8")
    assert "ESC[2J is not known here" in run("draw", tmp_path / "x.cast", tmp_path / "x.svg", "--title", "t").stderr


@pytest.mark.parametrize("name", PICTURES)
def test_the_pictures_of_the_readme_are_what_was_recorded(name: str, tmp_path: Path) -> None:
    kept = ROOT / "docs" / "images" / f"{name}.svg"
    assert drawn(tmp_path, kept.with_suffix(".cast"), "--title", PICTURES[name]) == kept.read_text(encoding="utf-8")
    assert kept.stat().st_size < 150_000
    assert "prefers-reduced-motion" in kept.read_text(encoding="utf-8")
