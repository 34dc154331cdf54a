"""However a command ends, it ends in one line and a status: closed streams, signals, what is not installed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from zerosearch.process.foreign_errors import as_line


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which `zs` is the command."""
    zs = f'zs() {{ "{sys.executable}" -m zerosearch "$@"; }}\n'
    env = {**os.environ, **environment}
    return subprocess.run(["bash", "-c", zs + line], capture_output=True, text=True, timeout=120, env=env, check=False)


@pytest.mark.parametrize(
    ("line", "code", "error"),
    [
        ("zs cost > /dev/full", 1, "error: standard output: No space left on device\n"),
        ("zs cost --json > /dev/full", 1, "error: standard output: No space left on device\n"),
        ("zs cost >&-", 0, ""),
        ("zs cost 2>&- >/dev/null", 0, ""),
        ("zs train no-such.toml 2>/dev/full", 2, ""),
        ("zs ask 0<&-", 2, "error: no question: give one as the argument, or one a line on standard input\n"),
        ("zs check --file - 0<&-", 2, "error: standard input: holds no episode, the text is empty\n"),
    ],
)
def test_streams_that_are_full_or_closed(line: str, code: int, error: str) -> None:
    done = shell(line)
    assert (done.returncode, done.stderr) == (code, error)


def test_a_reader_that_leaves_ends_a_command_in_silence() -> None:
    done = shell("(zs data --help; zs cost; echo $? >&2) | true")
    assert done.stderr == "141\n"


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_letters_that_an_encoding_lacks_are_replaced(encoding: str, tmp_path: Path) -> None:
    question = {"id": "1", "question": "Kde se narodil Dvořák → (město)?", "golden_answers": ["Nelahozeves"]}
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps(question), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "zerosearch", "data", str(path)],
        capture_output=True,
        timeout=60,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        check=True,
    )
    assert done.stderr == b""
    assert "Kde se narodil Dvořák → (město)?".encode(encoding, "replace") in done.stdout


def test_nothing_that_is_shown_can_command_the_terminal(zerosearch: Any, tmp_path: Path) -> None:
    evil = "Who\x1b]0;owned\x07 is\x1b[2J it\x9b31m?"
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps({"id": "1", "question": evil, "golden_answers": [evil]}))
    shown = zerosearch("data", str(path))
    assert "  Who]0;owned is it?\n" in shown.out  # words that do nothing
    assert not {"\x1b", "\x07", "\x9b"} & set(shown.out)


def test_a_package_that_is_not_installed_is_named_with_the_way_to_it(tmp_path: Path) -> None:
    """As in an installation without the extra: nothing of it can be imported."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Gone:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('torch', 'transformers', 'peft'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Gone())\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    for line in ("zs train --set name=x", "zs ask why", "zs check --text x"):
        done = shell(line, PYTHONPATH=path)
        assert done.returncode in (1, 2), done
        (error,) = done.stderr.splitlines()
        assert error.startswith("error: "), error
        assert "pip install 'zerosearch-rl[train]'" in error


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(13, "Permission denied", "a/b"), "a/b: Permission denied"),
        (OSError(36, "File name too long", "x" * 300), f"{'x' * 80}...: File name too long"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (ModuleNotFoundError("No module named 'faiss'", name="faiss"), "pip install 'zerosearch-rl[dense]'"),
        (ImportError("libcudart.so.12: cannot open", name="torch._C"), "torch is installed, but cannot be used (libcu"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "not in the encoding"),
        (MemoryError(), "out of memory"),
    ],
)
def test_failures_from_outside_are_a_line(error: Exception, line: str) -> None:
    said = as_line(error)
    assert said is not None
    assert line in said
    assert "\n" not in said


def test_a_fault_of_this_package_is_no_line() -> None:
    assert as_line(ValueError("x")) is None
    assert as_line(RecursionError()) is None
    assert as_line(ModuleNotFoundError("No module named 'zerosearch.x'", name="zerosearch.x")) is None


def test_deeply_nested_text_is_told_from_endless_calls() -> None:
    with pytest.raises(RecursionError) as caught:
        json.loads("[" * 100_000)
    assert as_line(caught.value) == "a text is nested too deeply to be read"


WAITING = """
import asyncio, os, sys, time
from zerosearch.process import interrupts
async def wait():
    try:
        print("ready", flush=True)
        if sys.argv[1] == "busy":
            time.sleep(30)
        await asyncio.sleep(30)
    finally:
        print("tidied", flush=True)
with interrupts.listening("all is kept"):
    try:
        asyncio.run(wait())
    except BaseException as error:
        print(type(error).__name__, interrupts.received(), flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_answered_and_the_tasks_end_in_order(number: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, "idle"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, f"tidied\nCancelledError {number}\n")
    assert "(all is kept)" in err


def test_ctrl_c_is_answered_while_the_thread_is_busy_and_a_second_one_quits() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, "busy"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    line = "stopping after this batch (all is kept); press Ctrl-C again to quit now\n"
    assert process.stderr.readline() == line
    while process.poll() is None:  # within .3 s of the first it counts as the same
        process.send_signal(signal.SIGINT)
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
    assert process.returncode == 130
    assert process.stderr.read() == "stopped without waiting\n"


def test_a_command_ends_with_the_signals_status(tmp_path: Path) -> None:
    """`ask` waits for questions on a pipe that nobody closes."""
    process = subprocess.Popen(
        [sys.executable, "-m", "zerosearch", "ask"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    while process.poll() is None:  # from the first import on
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(0.3)
        except subprocess.TimeoutExpired:
            continue
    said = process.stderr.read()
    assert process.returncode in (143, -15)  # -15: before Python had read a line of this package
    assert "Traceback" not in said
