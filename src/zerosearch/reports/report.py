"""Everything that a report shows, read from folders: two JSON-ready parts, the summary and the episodes.

    report = Report(["runs/a", "runs/b"], decoders=..., limit=5000)
    report.summary(), report.episodes()     # again after a step: files that have not changed are not read again

`summary` is small: curves, tables, bills, alarms. `episodes` holds the trajectories, at most `limit` of them: whole
steps, spread evenly over a run, the first and the last among them (`chosen_steps`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from zerosearch.cleaning import clean
from zerosearch.episodes.predictions import PredictionFile, is_predictions
from zerosearch.episodes.trajectory import Trajectory, read_trajectories
from zerosearch.errors import DataError
from zerosearch.evaluation.results import find_results, prediction_files
from zerosearch.reports.charts import CHARTS
from zerosearch.reports.played import Played
from zerosearch.reports.reading import reward_name
from zerosearch.reports.rows import Decode, Texts, Tokens, page_row
from zerosearch.reports.runs import Run, is_run
from zerosearch.reports.tables import evaluation_tables, fidelity_table, run_tables
from zerosearch.spending.ledger import counted
from zerosearch.version import __version__

LIMIT = 5000
_EVALUATED = 500  # rows of an evaluation that can be looked at

Decoders = Callable[[Path], Decode | None]
"""How the ids of a run's episodes become text; None where that cannot be said, which is a problem of its own."""


class _Gathered:
    """Rows with their texts, which episodes they are, and what could not be read."""

    def __init__(self) -> None:
        self.texts = Texts()
        self.rows: list[Any] = []
        self.told: list[str] = []
        self.problems: list[str] = []
        self.read: set[Path] = set()

    def add(
        self, one: Played, run: int, *, score: str = "f1", tokens: Tokens | None = None, after: int | None = None
    ) -> None:
        self.rows.append(page_row(one, run, self.texts, score=score, tokens=tokens, after=after))

    def predictions(self, file: PredictionFile, most: int, run: int, where: str, after: int | None = None) -> None:
        """At most `most` rows of a file of an evaluation."""
        groups = {name: place for place, name in enumerate(file.by_question)}
        for row in file.rows[:most]:
            self.add(Played.of_evaluation(row, where, groups[row.id]), run, after=after)


