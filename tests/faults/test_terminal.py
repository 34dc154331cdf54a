"""The terminal's faults, in real processes: signals at any moment, closed and full streams, encodings, no torch."""

from __future__ import annotations

import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from small_run import write_config
from tiny import save_chain

from zerosearch.commands import screen

Tally = Callable[..., AbstractContextManager[None]]
Tries = Callable[[int, int], int]
ZS = f'zs() {{ "{sys.executable}" -m zerosearch "$@"; }}\n'
CHANGES = {
    "name": "run", "protocol.max_turn_tokens": 24, "protocol.max_page_tokens": 60, "protocol.max_context_tokens": 500,
    "training.steps": 500,
}  # fmt: skip
COMMANDS = (
    "train", "data", "models", "check", "doctor", "cost", "evaluate", "collect", "record", "label", "tune",
    "fidelity", "compare", "ask",
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tiny_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that searches, a corpus, questions, and a configuration of many short steps."""
    folder = tmp_path_factory.mktemp("terminal")
    save_chain(tiny_tokenizer, "\n<search>nepal</search>", folder / "model")
    (folder / "corpus.jsonl").write_text('{"id": "1", "title": "Nepal", "text": "Kathmandu is its capital."}\n')
    rows = [{"id": str(n), "question": f"Capital {n}?", "golden_answers": ["kathmandu"]} for n in range(4)]
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_config(folder / "config.toml", CHANGES)
    return folder


def bash(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **environment}
    return subprocess.run(
        ["bash", "-c", ZS + line], capture_output=True, text=True, errors="replace", timeout=120, env=env, check=False
    )


def await_handler(pid: int) -> None:
    """Until Python has come as far as this package, signals are the system's."""
    end, caught = time.monotonic() + 60, 0
    while not caught >> (signal.SIGTERM - 1) & 1 and time.monotonic() < end:
        found = re.search(r"^SigCgt:\s+(\w+)", Path(f"/proc/{pid}/status").read_text(), re.M)
        caught = int(found[1], 16) if found else 0


def test_signals_at_any_moment(tally: Tally, tries: Tries, place: Path) -> None:
    """Whenever it comes it is answered in words, ends the run with its status, and the next run resumes."""
    draw = random.Random(12)
    for n in range(tries(24, 1)):
        number = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)[n % 3]
        moment = draw.uniform(0.0, 12.0) if n else 0.5
        with tally("signals, train", f"{signal.Signals(number).name} after {moment:.1f} s"):
            process = subprocess.Popen(
                [sys.executable, "-m", "zerosearch", "train", str(place / "config.toml")],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=lambda: [signal.signal(s, signal.SIG_DFL) for s in (signal.SIGINT, signal.SIGHUP)],
            )
            try:
                await_handler(process.pid)
                time.sleep(moment)  # any moment will do
                process.send_signal(number)
                out, err = process.communicate(timeout=60)
            finally:
                process.kill()
            assert process.returncode == 128 + number, (process.returncode, out[-500:], err[-500:])
            assert "Traceback" not in err
            assert err.splitlines()[-1] in ("interrupted", f"ended by {signal.Signals(number).name}"), err
            assert not list(place.rglob("*.partial-*"))


@pytest.mark.parametrize("streams", ["> /dev/full", ">&-", "2>&-", "0<&-", "2> /dev/full", "| head -c 1"])
def test_streams(tally: Tally, tries: Tries, streams: str) -> None:
    commands = COMMANDS[: tries(len(COMMANDS), streams == "> /dev/full")]
    for command in commands:
        with tally("streams full, closed or left", f"{command} {streams}"):
            done = bash(f"zs {command} --help {streams}")
            assert "Traceback" not in done.stderr, done.stderr[-800:]
            assert "Exception ignored" not in done.stderr
            assert len(done.stderr.splitlines()) <= 1, done.stderr
            if streams == "> /dev/full":
                assert done.returncode == 1
                assert "No space left on device" in done.stderr


def test_encodings(tally: Tally, tries: Tries, tmp_path: Path) -> None:
    text = "Dvořák → 東京 \x1b[2J\x9b3m 🙂?"
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps({"id": "1", "question": text, "golden_answers": [text]}))
    for encoding in ("cp1252", "ascii", "latin-1", "cp932", "utf-8", "utf-16", "koi8-r", "cp037")[: tries(8, 0)]:
        with tally("encodings", encoding):
            done = subprocess.run(
                [sys.executable, "-m", "zerosearch", "data", str(path)],
                capture_output=True,
                timeout=120,
                env={**os.environ, "PYTHONIOENCODING": encoding},
                check=False,
            )
            assert b"Traceback" not in done.stderr, done.stderr[-500:]
            shown = done.stdout.decode(encoding, "replace")
            assert done.returncode == 0
            assert "Dvo" in shown
            assert not {"\x1b", "\x9b"} & set(shown)


def test_without_torch(tally: Tally, tries: Tries, place: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Gone:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('torch', 'transformers', 'peft', 'accelerate', 'safetensors'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Gone())\n"
    )
    labels = tmp_path / "labels.jsonl"
    labels.write_text("{}\n")
    config, out = place / "config.toml", tmp_path / "out"
    simulated = f"{config} --set engine.kind=simulated --set evaluation.engine.kind=bm25"
    simulated += f" --set evaluation.engine.bm25.corpus={place}/corpus.jsonl"
    for line in (
        f"train {config}",
        f"ask {config} why",
        f"collect {config} --out {out}",
        f"evaluate {config} --out {out}",
        f"fidelity {simulated}",
        f"tune {config} {labels} --out {out}",
    )[: tries(6, 0)]:
        with tally("no torch", line):
            done = bash(f"zs {line}", PYTHONPATH=os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
            assert done.returncode in (1, 2), done
            (error,) = [x for x in done.stderr.splitlines() if x.startswith("error: ")]
            assert "Traceback" not in done.stderr
            assert "pip install 'zerosearch-rl[train]'" in error or line.startswith("tune"), error


def test_foreign_text_never_commands_a_terminal(tally: Tally, tries: Tries, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(4)
    alphabet = [chr(c) for c in (*range(0x20), 0x7F, *range(0x80, 0xA0), 0x202E, 0xD800)] + list("[]0;aé東m?\\J ")
    for _ in range(tries(20_000, 300)):
        text = "".join(draw.choices(alphabet, k=draw.randint(1, 30)))
        with tally("escape codes in foreign text", repr(text)):
            shown = io.StringIO()
            monkeypatch.setattr(sys, "stdout", shown)
            screen.Console().print(text)
            assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown.getvalue())
            assert json.loads(screen.json_text({"text": text})) == {"text": text}
            assert not re.search(r"[\x00-\x1f\x7f-\x9f]", screen.json_text({"text": text}))
