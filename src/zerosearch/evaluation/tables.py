"""The table of an evaluation, method x benchmark, with intervals and averages, and the table of behaviour beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich.table import Table

from zerosearch.episodes.predictions import Prediction, PredictionFile
from zerosearch.episodes.statistics import DRAWS, Interval, average
from zerosearch.errors import DataError
from zerosearch.evaluation.benchmarks import in_order, title
from zerosearch.evaluation.results import metric_title, question_values, unlike_files
from zerosearch.evaluation.text_table import TextTable
from zerosearch.spending.ledger import counted

NOTHING = "-"
_DRAWS = 2000


@dataclass(frozen=True)
class Behaviour:
    """What a method did, as means over its predictions. Shares lie in [0, 1]; None where no prediction tells.

    `evidence`: a page held a golden answer. `without_evidence`: right though none did, see
    `Prediction.answered_without_evidence`. `failed`: ended by an error, and counted as wrong.
    """

    predictions: int
    searches: float
    turns: float
    tokens: float
    valid_actions: float | None
    answered: float
    evidence: float | None
    without_evidence: float | None
    failed: float
    cost_usd: float
    seconds: float


@dataclass(frozen=True)
class Row:
    """A method's line: a cell a benchmark (None: not evaluated), and averages where every benchmark has one. `failed`:
    how many predictions of a cell failed, which count as wrong."""

    method: str
    model: str
    engine: str
    cells: dict[str, Interval | None]
    macro: Interval | None
    micro: Interval | None
    behaviour: Behaviour
    per_benchmark: dict[str, Behaviour]
    failed: dict[str, int]


@dataclass(frozen=True)
class ResultsTable:
    """Rows and what has to be said to them. `notes` is not empty only where unlike files were put together, `misses`
    where a recorded engine had no page for a query. `more` holds the tables of the other scores, of the same files.
    `complaint` tells what failed in the call that made the table."""

    metric: str
    benchmarks: dict[str, int]
    rows: tuple[Row, ...]
    samples: int
    digests: dict[str, str]
    notes: tuple[str, ...]
    misses: tuple[str, ...] = ()
    more: tuple[ResultsTable, ...] = ()
    complaint: str = ""

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready. `more`: the other scores by their names, each with cells and averages by method."""
        more = {
            table.metric: {
                row.method: {name: asdict(row)[name] for name in ("cells", "macro", "micro")} for row in table.rows
            }
            for table in self.more
        }
        table = asdict(replace(self, more=()))
        del table["complaint"]
        return table | {"more": more}


def build_table(files: Sequence[PredictionFile], *, allow_unlike: bool = False) -> ResultsTable:
    """The table of EM and, as its `more`, those of F1, cover-EM and, of several tries, pass@k: benchmarks in the
    paper's order, methods in the order of their first file.

    The intervals of the others come from fewer resamples: F1 has many values, and takes long. Raises `DataError` where
    files are unlike (`results.unlike_files`) and `allow_unlike` is not set, and always for two files of one method on
    one benchmark, and for files without predictions.
    """
    for file in files:
        if not file.rows:
            raise DataError(f"{file.path}: holds no predictions yet")
    if not files:
        raise DataError("no predictions to make a table of")
    notes = unlike_files(files)
    if notes and not allow_unlike:
        more = f" (and {len(notes) - 1} more)" if len(notes) > 1 else ""
        raise DataError(f"{notes[0]}{more}: not for one table, unless unlike results are asked for")
    methods: dict[str, dict[str, PredictionFile]] = {}
    for file in files:
        of = methods.setdefault(file.header.method, {})
        if file.header.benchmark in of:
            first = of[file.header.benchmark].path
            raise DataError(f"{first} and {file.path}: both are {file.header.method} on {file.header.benchmark}")
        of[file.header.benchmark] = file
    benchmarks = {file.header.benchmark: file.header.count for file in files}
    table = ResultsTable(
        metric="em",
        benchmarks={name: benchmarks[name] for name in in_order(benchmarks)},
        rows=tuple(_row(method, of) for method, of in methods.items()),
        samples=max(file.header.samples for file in files),
        digests={file.header.benchmark: file.header.questions_digest for file in files},
        notes=tuple(notes),
        misses=tuple(note for file in files if (note := _misses(file))),
    )
    tries = min(file.header.samples for file in files)

    def scored(metric: str, draws: int) -> ResultsTable:
        rows = tuple(_scored(row, methods[row.method], list(table.benchmarks), metric, draws) for row in table.rows)
        return replace(table, metric=metric, rows=rows)

    others = ("f1", "cover_em", *([f"pass@{tries}"] if tries > 1 else []))
    return replace(scored("em", DRAWS), more=tuple(scored(metric, _DRAWS) for metric in others))