class Report:
    """What `targets` come to: run folders, and folders or files of evaluations. See the module's text.

    Raises `DataError` for a target that is neither, or is named twice. One that is damaged is told in the report, with
    file and line, and the others are shown; where none can be shown, `summary` and `episodes` raise it.
    """

    def __init__(self, targets: Sequence[str], decoders: Decoders | None = None, limit: int = LIMIT) -> None:
        self.targets, self._decoders, self._limit = list(targets), decoders, limit
        self._cache: dict[tuple[Path, int, int], list[Trajectory]] = {}
        self._tokens: dict[Path, Tokens | None] = {}
        for number, target in enumerate(targets):
            if Path(target).resolve() in (Path(other).resolve() for other in targets[:number]):
                raise DataError(f"{target}: is named twice")
            if not _usable(target):
                find_results(target)  # says what is wrong with it

    def summary(self) -> dict[str, Any]:
        """Curves, tables, bills, alarms and problems."""
        runs, others, problems = self._opened()
        tables, fidelity = list(run_tables(runs)), []
        for target in self.targets:
            try:
                if (found := fidelity_table(Path(target))) is not None:
                    fidelity.append(found)
                if files := others.get(target):
                    tables += evaluation_tables(target, files)
            except DataError as error:
                problems.append(str(error))
        pages = [run.for_page() for run in runs]
        families = {family: number for number, family in enumerate(dict.fromkeys(run.family for run in runs))}
        for page, run in zip(pages, runs, strict=True):
            page["family"] = families[run.family]
            problems += run.problems
        found = {
            "version": __version__,
            "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "targets": self.targets,
            "runs": pages,
            "charts": [vars(chart) for chart in CHARTS],
            "tables": tables,
            "fidelity": fidelity,
            "problems": list(dict.fromkeys(problems)),
        }
        return {name: cleaned(value) for name, value in found.items()}

    def episodes(self) -> dict[str, Any]:
        """Rows of episodes, the texts in them, and in words which episodes these are."""
        found = _Gathered()
        runs, others, _ = self._opened()
        share = self._limit // max(len(runs) + len(others), 1)
        for number, run in enumerate(runs):
            self._of_run(number, run, share, found)
        for place, (target, files) in enumerate(others.items()):
            each = share // max(len(files), 1)
            for file in files:
                where = f"{file.header.benchmark}, {file.header.method}"
                found.told.append(f"{target}, {where}: {min(each, len(file.rows))} of {len(file.rows)}")
                found.predictions(file, each, len(runs) + place, where)
        self._cache = {key: read for key, read in self._cache.items() if key[0] in found.read}
        names = [run.name for run in runs] + [Path(target).name for target in others]
        return {
            "rows": found.rows,
            "texts": found.texts.shown,
            "told": cleaned(found.told),
            "problems": cleaned(found.problems),
            "names": cleaned(names),
        }

    def state(self) -> str:
        """Another text whenever a file has changed that a report is made of."""
        return ";".join(
            f"{path}:{stat.st_mtime_ns}:{stat.st_size}"
            for target in self.targets
            for path in _watched(Path(target))
            if (stat := _stat(path)) is not None
        )

    def _opened(self) -> tuple[list[Run], dict[str, list[PredictionFile]], list[str]]:
        """Its runs, the evaluations by their target (a fidelity has none), and what is damaged of both.

        Raises `DataError` where all are.
        """
        runs: list[Run] = []
        others: dict[str, list[PredictionFile]] = {}
        problems = []
        for target in self.targets:
            folder = Path(target)
            try:
                if is_run(folder):
                    runs.append(Run.read(folder))
                elif not _only_fidelity(folder):
                    others[target] = find_results(target)
                elif fidelity_table(folder):
                    others[target] = []
            except DataError as error:
                problems.append(str(error))
        if len(problems) == len(self.targets):
            raise DataError("; ".join(dict.fromkeys(problems)))
        return runs, others, problems

    def _of_run(self, number: int, run: Run, share: int, found: _Gathered) -> None:
        """A run: training first, then its first and its last evaluation, which get at most half of `share`."""
        judged = sorted({min(run.evaluations), max(run.evaluations)}) if run.evaluations else []
        chosen = {step: min(_EVALUATED, share // 4, len(run.evaluations[step].rows)) for step in judged}
        self._trained(number, run, share - sum(chosen.values()), found)
        for step, most in chosen.items():
            where = f"{run.name}, evaluation after {counted(step, 'step')}"
            found.told.append(f"{where}: {most} of {len(run.evaluations[step].rows)}")
            found.predictions(run.evaluations[step], most, number, where, after=step)

    def _trained(self, number: int, run: Run, share: int, found: _Gathered) -> None:
        if not run.trajectories or share < 1:
            return
        sizes = {row["step"]: row.get("episodes") for row in run.rows}
        for step, path in reversed(run.trajectories.items()):  # metrics may not say
            if newest := self._read(path, _Gathered()):
                sizes[step] = len(newest)
                break
        steps = chosen_steps(list(run.trajectories), sizes, share)
        which = "all" if len(steps) == len(run.trajectories) else f"{len(steps)} of {len(run.trajectories)}"
        found.told.append(f"{run.name}, training: {which} steps ({', '.join(str(step + 1) for step in steps)})")
        score, tokens = reward_name(run.folder), self._tokens_of(run.folder)
        for step in steps:
            played = self._read(run.trajectories[step], found)
            if len(played) > share:
                found.told.append(f"{run.name}, step {step + 1}: {share} of {counted(len(played), 'episode')}")
            for t in played[:share]:
                where = f"{run.name}, step {t.step + 1}"
                found.add(Played.of_training(t, where), number, score=score, tokens=tokens)

    def _tokens_of(self, folder: Path) -> Tokens | None:
        if folder not in self._tokens:
            decode = self._decoders(folder) if self._decoders is not None else None
            self._tokens[folder] = None if decode is None else Tokens(decode)
        return self._tokens[folder]

    def _read(self, path: Path, found: _Gathered) -> list[Trajectory]:
        """A file's episodes, read once; none, and a problem, where it is damaged or half written."""
        found.read.add(path)
        try:
            stat = path.stat()
            key = (path, stat.st_mtime_ns, stat.st_size)
            if key not in self._cache:
                self._cache = {known: read for known, read in self._cache.items() if known[0] != path}
                self._cache[key] = list(read_trajectories(path))
        except (DataError, OSError) as error:
            found.problems.append(str(error))
            return []
        return self._cache[key]


def chosen_steps(steps: Sequence[int], sizes: Mapping[int, Any], share: int) -> list[int]:
    """Whole steps that have at most `share` episodes together: the first, every second, fourth, eighth ... and the last
    one.

    The strides are powers of two, so that a run that grows keeps its choice, and few files are read again. `sizes` says
    how many episodes a step has, where that is known. At least the last step is chosen.
    """
    known = [size for size in sizes.values() if isinstance(size, int) and size > 0]
    most = max(share // max(known, default=320), 1)
    stride = 1
    while stride < len(steps):
        chosen = sorted({*steps[::stride], steps[-1]})
        if len(chosen) <= most:
            return chosen
        stride *= 2
    return [steps[0], steps[-1]] if most > 1 < len(steps) else [steps[-1]]


def cleaned(value: Any) -> Any:
    """`value` with every text in it, keys apart, without secrets and control characters."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {key: cleaned(inner) for key, inner in value.items()}
    return [cleaned(inner) for inner in value] if isinstance(value, list | tuple) else value


def _usable(target: str) -> bool:
    """Whether `target` is what a report shows, damaged or not."""
    folder = Path(target) if Path(target).exists() else Path(target.rsplit(":", 1)[0])
    if not folder.is_dir():
        return is_predictions(folder)
    return is_run(folder) or _only_fidelity(folder) or bool(prediction_files(folder))


def _only_fidelity(folder: Path) -> bool:
    """Whether a folder is that of `zerosearch fidelity`."""
    return (folder / "fidelity.json").is_file() and not is_run(folder)


def _watched(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        yield folder
        return
    yield from (folder / name for name in ("metrics.jsonl", "cost.json", "fidelity.json"))
    for pattern in ("trajectories/*.zst", "evaluations/*", "*.jsonl", "*/*.jsonl"):
        yield from sorted(folder.glob(pattern))


def _stat(path: Path) -> Any:
    try:
        return path.stat()
    except OSError:
        return None
