"""The tables of a report: evaluations with intervals, paired tests, and a simulator's fidelity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from zerosearch.episodes.predictions import PredictionFile
from zerosearch.errors import DataError
from zerosearch.evaluation.comparison import compare_runs
from zerosearch.evaluation.comparison_text import measures, verdict
from zerosearch.evaluation.tables import (
    BEHAVIOUR,
    behaviour,
    build_table,
    caption,
    describe_behaviour,
    other_scores,
    percent,
    scores,
)
from zerosearch.evaluation.text_table import TextTable
from zerosearch.files.jsonl import read_object
from zerosearch.reports.runs import Run, interval
from zerosearch.simulator.gallery import figures
from zerosearch.spending.ledger import counted

MOST_PAIRS = 6  # of runs that are tested against each other


def table_row(title: str, table: TextTable, notes: Sequence[str] = ()) -> dict[str, Any]:
    """A table as the page reads it."""
    return {
        "title": title,
        "heads": list(table.heads),
        "lines": [list(line) for line in table.lines],
        "names": table.names,
        "notes": list(notes),
    }


def run_tables(runs: Sequence[Run]) -> Iterator[dict[str, Any]]:
    """The evaluations of training runs: a line each, and then the tests: a run's last evaluation against its first, and
    the last ones of different runs against each other."""
    lines = [_line(run, step, file) for run in runs for step, file in run.evaluations.items()]
    if not lines:
        return
    heads = ["run", "after steps", "questions", "engine", "F1", "EM", "searches"]
    heads += ["valid actions", "page held the answer"]
    note = "Percent, [95 % interval], over held-out questions."
    yield table_row("Evaluations", TextTable(heads, lines, names=1), [note])
    for run in runs:
        if len(run.evaluations) > 1:
            first, last = min(run.evaluations), max(run.evaluations)
            names = (_after(run, last), "before" if first == 0 else f"after {counted(first, 'step')}")
            yield paired(names, (run.evaluations[last], run.evaluations[first]))
    others = list(combinations([run for run in runs if run.evaluations], 2))
    for a, b in others[:MOST_PAIRS]:
        (one, mine), (other, theirs) = (max(run.evaluations.items()) for run in (a, b))
        yield paired((_after(a, one), _after(b, other)), (mine, theirs))
    if len(others) > MOST_PAIRS:
        left = len(others) - MOST_PAIRS
        yield table_row(
            "Further pairs", TextTable([], []), [f"{counted(left, 'more pair')} of runs: see zerosearch compare."]
        )


def evaluation_tables(target: str, files: Sequence[PredictionFile]) -> Iterator[dict[str, Any]]:
    """The tables of a folder that `zerosearch evaluate` wrote, and each method tested against the first."""
    try:
        table = build_table(files, allow_unlike=True)
    except DataError as error:
        yield table_row(target, TextTable([], []), [str(error)])
        return
    notes = [f"Unlike results were put together: {note}" for note in table.notes]
    yield table_row(f"{target}: {caption(table)}", scores(table), [*notes, *table.misses])
    yield table_row(f"{target}: other scores, in percent", other_scores(table))
    yield table_row(f"{target}: {BEHAVIOUR}", behaviour(table))
    by_method: dict[str, dict[str, PredictionFile]] = {}
    for file in files:
        by_method.setdefault(file.header.method, {})[file.header.benchmark] = file
    first, *rest = by_method
    for method in rest:
        yield paired((method, first), (by_method[method], by_method[first]))


def paired(names: tuple[str, str], sides: tuple[Any, Any]) -> dict[str, Any]:
    """Two sides with the paired test; where they are unlike, why they are not compared."""
    a, b = ({s.header.benchmark: s} if isinstance(s, PredictionFile) else s for s in sides)
    title = f"{names[0]} against {names[1]}"
    try:
        found = compare_runs(a, b, names)
    except DataError as error:
        return table_row(title, TextTable([], []), [f"Not compared: {error}"])
    said = verdict(replace(found, a=names[0], b=names[1]))
    told = (
        f"A is {names[0]}, B is {names[1]}. Right (EM) only in A: {found.wins.a_only}, only in B: {found.wins.b_only}."
    )
    return table_row(title, measures(found), [said, told])


def fidelity_table(folder: Path) -> dict[str, Any] | None:
    """The first figures of `fidelity.json` in a folder, or in one below; None where there is none.

    Raises `DataError` for a file that is no report of `zerosearch fidelity`.
    """
    for path in (folder / "fidelity.json", folder / "fidelity" / "fidelity.json"):
        if path.is_file():
            report = read_object(path)
            try:
                title = f"{report['simulator']} against {report['engine']}"
                lines = [list(pair) for pair in figures(report)]
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                raise DataError(f"{path}: not a report of this release's zerosearch fidelity (lacks {error})") from None
            return table_row(f"Fidelity: {title}", TextTable(["", "share"], lines), [f"From {path}."])
    return None


def _after(run: Run, steps: int) -> str:
    return f"{run.name} after {counted(steps, 'step')}"


def _line(run: Run, step: int, file: PredictionFile) -> list[str]:
    def within(metric: str) -> str:
        return percent(interval(file, metric))

    b = describe_behaviour(file.rows)
    shares = ["-" if share is None else f"{100 * share:.1f}" for share in (b.valid_actions, b.evidence)]
    counted = [run.name, str(step), str(len(file.by_question)), file.header.engine]
    return [*counted, within("f1"), within("em"), f"{b.searches:.2f}", *shares]