def _row(method: str, files: dict[str, PredictionFile]) -> Row:
    """What a method did; its scores come later."""
    headers = [file.header for file in files.values()]
    return Row(
        method=method,
        model=_several(header.model for header in headers),
        engine=_several(header.engine for header in headers),
        cells={},
        macro=None,
        micro=None,
        behaviour=describe_behaviour([row for file in files.values() for row in file.rows]),
        per_benchmark={name: describe_behaviour(file.rows) for name, file in files.items()},
        failed={name: sum(file.failures.values()) for name, file in files.items()},
    )


def _scored(row: Row, files: dict[str, PredictionFile], order: Sequence[str], metric: str, draws: int) -> Row:
    strata = {name: question_values(files[name], metric) for name in order if name in files}
    whole = list(strata.values()) if len(strata) == len(order) else None
    return replace(
        row,
        cells={name: average([strata[name]], draws=draws) if name in strata else None for name in order},
        macro=average(whole, draws=draws) if whole else None,
        micro=average(whole, macro=False, draws=draws) if whole else None,
    )


def _misses(file: PredictionFile) -> str:
    searches = [search for row in file.rows for search in row.searches]
    missed = sum(search.missed for search in searches)
    return (
        f"{file.path}: {missed} of {counted(len(searches), 'query', 'queries')} had no recorded page" if missed else ""
    )


BEHAVIOUR = "Behaviour, over all predictions (seconds: of a question, with others beside it)"
"""What the table of it is called."""


def describe_behaviour(rows: Sequence[Prediction]) -> Behaviour:
    def known(read: Callable[[Prediction], float | None]) -> float | None:
        values = [value for value in map(read, rows) if value is not None]
        return sum(values) / len(values) if values else None

    def mean(read: Callable[[Prediction], float]) -> float:
        return sum(map(read, rows)) / len(rows)

    return Behaviour(
        predictions=len(rows),
        searches=mean(lambda row: len(row.searches)),
        turns=mean(lambda row: row.turns),
        tokens=mean(lambda row: row.usage.completion_tokens),
        valid_actions=known(lambda row: row.valid_actions),
        answered=mean(lambda row: row.answer is not None),
        evidence=known(lambda row: row.saw_answer),
        without_evidence=known(lambda row: row.answered_without_evidence),
        failed=mean(lambda row: row.error is not None),
        cost_usd=mean(lambda row: sum(search.usage.usd for search in row.searches)),
        seconds=mean(lambda row: row.seconds),
    )


def _several(values: Any) -> str:
    return ", ".join(dict.fromkeys(values))


def scores(table: ResultsTable) -> TextTable:
    """Percent, and the interval in brackets."""
    averages = len(table.benchmarks) > 1
    heads = ["method", *(f"{title(name)} ({count})" for name, count in table.benchmarks.items())]
    heads += ["macro average", "micro average"] if averages else []
    lines = []
    for row in table.rows:
        cells = [percent(cell) + _lost(row.failed.get(name, 0)) for name, cell in row.cells.items()]
        cells += [percent(cell) + _lost(sum(row.failed.values())) for cell in (row.macro, row.micro)] * averages
        lines.append([row.method, *cells])
    return TextTable(heads, lines)


