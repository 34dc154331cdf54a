"""The picture of a run: drawn from what rows there are, and with nothing made up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
from matplotlib.figure import Figure

from zerosearch.learning.curves import moving_mean, plot_curves


def row(step: int, **changes: Any) -> dict[str, Any]:
    values = {"step": step, "reward": step / 10, "searches": 1.0, "valid_actions": 1.0, "noise": 0.1 * step}
    return values | {"policy_tokens": 9.0, "entropy": 2.0} | changes


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """What each panel shows when the figure is saved: title -> lines of (steps, values)."""
    panels: dict[str, list[Any]] = {}
    save = Figure.savefig

    def keep(self: Any, *args: Any, **options: Any) -> None:
        for axis in self.axes:
            panels[axis.get_title()] = [(list(x.get_xdata()), list(x.get_ydata())) for x in axis.get_lines()]
        save(self, *args, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return panels


def test_a_run_becomes_a_png_and_no_figure_stays_open(tmp_path: Path) -> None:
    before = plt.get_fignums()
    plot_curves([row(step) for step in range(5)], tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert plt.get_fignums() == before


def test_every_panel_shows_its_rows_counted_from_1(tmp_path: Path, drawn: dict[str, list[Any]]) -> None:
    plot_curves([row(step) for step in range(3)], tmp_path / "a.png")
    assert len(drawn) == 6
    assert drawn["reward (training)"] == [([1, 2, 3], [0.0, 0.1, 0.2])]
    assert all(len(lines) == 1 for lines in drawn.values())


def test_what_a_row_does_not_hold_is_left_out(tmp_path: Path, drawn: dict[str, list[Any]]) -> None:
    """A real engine has no noise; a batch without any valid row has no entropy."""
    rows = [row(0, noise=None), row(1, noise=None), row(2, noise=None)]
    del rows[1]["entropy"]
    plot_curves(rows, tmp_path / "a.png")
    assert drawn["noise probability"] == [([], [])]
    assert drawn["entropy (nats per token)"] == [([1, 3], [2.0, 2.0])]


@pytest.mark.parametrize("rows", [[], [row(0)]])
def test_no_step_and_one_step_can_be_drawn(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    plot_curves(rows, tmp_path / "a.png", smooth=3)
    assert (tmp_path / "a.png").is_file()


def test_a_smooth_line_lies_over_the_raw_one(tmp_path: Path, drawn: dict[str, list[Any]]) -> None:
    plot_curves([row(step) for step in range(4)], tmp_path / "a.png", smooth=2)
    raw, smooth = drawn["reward (training)"]
    assert raw[1] == [0.0, 0.1, 0.2, 0.3]
    assert smooth[1] == pytest.approx([0.0, 0.05, 0.15, 0.25])


def test_a_moving_mean_looks_back_only() -> None:
    assert moving_mean([1.0, 2.0, 3.0, 10.0], 2) == [1.0, 1.5, 2.5, 6.5]
    assert moving_mean([1.0, 2.0], 9) == [1.0, 1.5]
    assert moving_mean([4.0, 2.0], 1) == [4.0, 2.0]
    assert moving_mean([], 3) == []


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "no-such-backend"])
def test_the_backend_of_the_session_does_not_matter(tmp_path: Path, backend: str) -> None:
    """As in a notebook, where MPLBACKEND names one that this environment does not have."""
    code = (
        "from pathlib import Path; from zerosearch.learning.curves import plot_curves\n"
        f"plot_curves([{{'step': 0, 'reward': 0.5}}], Path({str(tmp_path / 'a.png')!r}))"
    )
    env = {**os.environ, "MPLBACKEND": backend}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_steps_are_whole_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks: list[float] = []
    save = Figure.savefig

    def keep(self: Any, *args: Any, **options: Any) -> None:
        save(self, *args, **options)
        ticks.extend(float(tick) for axis in self.axes for tick in axis.get_xticks())

    monkeypatch.setattr(Figure, "savefig", keep)
    plot_curves([row(0), row(1)], tmp_path / "curves.png")
    assert ticks
    assert all(tick.is_integer() for tick in ticks)
