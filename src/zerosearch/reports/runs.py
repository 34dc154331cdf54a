"""One training run, read for a report: curves, evaluations, alarms, cost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from zerosearch.episodes.predictions import PredictionFile, read_predictions
from zerosearch.episodes.statistics import Interval, average
from zerosearch.errors import DataError
from zerosearch.evaluation.results import question_values
from zerosearch.files.jsonl import read_metrics, read_object
from zerosearch.reports.charts import read_value, series
from zerosearch.reports.reading import begun, run_settings, trajectory_files
from zerosearch.spending.ledger import PRICES, dollars
from zerosearch.spending.report import of_run, read_run

DRAWS = 2000  # resamples of an interval: the tables of `evaluate` have more for EM
_OF_SEED = ("seed", "name", "folder", "logging")
"""Settings in which two runs that are told apart by their seed alone may differ."""


@dataclass
class Run:
    """A run's folder, read. `problems` are what could not be read, in words; the rest is shown all the same."""

    folder: Path
    settings: dict[str, Any]
    rows: list[dict[str, Any]]
    problems: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> Run:
        """Raises `DataError` for a folder that is no run's, or whose metrics or settings are damaged."""
        if not is_run(folder):
            raise DataError(f"{folder}: is not the folder of a run (no metrics.jsonl, no manifest.json)")
        return cls(folder, run_settings(folder), read_metrics(folder / "metrics.jsonl"))

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def steps(self) -> int | None:
        """How many the run shall have; None where its settings do not say."""
        training = self.settings.get("training")
        steps = training.get("steps") if isinstance(training, dict) else None
        return steps if isinstance(steps, int) else None

    @property
    def family(self) -> str:
        """Equal for runs that differ by their seed only."""
        kept = {key: value for key, value in self.settings.items() if key not in _OF_SEED}
        return json.dumps(kept, sort_keys=True, default=str) if kept else str(self.folder)

    @cached_property
    def trajectories(self) -> dict[int, Path]:
        """Files of episodes by their step, which counts from 0."""
        return trajectory_files(self.folder)

    @cached_property
    def evaluations(self) -> dict[int, PredictionFile]:
        """The predictions of its evaluations, by the steps that were behind them."""
        found = {}
        for path in sorted((self.folder / "evaluations").glob("step-*.jsonl")):
            try:
                if path.stem[5:].isdecimal() and (file := read_predictions(path)).rows:
                    found[int(path.stem[5:])] = file
            except DataError as error:
                self.problems.append(str(error))
        return found

    def for_page(self) -> dict[str, Any]:
        """What the page draws of it, JSON-ready. Steps count from 1, an evaluation's from 0: so many were behind it."""
        return {
            "name": self.name,
            "folder": str(self.folder),
            "seed": self.settings.get("seed"),
            "steps": [row["step"] + 1 for row in self.rows],
            "of": self.steps,
            "series": series(self.rows),
            "evaluations": self._evaluated(),
            "alarms": alarms(self.rows),
            "facts": self._facts(),
            "bill": self._bill(),
        }

    def _evaluated(self) -> list[dict[str, Any]]:
        """Points for the charts: the mean of each score, of F1 and EM with its interval."""
        points = []
        for path in sorted((self.folder / "evaluations").glob("step-*.json")):
            try:
                record = read_object(path)
                values = {name: read_value(record["summary"], name) for name in record["summary"]}
                point: dict[str, Any] = {"step": int(record["step"])}
                point |= {name: value for name, value in values.items() if value is not None}
            except (DataError, KeyError, TypeError, ValueError, AttributeError) as error:
                self.problems.append(f"{path}: not the summary of an evaluation ({error})")
                continue
            if (file := self.evaluations.get(point["step"])) is not None:
                for metric in ("f1", "em"):
                    within = interval(file, metric)
                    point[f"{metric}_within"] = [within.low, within.high]
            points.append(point)
        return points

    def _facts(self) -> list[list[str]]:
        """What kind of run it is: setting and value."""

        def setting(place: str) -> str:
            found: Any = self.settings
            for part in place.split("."):
                found = found.get(part) if isinstance(found, dict) else None
            return "" if found is None else str(found)

        shown = [
            ["model", setting("model.name")],
            ["algorithm", setting("algorithm.name")],
            ["engine", setting("engine.kind")],
            ["evaluated with", setting("evaluation.engine.kind")],
            ["questions", setting("data.train")],
            ["seed", setting("seed")],
        ]
        return [fact for fact in shown if fact[1]]

    def _bill(self) -> dict[str, Any] | None:
        """Its searches beside what Google would have charged; None where a run has none yet."""
        if not self.rows:
            return None
        try:
            books, machine = read_run(self.folder)
            found = of_run(self.name, books, machine, None, PRICES)
        except DataError as error:
            self.problems.append(f"no bill: {error}")
            return None
        lines = [[line.engine, f"{line.searches:,}", line.basis, dollars(line.usd)] for line in found.lines]
        return {"title": found.title, "lines": lines, "notes": found.notes}


def is_run(folder: Path) -> bool:
    """Whether `folder` is a training run's: it has metrics, evaluations of steps, or what a run writes first."""
    return begun(folder) or (folder / "metrics.jsonl").is_file() or any((folder / "evaluations").glob("step-*.json"))


def interval(file: PredictionFile, metric: str) -> Interval:
    """The mean of a score over the questions of a file, with its 95 % interval."""
    return average([question_values(file, metric)], draws=DRAWS)


def alarms(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was alarming, by the kind of alarm: its first and last words, the steps it came in (counted from 1); and the
    searches that failed."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        said = [str(text) for text in row.get("alarms") or ()]
        if failed := read_value(row, "search_errors"):
            said.append(f"failed searches: {failed:g}")
        for text in said:
            kind = text.rstrip("0123456789.,:% ").split(" ")[0] if text else ""
            entry = found.setdefault(kind, {"first": text, "steps": []})
            entry["last"] = text
            entry["steps"].append(row["step"] + 1)
    return list(found.values())