def other_scores(table: ResultsTable) -> TextTable:
    """A line a method and score, percent without intervals."""
    averages = len(table.benchmarks) > 1
    heads = ["method", "score", *map(title, table.benchmarks), *(["macro average", "micro average"] * averages)]
    lines = []
    for place, row in enumerate(table.rows):
        for number, other in enumerate(table.more):
            scored = other.rows[place]
            cells = [*scored.cells.values(), *([scored.macro, scored.micro] * averages)]
            shown = [NOTHING if cell is None else f"{100 * cell.value:.1f}" for cell in cells]
            lines.append([row.method if number == 0 else "", metric_title(other.metric), *shown])
    return TextTable(heads, lines, names=2)


def behaviour(table: ResultsTable) -> TextTable:
    """A line a method, over all its predictions."""
    heads = [
        "method", "searches", "turns", "tokens", "valid actions", "answered", "page held the answer",
        "right without evidence", "failed", "seconds",
    ]  # fmt: skip
    lines = []
    for row in table.rows:
        b = row.behaviour
        shares = map(_share, (b.valid_actions, b.answered, b.evidence, b.without_evidence, b.failed))
        lines.append(
            [row.method, f"{b.searches:.2f}", f"{b.turns:.2f}", f"{b.tokens:.0f}", *shares, f"{b.seconds:.1f}"]
        )
    return TextTable(heads, lines)


def _lost(failed: int) -> str:
    return f", {failed} failed" if failed else ""


def percent(cell: Interval | None) -> str:
    """A mean with its interval."""
    return NOTHING if cell is None else f"{_points(cell.value)} {cell.within(_points)}"


def _points(share: float) -> str:
    return f"{100 * share:.1f}"


def _share(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1%}"


def caption(table: ResultsTable) -> str:
    tries = "" if table.samples == 1 else f", mean over {table.samples} tries"
    if table.metric.startswith("pass@"):
        tries = f" of {table.samples} tries"
    engines = _several(row.engine for row in table.rows)
    return f"{metric_title(table.metric)} in percent{tries}, [95 % interval]; engine: {engines}"


def markdown(table: ResultsTable) -> str:
    """Both tables, with what they are of, as Markdown."""
    parts = [part for one in (table, *table.more) for part in (caption(one) + ".", scores(one).markdown())]
    parts += [f"{BEHAVIOUR}.", behaviour(table).markdown()]
    parts += [f"**{lost}**" for lost in failures(table)]
    digests = [f"{title(name)} `{table.digests[name][:12]}`" for name in table.benchmarks]
    parts.append("Digests of the questions: " + ", ".join(digests) + ".")
    if table.misses:
        parts.append("**Queries without a recorded page:**\n\n" + "\n".join(f"- {note}" for note in table.misses))
    if table.notes:
        parts.append("**Unlike results were put together:**\n\n" + "\n".join(f"- {note}" for note in table.notes))
    return "\n\n".join(parts) + "\n"


def failures(table: ResultsTable) -> list[str]:
    """A line for each method of which predictions failed."""
    lost = [(row.method, sum(row.failed.values()), row.behaviour.predictions) for row in table.rows]
    return [
        f"{name}: {failed} of {counted(count, 'prediction')} failed, and count as wrong"
        for name, failed, count in lost
        if failed
    ]


def rich_tables(table: ResultsTable, width: int = 80) -> list[Table]:
    """All tables for a screen of `width` columns, each in as many pieces as it takes to cut no number off."""
    shown = scores(table).rich(width, caption(table))
    if table.more:
        named = [metric_title(other.metric) for other in table.more]
        shown += other_scores(table).rich(width, f"{', '.join(named[:-1])} and {named[-1]} in percent")
    return shown + behaviour(table).rich(width, BEHAVIOUR)
