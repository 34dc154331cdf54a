"""The curves of a run as one PNG."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from zerosearch.errors import first_line
from zerosearch.files.jsonl import atomic_write

_PANELS = (
    ("reward", "reward (training)"),
    ("searches", "searches per episode"),
    ("valid_actions", "valid actions"),
    ("noise", "noise probability"),
    ("policy_tokens", "policy tokens per episode"),
    ("entropy", "entropy (nats per token)"),
)


def draw_run(folder: Path, rows: Sequence[dict[str, Any]], say: Callable[[str], None]) -> None:
    """The curves of a run as `curves.png` of its folder. Where they cannot be drawn, that is said."""
    if not rows:
        return
    try:
        plot_curves(rows, folder / "curves.png", smooth=max(1, len(rows) // 10))
    except Exception as error:  # matplotlib, its fonts and its caches raise what they like
        say(f"curves.png could not be drawn ({first_line(error)}); its numbers are in metrics.jsonl")


def plot_curves(rows: Sequence[dict[str, Any]], path: Path, *, smooth: int = 1) -> None:
    """Draw the metrics `rows` of a run to the PNG `path`; thick lines are means over `smooth` steps."""
    # The canvas itself, and not pyplot: that draws with the backend of the session (MPLBACKEND), which may not be here.
    with _no_backend():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(12, 6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 3)
    for axis, (key, title) in zip(axes.flat, _PANELS, strict=True):
        points = [(row["step"] + 1, row[key]) for row in rows if row.get(key) is not None]
        steps, values = [step for step, _ in points], [value for _, value in points]
        if smooth > 1:
            axis.plot(steps, values, color="C0", alpha=0.25, linewidth=1)
            values = moving_mean(values, smooth)
        axis.plot(steps, values, color="C0", linewidth=1.8)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("step", fontsize=9)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
        axis.margins(x=0.02)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=110)
    atomic_write(path, image.getvalue())


@contextlib.contextmanager
def _no_backend() -> Iterator[None]:
    """MPLBACKEND is checked as matplotlib is imported, whoever draws."""
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        yield
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend


def moving_mean(values: Sequence[float], width: int) -> list[float]:
    """The mean of each value and up to `width - 1` before it."""
    return [sum(values[max(0, i + 1 - width) : i + 1]) / min(i + 1, width) for i in range(len(values))]
