"""Running commands in this process just as the installed script does, and a tokenizer without a model."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from engines.conftest import endpoint

from zerosearch.cli import main
from zerosearch.files.jsonl import write_jsonl

__all__ = ["endpoint"]  # a fixture of the engines' tests: a server on loopback

Run = Callable[..., "Result"]


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """What went wrong, which is one line and never a traceback."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.out
        return lines[0]


@pytest.fixture
def zerosearch(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """`zerosearch("check", "a.toml", stdin="...")`, with the environment put back afterwards."""
    before, handlers = dict(os.environ), list(logging.getLogger("zerosearch").handlers)

    def run(*args: str, stdin: str = "") -> Result:
        monkeypatch.setattr(sys, "argv", ["zerosearch", *args])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    yield run
    logging.getLogger("zerosearch").handlers[:] = handlers
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def spawn() -> Run:
    """The same in a process of its own; keywords are environment variables."""

    def run(*args: str, stdin: str = "", **environment: str) -> Result:
        command = [sys.executable, "-m", "zerosearch", *args]
        env = {**os.environ, **environment}
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120, env=env, check=False)
        return Result(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def tokenizer_folder(tiny_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model whose weights nobody can read: `check` looks whether they are there, and no further."""
    folder = tmp_path_factory.mktemp("model")
    tiny_tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "model.safetensors").touch()
    return folder


@pytest.fixture
def questions_file(tmp_path: Path) -> Path:
    rows = [
        {"id": "n", "question": "Capital of Nepal?", "golden_answers": ["Kathmandu", "Katmandu"]},
        {"id": "p", "question": "Capital of Peru?", "golden_answers": ["Lima"], "source": "atlas"},
    ]
    path = tmp_path / "questions.jsonl"
    write_jsonl(path, rows)
    return path
