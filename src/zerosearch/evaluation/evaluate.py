"""Run methods on benchmarks: keep every prediction in a file, and make the table.

table = evaluate(load_config(Path("mine.toml")), "direct,rag,mine=runs/mine", "nq,bamboogle", trials=Trials(limit=500))
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from zerosearch.config import TrainConfig
from zerosearch.episodes.predictions import CUT_OFF, Header, PredictionFile
from zerosearch.episodes.questions import Fields
from zerosearch.errors import ConfigError, FolderError
from zerosearch.evaluation.benchmarks import Benchmark, distinct, open_benchmark
from zerosearch.evaluation.cells import Cell, fill
from zerosearch.evaluation.entrants import Entrant, Setup, Trials, parse_methods
from zerosearch.evaluation.results import NO_ENGINE, find_results, is_training_run, unlike_files
from zerosearch.evaluation.tables import ResultsTable, build_table, markdown
from zerosearch.files.folders import check_file, check_no_file, owned
from zerosearch.files.jsonl import atomic_write, holds, write_json
from zerosearch.parts import Parts
from zerosearch.spending.ledger import counted

METHODS = "direct,cot,rag,episode"
_SECONDS_A_LINE = 10.0


def evaluate(
    config: TrainConfig,
    methods: str | Iterable[str] = METHODS,
    benchmarks: str | Path | Iterable[str | Path] | None = None,
    out: str | Path = "evaluation",
    trials: Trials = Trials(),  # noqa: B008 (frozen)
    say: Callable[[str], None] = print,
) -> ResultsTable:
    """Run each method (`entrants.py`) on every question of each benchmark, and write predictions and tables to `out`.

    `benchmarks` are names that `open_benchmark` knows, or files of questions. None: `evaluation.benchmarks`, or
    `evaluation.questions` if that is empty. The same call resumes an interrupted evaluation: predictions in `out` are
    not repeated. `complaint` of the table says what failed. Failed predictions count as wrong until the same call
    repeats them.

    Raises `ConfigError`, `DataError` or `ModelError` for what cannot be used, `FolderError` for a folder that is
    another's, `RunError` where too much fails or the disk is full, `BudgetError` where the engine's budget is spent.
    """
    if trials.samples > 1 and trials.temperature == 0:
        raise ConfigError(f"{trials.samples} greedy tries at a question would all be the same: set --temperature")
    specs = parse_methods(methods, trials.label)
    named = benchmarks or config.evaluation.benchmarks or config.evaluation.questions
    limit = trials.limit or (None if benchmarks else config.evaluation.benchmark_limit)
    each = named.split(",") if isinstance(named, str) else [named] if isinstance(named, Path) else named
    names = [str(name) for name in each if str(name).strip()]
    out = Path(out)
    check_no_file(out)
    if is_training_run(out):
        raise FolderError(f"--out {out}: is the folder of a training run; name another folder")
    with owned(out, "evaluate"):
        table = out / "table.json"
        for file in (table, table.with_suffix(".md")):
            check_file(file, lambda _: holds(table, "benchmarks", "digests", "rows"))
        fields = Fields.parse(trials.fields or config.evaluation.fields)
        data = None if trials.data is None else Path(trials.data)
        asked = distinct([open_benchmark(name, data, limit, config.seed, fields) for name in names])
        with Parts(config, spending=out, work="evaluate") as parts:
            setup = Setup(parts, specs, trials)
            cells = [_cell(setup, entrant, one, out) for entrant in map(setup.enter, specs) for one in asked]
            engine = NO_ENGINE if setup.engine is None else setup.engine.name
            count = sum(len(one.questions) for one in asked)
            work = f"{counted(count, 'question')} x {counted(len(specs), 'method')}"
            tries = f" x {trials.samples} tries" if trials.samples > 1 else ""
            say(f"{work}{tries}, engine {engine}, into {out}/")
            parts.run(fill(cells, concurrency=setup.concurrency, report=_progress(cells, say)))
        made = _write_tables(out, cells, unlike=trials.unlike, say=say)
    rows = [row for cell in cells for row in cell.rows]
    if cut := sum(row.stop_reason == CUT_OFF for row in rows):
        say(
            f"{counted(cut, 'prediction')} {'has' if cut == 1 else 'have'} no answer because a thought took all the "
            "room of a reply: raise --max-tokens (of an episode: protocol.max_turn_tokens)"
        )
    if not (failed := sum(row.error is not None for row in rows)):
        return made
    last = setup.errors.replies.last or setup.errors.searches.last
    return replace(
        made,
        complaint=f"{failed} of {counted(len(rows), 'prediction')} failed (the last one: {last}) and count as wrong; "
        "run the same command again, and they are asked again",
    )


def _cell(setup: Setup, entrant: Entrant, benchmark: Benchmark, out: Path) -> Cell:
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
        temperature=setup.trials.temperature,
        seed=setup.config.seed,
        samples=setup.trials.samples,
        source=benchmark.source,
        limit=benchmark.limit,
        sample_seed=benchmark.sample_seed,
        settings=entrant.settings,
    )
    return Cell.open(entrant.predictor, benchmark.questions, header, out)


def _progress(cells: Sequence[Cell], say: Callable[[str], None]) -> Callable[[Cell], None]:
    """Says a line for each cell that is finished, and one every few seconds for all of them."""
    began = last = time.monotonic()

    def report(cell: Cell) -> None:
        nonlocal last
        if cell.done == cell.total:
            say(_cell_line(cell))
        elif time.monotonic() - last > _SECONDS_A_LINE:
            last = time.monotonic()
            done, total = sum(c.done for c in cells), sum(c.total for c in cells)
            say(f"{done}/{counted(total, 'prediction')}, {last - began:.0f} s")

    return report


def _cell_line(cell: Cell) -> str:
    """What a finished cell came to."""
    rows = cell.rows
    em = sum(row.em for row in rows) / len(rows)
    searches = sum(len(row.searches) for row in rows) / len(rows)
    failed = sum(row.error is not None for row in rows)
    missed = sum(search.missed for row in rows for search in row.searches)
    what = f"{'predictions' if len(rows) != 1 else 'prediction':11}"
    return (
        f"{cell.header.benchmark:16} {cell.header.method:14} {len(rows):6} {what}  EM {em:6.1%}  "
        f"searches {searches:.2f}  {cell.seconds:.0f} s"
        + (f"  {failed} failed" if failed else "")
        + (f"  {counted(missed, 'query', 'queries')} without a recorded page" if missed else "")
    )


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
            say(f"not in the table: {counted(others, 'file')} of other calls ({reasons[0]}); --unlike puts them in")
        found = [file for file in found if file.path in mine]
    table = build_table(found, allow_unlike=unlike)
    write_json(out / "table.json", table.as_dict())
    atomic_write(out / "table.md", markdown(table).encode())
    return table
