"""`zerosearch evaluate`: benchmarks by methods, each prediction kept, and the table that they make."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zerosearch.commands.data import FIELDS_HELP
from zerosearch.commands.screen import Console
from zerosearch.process.runtime import prepare, quiet_libraries

if TYPE_CHECKING:
    from zerosearch.episodes.predictions import PredictionFile
    from zerosearch.evaluation.cells import Cell

console = Console()

TIMINGS = "timings.jsonl"


def evaluate(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Argument(help="A TOML file as for train: its model, protocol and evaluation.engine.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for predictions and tables; the same command resumes.")] = Path(
        "evaluation"
    ),
    methods: Annotated[
        str,
        typer.Option(
            help="direct, cot, rag, react, search-o1, ircot, tree-search, episode; LABEL=FOLDER: a policy; "
            "package.module:Name: your own."
        ),
    ] = "direct,cot,rag,episode",
    benchmarks: Annotated[
        str | None,
        typer.Option(
            help="Of nq, triviaqa, popqa, hotpotqa, 2wikimultihopqa, musique, bamboogle; question files; "
            "package.module:Name: your own."
        ),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Read benchmarks from this folder, not from the hub.")] = None,
    fields: Annotated[str | None, typer.Option(help=FIELDS_HELP)] = None,
    model: Annotated[str | None, typer.Option(help="The model: --set model.name=...")] = None,
    adapter: Annotated[str | None, typer.Option(help="Its LoRA adapter: --set model.adapter=...")] = None,
    model_url: Annotated[
        str | None, typer.Option(help="An OpenAI-compatible server that serves the model: --set model.base_url=...")
    ] = None,
    key_env: Annotated[
        str | None, typer.Option(help="The environment variable with its key: --set model.api_key_env=...")
    ] = None,
    engine: Annotated[str | None, typer.Option(help="The engine: --set evaluation.engine.kind=...")] = None,
    corpus: Annotated[str | None, typer.Option(help="Its corpus: --set evaluation.engine.bm25.corpus=...")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Draw so many questions of each benchmark, by seed.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Tries at each question; several need a temperature.")] = 1,
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy.")] = 0.0,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Of a prompted method's reply; none: 256, of search-o1 1024.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="Name the rows METHOD@LABEL, for another model or engine.")] = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Questions at a time; none: twice training.max_batch_rows.")
    ] = None,
    unlike: Annotated[
        bool, typer.Option("--unlike", help="Put all of the folder into one table, other engines' results too.")
    ] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting.")] = None,
) -> None:
    """Run a model and baseline methods on benchmarks; keep every prediction and print a table.

    Without benchmarks the questions are the configuration's evaluation.questions. The same command resumes an
    interrupted evaluation.
    """
    prepare()
    from zerosearch.config_file import load_config
    from zerosearch.episodes.predictions import Header
    from zerosearch.episodes.questions import Fields
    from zerosearch.episodes.search import close_connections
    from zerosearch.errors import ConfigError, RunError
    from zerosearch.evaluation.benchmarks import distinct, open_benchmark
    from zerosearch.evaluation.cells import Cell, fill
    from zerosearch.evaluation.lineup import Lineup, NoEngine, engine_of, method_settings, parse_methods
    from zerosearch.evaluation.methods import Errors
    from zerosearch.evaluation.results import NO_ENGINE
    from zerosearch.files.folders import owned
    from zerosearch.parts import Parts
    from zerosearch.spending.books import spent_budget, standing_meter
    from zerosearch.spending.meter import Budget, Metered

    short = {
        "model.name": model,
        "model.adapter": adapter,
        "model.base_url": model_url,
        "model.api_key_env": key_env,
        "evaluation.engine.kind": engine,
        "evaluation.engine.bm25.corpus": corpus,
        "evaluation.engine.dense.corpus": corpus,
    }
    overrides = [f"{key}={json.dumps(value)}" for key, value in short.items() if value is not None] + (set_ or [])
    settings = load_config(config, overrides)
    judge = settings.evaluation.engine
    if corpus is not None and (judge is None or judge.kind not in ("bm25", "dense")):
        raise ConfigError(f"--corpus: engine {judge.kind if judge else 'none'} has none (--engine bm25?)")
    if samples > 1 and temperature == 0:
        raise ConfigError(f"{samples} greedy tries at a question would all be the same: set --temperature")
    specs = parse_methods(methods, label)
    engine_config = engine_of(settings, specs)
    names = [name for name in (benchmarks or settings.evaluation.questions).split(",") if name.strip()]
    context.with_resource(owned(out, "evaluate"))
    check_tables(out)
    told = Fields.parse(fields or settings.evaluation.fields)
    wanted = distinct([open_benchmark(name, data, limit, settings.seed, told) for name in names])
    if settings.model.base_url is None:
        quiet_libraries()
    training = settings.training
    at_once = concurrency or 2 * training.max_batch_rows
    parts = Parts(settings)
    began = time.perf_counter()
    searching = NoEngine() if engine_config is None else parts.open_engine(engine_config)
    top_k = 0 if engine_config is None else engine_config.top_k
    # searches of rows that were not finished are paid for too
    meter = standing_meter(Budget(settings.engine.budget_usd, settings.engine.budget_searches), out, "evaluate")
    lineup = Lineup(
        settings,
        parts,
        Metered(searching, meter),
        Errors.limited(settings.engine.max_error_rate if engine_config is None else engine_config.max_error_rate),
        settings=method_settings(settings, top_k=top_k, temperature=temperature),
        simulated=engine_config is not None and engine_config.kind == "simulated",
        overrides=set_ or (),
        concurrency=at_once,
        max_tokens=max_tokens,
    )
    cells: list[Cell] = []
    for entrant in map(lineup.open, specs):
        for benchmark in wanted:
            header = Header(
                benchmark=benchmark.name,
                method=entrant.label,
                model=entrant.model,
                engine=searching.name if entrant.searches else NO_ENGINE,
                engine_identity=searching.identity if entrant.searches else NO_ENGINE,
                top_k=top_k if entrant.searches else 0,
                questions_digest=benchmark.digest,
                count=len(benchmark.questions),
                temperature=temperature,
                seed=settings.seed,
                samples=samples,
                source=benchmark.source,
                limit=benchmark.limit,
                sample_seed=benchmark.sample_seed,
                settings=entrant.settings,
            )
            cells.append(Cell.open(entrant.predictor, benchmark.questions, header, out))
    console.print(
        f"{sum(len(b.questions) for b in wanted)} questions x {len(specs)} methods x {samples} tries, "
        f"engine {searching.name}, into {out}/"
    )
    lines = Lines(cells)

    async def run() -> None:
        try:
            await fill(cells, concurrency=at_once, report=lines.report)
        finally:
            meter.take()
            await lineup.aclose()
            await close_connections(searching)

    try:
        with spent_budget("evaluation", f"the finished predictions are in {out}"):
            asyncio.run(run())
    finally:
        parts.models.close()
        note_timings(out, cells)
    conclude(out, cells, unlike=unlike)
    tell_cut_off(cells)
    console.print(f"{time.perf_counter() - began:.0f} s in total, including loading")
    if failed := sum(row.error is not None for cell in cells for row in cell.rows):
        last = lineup.errors.replies.last or lineup.errors.searches.last
        raise RunError(
            f"{failed} of {sum(cell.done for cell in cells)} predictions failed (the last one: {last}) and count as "
            "wrong; run the same command again, and they are asked again"
        )


class Lines:
    """A line of the screen for each cell that is finished, and one a few seconds for what goes on."""

    def __init__(self, cells: Sequence[Cell], every: float = 10.0) -> None:
        self._cells, self._every = cells, every
        self._began = self._last = time.monotonic()
        self._finished: set[tuple[str, str]] = set()

    def report(self, cell: Cell) -> None:
        name = (cell.header.benchmark, cell.header.method)
        if cell.done == cell.total and name not in self._finished:
            self._finished.add(name)
            console.print(cell_line(cell))
        elif time.monotonic() - self._last > self._every:
            self._last = time.monotonic()
            done, total = sum(c.done for c in self._cells), sum(c.total for c in self._cells)
            console.print(f"{done}/{total} predictions, {self._last - self._began:.0f} s", style="dim")


def cell_line(cell: Cell) -> str:
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


def tell_cut_off(cells: Sequence[Cell]) -> None:
    """Say how many predictions came to nothing because thoughts took all the room of a reply."""
    from zerosearch.episodes.predictions import CUT_OFF

    cut = sum(row.stop_reason == CUT_OFF for cell in cells for row in cell.rows)
    if cut:
        console.print(
            f"{cut} predictions have no answer because a thought took all the room of a reply: raise --max-tokens "
            "(of an episode: protocol.max_turn_tokens)",
            style="yellow",
        )


def check_tables(out: Path) -> None:
    """Raises `FolderError` where a table lies in `out` that is no evaluation's, `DataError` for damaged timings."""
    from zerosearch.errors import DataError
    from zerosearch.files.folders import check_file
    from zerosearch.files.jsonl import read_object

    def ours(path: Path) -> bool:
        try:
            return {"benchmarks", "timings"} <= read_object(path.with_suffix(".json")).keys()
        except DataError:
            return False

    check_file(out / "table.json", ours)
    check_file(out / "table.md", ours)
    read_timings(out)


