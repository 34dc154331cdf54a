"""The notebook runs: its cells one after the other, in an event loop as in Jupyter, with a demo of four episodes."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parent.parent / "examples" / "quickstart.ipynb"
SMALL = "steps=1 questions_per_step=2 rollouts=2"


def code_cells() -> list[str]:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def shell(command: str) -> None:
    """A line that begins with `!`. `train demo` is made small."""
    command = command.replace("{PYTHON}", sys.executable)
    if " train " in command:
        command += " --set evaluation.limit=2" + "".join(f" --set training.{s}" for s in SMALL.split())
    subprocess.run(command, shell=True, check=True)


async def run_cells(cells: list[str]) -> dict[str, Any]:
    """The names that the cells leave behind. A cell may `await`, as in Jupyter."""
    names: dict[str, Any] = {}
    for number, cell in enumerate(cells):
        if cell.startswith("!"):
            shell(cell.removeprefix("!").strip())
            continue
        code = compile(cell, f"cell {number}", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(code, names)
        if inspect.isawaitable(result):
            await result
    return names


def test_the_notebook_is_small_and_every_cell_is_python_or_a_command() -> None:
    assert NOTEBOOK.stat().st_size < 100_000
    cells = code_cells()
    assert cells
    for cell in cells:
        if not cell.startswith("!{PYTHON} -m zerosearch "):
            compile(cell, "cell", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.slow
def test_the_notebook_runs_from_its_first_cell_to_its_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names = asyncio.run(run_cells(code_cells()))
    assert [len(episodes) for episodes in names["steps"]] == [4]
    assert all(page.documents for page in names["pages"].values())
    printed = capsys.readouterr().out
    assert "step 1: 4 episodes" in printed
    assert printed.count("tokens are the policy's own") == 2
