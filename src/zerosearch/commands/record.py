"""`zerosearch record`: keep a real engine's pages for many queries, with more documents than a policy sees."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zerosearch.commands.data import FIELDS_HELP
from zerosearch.commands.screen import console, typed
from zerosearch.config_file import load_config
from zerosearch.episodes.rollout import ErrorRate
from zerosearch.errors import DataError, RunError
from zerosearch.files.folders import owned
from zerosearch.files.formats import read_jsonl
from zerosearch.parts import Parts
from zerosearch.process.runtime import prepare
from zerosearch.simulator.collect import read_collection
from zerosearch.simulator.record import Query, Recorded, RecordSettings, read_recorded_pages
from zerosearch.simulator.record import record as record_pages
from zerosearch.spending.ledger import counted


def record(
    context: typer.Context,
    config_file: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="A TOML file as for train; its real engine is used.")
    ],
    queries: Annotated[
        str,
        typer.Option(help="A folder of `collect` or recorded pages (their queries), or questions (each is one query)."),
    ],
    out: Annotated[Path, typer.Option(help="File to append to (.jsonl); the same command resumes.")],
    depth: Annotated[
        int, typer.Option(min=1, help="Documents for each query. Those after the first top_k make noisy pages.")
    ] = 20,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first N queries.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Number of searches at once.")] = 16,
    fields: Annotated[str | None, typer.Option(help=FIELDS_HELP)] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting.")] = None,
) -> None:
    """Record the pages that a real engine returns, for the queries of a collection or of search traces, or for
    whole questions.

    The file is read by `label --recorded` and by the engine `recorded`.
    """
    prepare()
    if out.suffix != ".jsonl":
        raise DataError(f"{out}: recordings are appended to a plain .jsonl file")
    config = load_config(config_file, set_ or ())
    with Parts(config, spending=out.with_suffix(".spending"), work="record") as parts:
        engine_config = parts.engine_config("real")
        context.with_resource(owned(out, "record"))
        asked = open_recordable(parts, queries, limit, fields)
        engine, errors = parts.engine("real"), ErrorRate(engine_config.max_error_rate)
        console.print(
            f"{counted(len(asked), 'query', 'queries')}, {engine.name}, {counted(depth, 'document')} each, into {out}"
        )
        recording = record_pages(
            asked,
            engine,
            out,
            errors,
            RecordSettings(depth, concurrency),
            report=lambda progress: console.print(f"{progress.recorded}/{progress.total}"),
        )
        done = parts.run(recording)
    console.print(conclusion(done))
    if done.recorded:
        console.next(typed("label", config_file, "--recorded", out, "--out", "labels.jsonl"))
    if done.failed:
        raise RunError(f"{errors.complaint()}. The same command asks again what is not recorded")
    if not done.recorded:
        raise RunError(f"{out}: no page was recorded: {engine.name} holds none for these queries")


def conclusion(done: Recorded) -> str:
    """What was recorded and what was not, in one line."""
    failed = f"; {counted(done.failed, 'search', 'searches')} failed" if done.failed else ""
    missed = f"; not in the recording that was asked: {done.missed}" if done.missed else ""
    nothing = f"; for {done.nothing} of them nothing was found" if done.nothing else ""
    return f"{done.recorded} of {counted(done.total, 'query', 'queries')} recorded{nothing}{failed}{missed}"


def open_recordable(parts: Parts, source: str, limit: int | None, fields: str | None = None) -> list[Query]:
    """The queries of a collection's trajectories or of recorded pages; or questions, each asked whole, which may be
    without answers (BEIR's queries). Raises `DataError` where there are none."""
    path = Path(source)
    if path.is_dir():
        found = [Query(s.query, t.question, turn) for t in read_collection(path) for turn, s in enumerate(t.searches)]
    elif path.is_file() and _holds_queries(path):
        found = [Query(page.query, page.question, page.turn) for page in read_recorded_pages(path)[0]]
    else:
        found = [Query(q.text, q) for q in parts.questions(source, limit, fields=fields, answered=False)]
    if not found:
        raise DataError(f"{source}: holds no query; does the policy search?")
    distinct = {(q.question.id, q.text): q for q in found}
    return list(distinct.values())[:limit]


def _holds_queries(path: Path) -> bool:
    if not path.name.endswith((".jsonl", ".jsonl.gz")):
        return False
    first = next((row for _, row in read_jsonl(path)), None)
    return isinstance(first, dict) and "query" in first and "results" in first