def read_timings(out: Path) -> dict[str, dict[str, Any]]:
    """What all calls took, by `METHOD on BENCHMARK`. Raises `DataError` that names the line."""
    from zerosearch.errors import DataError
    from zerosearch.files.jsonl import read_rows

    took: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(read_rows(out / TIMINGS), start=1):
        try:
            before = took.setdefault(f"{row['method']} on {row['benchmark']}", {"predictions": 0, "seconds": 0.0})
            for name in before:
                before[name] += row[name]
        except (KeyError, TypeError):
            raise DataError(f"{out / TIMINGS}:{number}: not a row of timings; take the file away") from None
    return took


def note_timings(out: Path, cells: Sequence[Cell]) -> None:
    """Append what each cell took in this call to `timings.jsonl`."""
    from zerosearch.files.jsonl import append_jsonl

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


def conclude(out: Path, cells: Sequence[Cell], *, unlike: bool) -> None:
    """Print the table and write `table.md` and `table.json`."""
    from zerosearch.evaluation.results import find_results, unlike_files
    from zerosearch.evaluation.tables import markdown, rich_tables, with_all_scores
    from zerosearch.files.jsonl import atomic_write, write_json

    order = list(dict.fromkeys(cell.header.method for cell in cells))
    found = sorted(find_results(str(out)), key=lambda f: (f.header.method not in order, _place(f, order)))
    reasons = unlike_files(found)
    if reasons and not unlike:
        mine = {cell.path for cell in cells}
        others = [file for file in found if file.path not in mine]
        found = [file for file in found if file.path in mine]
        if others:
            console.print(f"not in the table: {len(others)} files of other calls ({reasons[0]}); --unlike puts them in")
    table = with_all_scores(found, allow_unlike=unlike)
    for shown in rich_tables(table, console.width):
        console.print(shown)
    write_json(out / "table.json", table.as_dict() | {"timings": read_timings(out)})
    atomic_write(out / "table.md", markdown(table).encode())
    console.print(f"table {out}/table.md, {out}/table.json; predictions {out}/BENCHMARK/METHOD.jsonl")


def _place(file: PredictionFile, order: Sequence[str]) -> int:
    return order.index(file.header.method) if file.header.method in order else 0
