"""`zerosearch collect`: a policy answers questions with a real engine; every episode is kept whole."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zerosearch.commands.data import FIELDS_HELP
from zerosearch.commands.screen import Console
from zerosearch.process.runtime import prepare, quiet_libraries
from zerosearch.spending.ledger import dollars

if TYPE_CHECKING:
    from zerosearch.config import TrainConfig
    from zerosearch.engines.config import EngineConfig
    from zerosearch.simulator.collect import Progress
    from zerosearch.spending.ledger import Ledger

console = Console()


def collect(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(help="A TOML file as for train: its policy, protocol and real engine.")],
    out: Annotated[Path, typer.Option(help="Folder to collect in; the same command resumes.")],
    questions: Annotated[str | None, typer.Option(help="Other questions than data.train, written like it.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first so many.")] = None,
    fields: Annotated[str | None, typer.Option(help=FIELDS_HELP)] = None,
    rollouts: Annotated[int, typer.Option(min=1, help="Episodes a question.")] = 1,
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy: then one rollout says all.")] = 1.0,
    concurrency: Annotated[int, typer.Option(min=1, help="Episodes at a time.")] = 64,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting.")] = None,
) -> None:
    """Collect trajectories with a real engine, to label their pages and tune a simulator on them.

    The engine is the configuration's `engine`, or where that is simulated its `evaluation.engine`.
    """
    prepare()
    from zerosearch.config_file import load_config
    from zerosearch.episodes.questions import questions_digest
    from zerosearch.episodes.rollout import ErrorRate
    from zerosearch.episodes.search import close_connections
    from zerosearch.errors import RunError
    from zerosearch.files.folders import owned
    from zerosearch.files.jsonl import write_json
    from zerosearch.parts import Models, open_engine, open_policy, open_questions
    from zerosearch.simulator.collect import collect as run
    from zerosearch.spending.books import spent_budget, standing_meter
    from zerosearch.spending.ledger import Ledger
    from zerosearch.spending.meter import Budget, Metered

    settings = load_config(config, set_ or ())
    engine_config = real_engine(settings)
    context.with_resource(owned(out, "collect"))
    check_collection(out)
    asked = open_questions(
        questions or settings.data.train, limit or settings.data.limit, fields or settings.data.fields
    )
    behind_url = settings.model.base_url is not None
    if not behind_url:
        quiet_libraries()
    training = settings.training
    models = Models(
        settings.model.device,
        settings.model.dtype,
        training.max_batch_rows,
        training.max_batch_tokens,
        training.merge_adapters,
        training.fixed_cache,
    )
    # one budget, whichever engine; what was used for an episode that did not finish is paid for too
    meter = standing_meter(Budget(settings.engine.budget_usd, settings.engine.budget_searches), out, "collect")
    generator, playing = open_policy(
        settings,
        models,
        temperature=temperature,
        top_k=engine_config.top_k,
        concurrency=concurrency,
        charge=meter.count,
    )
    engine = open_engine(engine_config, models)
    record = {
        "policy": settings.model.name,
        "adapter": settings.model.adapter,
        "protocol": settings.protocol.model_dump(mode="json"),
        "engine": engine.identity,
        "top_k": engine_config.top_k,
        "temperature": temperature,
        "seed": settings.seed,
        "endpoint": settings.model.endpoint if behind_url else None,
        "questions": {"count": len(asked), "digest": questions_digest(asked)},
    }
    claim(out, record)
    console.print(f"{len(asked)} questions x {rollouts} rollouts, {engine.name}, into {out}/")

    errors = ErrorRate(engine_config.max_error_rate)

    async def collected() -> Progress:
        try:
            return await run(
                asked,
                generator,
                Metered(engine, meter),
                playing,
                errors,
                out,
                rollouts=rollouts,
                concurrency=concurrency,
                report=lambda progress: console.print(line(progress)),
            )
        finally:
            used = meter.take()
            if behind_url and used != Ledger():
                console.print(spending(used))
            await close_connections(engine)
            await close_connections(generator)

    try:
        with spent_budget("collection", f"the finished episodes are in {out}"):
            done = asyncio.run(collected())
    finally:
        models.close()
    write_json(out / "progress.json", asdict(done))
    if done.searches > done.failed:
        console.print(f"next: zerosearch label {out}")
    if errors.failed:
        raise RunError(f"{errors.complaint()}. The episodes that it ended are kept, and say so")


def real_engine(config: TrainConfig) -> EngineConfig:
    """The configuration's engine that is not simulated. Raises `ConfigError` where there is none."""
    from zerosearch.errors import ConfigError

    for engine in (config.engine, config.evaluation.engine):
        if engine is not None and engine.kind != "simulated":
            return engine
    raise ConfigError("a real engine is needed: set engine or evaluation.engine to one that is not simulated")


def check_collection(out: Path) -> None:
    """Raises `FolderError` where files lie in `out` that a collection would write, without its `collect.json`."""
    from zerosearch.errors import FolderError
    from zerosearch.files.folders import listed

    if not (out / "collect.json").exists():
        patterns = ("progress.json", "part-*.jsonl.zst", "spending*.jsonl")
        if found := sorted(path.name for pattern in patterns for path in out.glob(pattern)):
            raise FolderError(f"--out {out}: holds {listed(found)} and no collect.json; name another folder")


def claim(folder: Path, record: dict[str, Any]) -> None:
    """Write what is collected here, or check that it is what was before. Raises `DataError` naming the difference."""
    from zerosearch.errors import DataError
    from zerosearch.files.identity import differences
    from zerosearch.files.jsonl import read_object, write_json

    path = folder / "collect.json"
    if path.exists():
        before = read_object(path)
        if "policy" not in before:
            raise DataError(f"{path}: was not written by zerosearch collect; take another --out")
        for key, value in record.items():
            if key == "engine" and isinstance(before.get(key), str) and before[key] != value:
                what = ", ".join(differences(before[key], value))
                raise DataError(f"{folder}: was collected with another engine ({what}); take another --out")
            if before.get(key) != value:
                raise DataError(
                    f"{folder}: was collected with {key} = {before.get(key)!r}, now it is {value!r}; take another --out"
                )
    else:
        write_json(path, record)


def spending(used: Ledger) -> str:
    """What this call used of a policy behind a URL, and of a priced engine, in one line."""
    tokens = f"{used.prompt_tokens:,} tokens read and {used.completion_tokens:,} written by the policy"
    return f"{tokens}, {used.queries:,} searches, {dollars(used.usd)}"


def line(progress: Progress) -> str:
    """One line of the screen."""
    p = progress
    failed = f"  {p.failed} searches failed" if p.failed else ""
    cost = f"  ${p.cost_usd:.2f}" if p.cost_usd else ""
    right = p.right / p.done if p.done else 0.0
    each = p.searches / p.done if p.done else 0.0
    return f"{p.done}/{p.total} episodes  right {right:.0%}  searches {each:.2f} an episode{cost}{failed}"
