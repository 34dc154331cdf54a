"""Methods on benchmarks: every prediction kept in a file, and the table that they make.

table = evaluate(load_config(Path("mine.toml")), "direct,rag,mine=runs/mine", "nq,bamboogle", trials=Trials(limit=500))
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zerosearch.config import TrainConfig
from zerosearch.episodes.predictions import CUT_OFF, Header, PredictionFile
from zerosearch.episodes.questions import Fields
from zerosearch.errors import ConfigError, DataError
from zerosearch.evaluation.benchmarks import Benchmark, distinct, open_benchmark
from zerosearch.evaluation.cells import Cell, fill
from zerosearch.evaluation.entrants import Entrant, Setup, engine_of, parse_methods
from zerosearch.evaluation.results import NO_ENGINE, find_results, unlike_files
from zerosearch.evaluation.tables import ResultsTable, markdown, with_all_scores
from zerosearch.files.folders import check_file, owned
from zerosearch.files.jsonl import append_jsonl, atomic_write, read_object, read_rows, write_json
from zerosearch.parts import Parts

METHODS = "direct,cot,rag,episode"
TIMINGS = "timings.jsonl"


@dataclass(frozen=True)
class Trials:
    """How the questions are asked.

    `samples` tries at each question; several need a `temperature`, as 0 is greedy. `limit` questions of each benchmark
    are drawn by the configuration's seed (None: all). Benchmarks are read from the folder `data` (None: the hub);
    `fields` says which fields of a file hold what. `max_tokens` bounds a prompted method's reply (None: 256, of
    search-o1 1024). `label` names the rows METHOD@LABEL. `concurrency` questions are asked at a time (None: twice
    `training.max_batch_rows`). `overrides` of the protocol (`protocol.max_searches=3`) hold for policies of runs too.
    `unlike` puts all of the folder into one table, other engines' results too.
    """

    samples: int = 1
    temperature: float = 0.0
    limit: int | None = None
    data: Path | None = None
    fields: str | None = None
    max_tokens: int | None = None
    label: str | None = None
    concurrency: int | None = None
    overrides: Sequence[str] = ()
    unlike: bool = False


def evaluate(
    config: TrainConfig,
    methods: str | Iterable[str] = METHODS,
    benchmarks: str | Iterable[str] | None = None,
    out: Path = Path("evaluation"),
    trials: Trials = Trials(),
    say: Callable[[str], None] = print,
) -> ResultsTable:
    """Ask each method (`entrants.py`) every question of each benchmark, and write predictions and tables to `out`.

    `benchmarks` are those that `open_benchmark` knows; None: `evaluation.questions`. The same call resumes an
    interrupted evaluation: what is in `out` is not asked again. `complaint` of the table tells what failed; such
    predictions count as wrong, and the same call asks them again.

    Raises `ConfigError`, `DataError` or `ModelError` for what cannot be used, `FolderError` for a folder that is
    another's, `RunError` where too much fails or the disk is full, `BudgetError` where the engine's budget is spent.
    """
    if trials.samples > 1 and trials.temperature == 0:
        raise ConfigError(f"{trials.samples} greedy tries at a question would all be the same: set --temperature")
    specs = parse_methods(methods, trials.label)
    engine_config = engine_of(config, specs)
    named = benchmarks or config.evaluation.questions
    names = [name for name in (named.split(",") if isinstance(named, str) else named) if name.strip()]
    at_once = trials.concurrency or 2 * config.training.max_batch_rows
    with owned(out, "evaluate"):
        check_tables(out)
        fields = Fields.parse(trials.fields or config.evaluation.fields)
        asked = distinct([open_benchmark(name, trials.data, trials.limit, config.seed, fields) for name in names])
        with Parts(config, spending=out, work="evaluate") as parts:
            setup = Setup(
                parts,
                engine_config,
                temperature=trials.temperature,
                concurrency=at_once,
                max_tokens=trials.max_tokens,
            )
            entrants = [setup.enter(spec, trials.overrides) for spec in specs]
            cells = [_cell(setup, entrant, one, trials, out) for entrant in entrants for one in asked]
            engine = NO_ENGINE if setup.engine is None else setup.engine.name
            count = sum(len(one.questions) for one in asked)
            say(f"{count} questions x {len(specs)} methods x {trials.samples} tries, engine {engine}, into {out}/")
            try:
                parts.run(fill(cells, concurrency=at_once, report=_Progress(cells, say).report))
            finally:
                _note_timings(out, cells)
        table = _write_tables(out, cells, unlike=trials.unlike, say=say)
    _say_cut_off(cells, say)
    return replace(table, complaint=_complaint(cells, setup))


def _cell(setup: Setup, entrant: Entrant, benchmark: Benchmark, trials: Trials, out: Path) -> Cell:
    engine = setup.engine if entrant.searches else None
    header = Header(
        benchmark=benchmark.name,
        method=entrant.label,
        model=entrant.model,
        engine=NO_ENGINE if engine is None else engine.name,
        engine_identity=NO_ENGINE if engine is None else engine.identity,
        top_k=0 if engine is None else setup.top_k,
        questions_digest=benchmark.digest,
        count=len(benchmark.questions),
        temperature=trials.temperature,
        seed=setup.config.seed,
        samples=trials.samples,
        source=benchmark.source,
        limit=benchmark.limit,
        sample_seed=benchmark.sample_seed,
        settings=entrant.settings,
    )
    return Cell.open(entrant.predictor, benchmark.questions, header, out)


class _Progress:
    """A line for each cell that is finished, and one every few seconds for all of them."""

    def __init__(self, cells: Sequence[Cell], say: Callable[[str], None], every: float = 10.0) -> None:
        self._cells, self._say, self._every = cells, say, every
        self._began = self._last = time.monotonic()
        self._finished: set[Path] = set()

    def report(self, cell: Cell) -> None:
        if cell.done == cell.total and cell.path not in self._finished:
            self._finished.add(cell.path)
            self._say(_cell_line(cell))
        elif time.monotonic() - self._last > self._every:
            self._last = time.monotonic()
            done, total = sum(c.done for c in self._cells), sum(c.total for c in self._cells)
            self._say(f"{done}/{total} predictions, {self._last - self._began:.0f} s")


def _cell_line(cell: Cell) -> str:
    """What a finished cell came to."""
    rows = cell.rows
    em = sum(row.em for row in rows) / len(rows)
    searches = sum(len(row.searches) for row in rows) / len(rows)
    failed = sum(row.error is not None for row in rows)
    missed = sum(search.missed for row in rows for search in row.searches)
    return (
        f"{cell.header.benchmark:16} {cell.header.method:14} {len(rows):6} predictions  EM {em:6.1%}  "
        f"searches {searches:.2f}  {cell.seconds:.0f} s"
        + (f"  {failed} failed" if failed else "")
        + (f"  {missed} queries without a recorded page" if missed else "")
    )


def _say_cut_off(cells: Sequence[Cell], say: Callable[[str], None]) -> None:
    cut = sum(row.stop_reason == CUT_OFF for cell in cells for row in cell.rows)
    if cut:
        say(
            f"{cut} predictions have no answer because a thought took all the room of a reply: raise --max-tokens "
            "(of an episode: protocol.max_turn_tokens)"
        )


def _complaint(cells: Sequence[Cell], setup: Setup) -> str:
    failed = sum(row.error is not None for cell in cells for row in cell.rows)
    last = setup.errors.replies.last or setup.errors.searches.last
    return (
        f"{failed} of {sum(cell.done for cell in cells)} predictions failed (the last one: {last}) and count as "
        "wrong; run the same command again, and they are asked again"
        if failed
        else ""
    )


def check_tables(out: Path) -> None:
    """Raises `FolderError` where a table lies in `out` that is no evaluation's, `DataError` for damaged timings."""

    def ours(path: Path) -> bool:
        try:
            return {"benchmarks", "timings"} <= read_object(path.with_suffix(".json")).keys()
        except DataError:
            return False

    check_file(out / "table.json", ours)
    check_file(out / "table.md", ours)
    _read_timings(out)


