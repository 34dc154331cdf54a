"""Draw the figures of docs/results as SVG, from the tables and the metrics there.

python scripts/results_figures.py            # writes docs/results/*.svg
python scripts/results_figures.py --check    # exit status 1 where a figure is not what its data say

Plain SVG, so that the same data make the same file on every machine: no font is measured, and no plotting library is
used. Transparent, with mid-grey text: readable on light and on dark pages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from html import escape
from statistics import fmean

import beat_rag_tables
from made_pages import main
from results_tables import RESULTS, report, steps

WIDTH = 600
GREY, FAINT = "#808890", "#80889055"
COLOURS = ("#2f81c7", "#d9822b", "#3a9d5d", "#b05fc0", "#8a6d3b", "#7b8794")
ESTIMATE = re.compile(r"([+-]?\d*\.?\d+) \[(-?\d*\.?\d+), (-?\d*\.?\d+)\]")

Interval = tuple[float, float, float]
"""Value, lower and upper end of its 95 % interval."""


def text(x: float, y: float, words: str, *, anchor: str = "start", colour: str = GREY, size: int = 14) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-size="{size}"'
    return f"<text {place}>{escape(words)}</text>"


def line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width}"/>'


def legend(names: Sequence[str]) -> list[str]:
    parts, x = [], 8.0
    for name, colour in zip(names, COLOURS[: len(names)], strict=True):
        parts += [f'<circle cx="{x:.1f}" cy="13" r="5" fill="{colour}"/>', text(x + 10, 18, name)]
        x += 38 + 7.8 * len(name)
    return parts


def picture(height: float, title: str, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" '
        f'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" role="img">'
    )
    return "\n".join([head, f"<title>{escape(title)}</title>", *parts, "</svg>", ""])


def intervals(
    title: str, unit: str, rows: dict[str, list[Interval | None]], names: Sequence[str], ticks: Sequence[float]
) -> str:
    """Values with their intervals, one row each; `rows[label][i]` belongs to `names[i]`."""
    left, right, step = 18 + 7.3 * max(map(len, rows)), WIDTH - 16.0, 30.0
    top = 36.0 if len(names) > 1 else 8.0
    bottom = top + step * len(rows)

    def at(value: float) -> float:
        return left + (value - ticks[0]) / (ticks[-1] - ticks[0]) * (right - left)

    parts = legend(names) if len(names) > 1 else []
    for tick in ticks:
        parts.append(line(at(tick), top, at(tick), bottom, GREY if tick == 0 else FAINT))
        parts.append(text(at(tick), bottom + 18, f"{tick:g}", anchor="middle"))
    parts.append(text((left + right) / 2, bottom + 38, unit, anchor="middle"))
    for number, (label, values) in enumerate(rows.items()):
        middle = top + step * (number + 0.5)
        parts.append(text(left - 10, middle + 5, label, anchor="end"))
        shown = [(value, colour) for value, colour in zip(values, COLOURS, strict=False) if value is not None]
        for place, ((value, low, high), colour) in enumerate(shown):
            y = middle + (place - (len(shown) - 1) / 2) * 10
            parts.append(line(at(low), y, at(high), y, colour, 2))
            parts.append(f'<circle cx="{at(value):.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')
    return picture(bottom + 46, title, parts)


def curves(title: str, panels: dict[str, tuple[Sequence[float], dict[str, list[float]]]]) -> str:
    """Values by step; a panel is its name with ticks and curves. All panels share names and colours."""
    gap, top, height = 34.0, 62.0, 190.0
    names = list(next(iter(panels.values()))[1])
    parts = legend(names)
    width = (WIDTH - 16 - gap * len(panels)) / len(panels)
    for number, (name, (ticks, series)) in enumerate(panels.items()):
        left = gap + number * (width + gap)
        last = max(len(values) for values in series.values())

        def at(step: int, value: float, left: float = left, last: int = last, ticks: Sequence[float] = ticks) -> str:
            x = left + (step - 1) / (last - 1) * width
            return f"{x:.1f},{top + height * (1 - (value - ticks[0]) / (ticks[-1] - ticks[0])):.1f}"

        parts.append(text(left, top - 14, name))
        for tick in ticks:
            y = float(at(1, tick).partition(",")[2])
            parts += [line(left, y, left + width, y, FAINT), text(left - 6, y + 4, f"{tick:g}", anchor="end", size=12)]
        for step, anchor in ((1, "start"), (last, "end")):
            x = float(at(step, 0).partition(",")[0])
            parts.append(text(x, top + height + 18, f"step {step}", anchor=anchor, size=12))
        for values, colour in zip(series.values(), COLOURS[: len(series)], strict=True):
            points = " ".join(at(step, value) for step, value in enumerate(values, 1))
            parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
    return picture(top + height + 28, title, parts)


def metrics(run: str, key: str) -> list[float]:
    """One number a step of a run of docs/results."""
    return [float(row[key]) for row in steps(run)]


def smooth(values: Sequence[float], many: int) -> list[float]:
    """The mean of a step and those before it, at most `many` of them."""
    return [fmean(values[max(end - many, 0) : end]) for end in range(1, len(values) + 1)]


def beat_rag() -> str:
    rows: dict[str, list[Interval | None]] = {}
    for made, mark in ((beat_rag_tables.by_benchmark(), ""), (beat_rag_tables.fresh(), "fresh: ")):
        for row in made.splitlines()[2:]:
            cells = [cell.strip(" *") for cell in row.strip("|").split("|")]
            rows[mark + cells[0]] = [_estimate(cells[3]), _estimate(cells[5])]
    names = ("trained with the real engine", "trained with simulated pages alone")
    return intervals("EM against RAG", "difference to RAG in EM points", rows, names, (-10, 0, 10, 20))


def _estimate(cell: str) -> Interval | None:
    found = ESTIMATE.search(cell)
    return (float(found[1]), float(found[2]), float(found[3])) if found else None


def eight_methods() -> str:
    rows: dict[str, list[Interval | None]] = {
        row["method"]: [(100 * row["micro"]["value"], 100 * row["micro"]["low"], 100 * row["micro"]["high"])]
        for row in sorted(report("evaluate-qwen")["rows"], key=lambda row: -row["micro"]["value"])
    }
    unit = "EM in percent, all 1,225 questions"
    return intervals("Eight methods on seven benchmarks", unit, rows, ("EM",), (0, 10, 20, 30, 40))


def demo_gpu() -> str:
    runs = {"GRPO": "demo-gpu-grpo", "REINFORCE": "demo-gpu-reinforce", "PPO": "demo-gpu-ppo"}
    return curves(
        "Three algorithms on one GPU",
        {
            "reward (F1), mean of 5 steps": (
                (0, 0.2, 0.4, 0.6, 0.8),
                {name: smooth(metrics(run, "reward"), 5) for name, run in runs.items()},
            ),
            "searches per episode": ((1, 2, 3), {name: metrics(run, "searches") for name, run in runs.items()}),
        },
    )


def make_simulator() -> str:
    runs = {"A": "make-simulator-grpo", "B, with KL": "make-simulator-grpo-kl", "drift": "make-simulator-grpo-drift"}
    return curves(
        "Training with the Qwen simulator",
        {
            "reward (F1)": ((0.1, 0.2, 0.3, 0.4, 0.5), {name: metrics(run, "reward") for name, run in runs.items()}),
            "searches per episode": ((0.5, 1, 1.5, 2, 2.5), {n: metrics(run, "searches") for n, run in runs.items()}),
        },
    )


def verl_beside_ours() -> str:
    runs = {
        "ours 0": "one-gpu-beside-verl",
        "ours 1": "one-gpu-beside-verl-1",
        "ours 2": "one-gpu-beside-verl-2",
        "verl 1": "verl-two-gpus",
        "verl 3": "verl-two-gpus-third",
        "verl 4": "verl-two-gpus-fourth",
    }

    def by_step(key: str) -> dict[str, list[float]]:
        return {name: [row.get(key, row.get(f"search/{key}")) for row in steps(run)] for name, run in runs.items()}

    return curves(
        "Our trainer and verl on the same questions",
        {
            "reward (F1)": ((0, 0.2, 0.4, 0.6, 0.8), by_step("f1")),
            "searches per episode": ((1, 2, 3), by_step("searches")),
        },
    )


FIGURES: dict[str, Callable[[], str]] = {
    "beat-rag": beat_rag,
    "eight-methods": eight_methods,
    "demo-gpu": demo_gpu,
    "make-simulator": make_simulator,
    "verl-beside-ours": verl_beside_ours,
}


if __name__ == "__main__":
    main({RESULTS / f"{name}.svg": draw for name, draw in FIGURES.items()}, __doc__)