def _read_timings(out: Path) -> dict[str, dict[str, Any]]:
    """What all calls took, by `METHOD on BENCHMARK`. Raises `DataError` that names the line."""
    took: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(read_rows(out / TIMINGS), start=1):
        try:
            before = took.setdefault(f"{row['method']} on {row['benchmark']}", {"predictions": 0, "seconds": 0.0})
            for name in before:
                before[name] += row[name]
        except (KeyError, TypeError):
            raise DataError(f"{out / TIMINGS}:{number}: not a row of timings; take the file away") from None
    return took


def _note_timings(out: Path, cells: Sequence[Cell]) -> None:
    """Append what each cell took in this call."""
    rows = [
        {
            "benchmark": cell.header.benchmark,
            "method": cell.header.method,
            "predictions": len(cell.made),
            "seconds": round(cell.seconds, 3),
        }
        for cell in cells
        if cell.made
    ]
    if rows:
        append_jsonl(out / TIMINGS, *rows)


def _write_tables(out: Path, cells: Sequence[Cell], *, unlike: bool, say: Callable[[str], None]) -> ResultsTable:
    """Write `table.md` and `table.json` of the folder: this call's methods first. Unlike files are left out, and said,
    unless they are asked for."""
    order = list(dict.fromkeys(cell.header.method for cell in cells))

    def place(file: PredictionFile) -> int:
        return order.index(file.header.method) if file.header.method in order else len(order)

    found = sorted(find_results(str(out)), key=place)
    reasons = unlike_files(found)
    if reasons and not unlike:
        mine = {cell.path for cell in cells}
        if others := len(found) - len(mine):
            say(f"not in the table: {others} files of other calls ({reasons[0]}); --unlike puts them in")
        found = [file for file in found if file.path in mine]
    table = with_all_scores(found, allow_unlike=unlike)
    write_json(out / "table.json", table.as_dict() | {"timings": _read_timings(out)})
    atomic_write(out / "table.md", markdown(table).encode())
    return table
