"""`zerosearch collect`: a policy answers questions with a real engine; every episode is kept whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from zerosearch.commands.data import FIELDS_HELP
from zerosearch.commands.screen import console
from zerosearch.config_file import load_config
from zerosearch.episodes.questions import Question, questions_digest
from zerosearch.episodes.rollout import ErrorRate, run_episode
from zerosearch.errors import DataError, FolderError, RunError
from zerosearch.files.folders import listed, owned
from zerosearch.files.identity import differences
from zerosearch.files.jsonl import read_object, write_json
from zerosearch.parts import Parts
from zerosearch.process.runtime import prepare, quiet_libraries
from zerosearch.simulator.collect import Progress
from zerosearch.simulator.collect import collect as collect_episodes
from zerosearch.spending.ledger import Ledger, dollars


def collect(
    context: typer.Context,
    config_file: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="A TOML file as for train: its policy, protocol and real engine.")
    ],
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
    config = load_config(config_file, set_ or ())
    behind_url = config.model.base_url is not None
    with Parts(config, spending=out, work="collect") as parts:
        engine_config = parts.engine_config("real")
        context.with_resource(owned(out, "collect"))
        check_collection(out)
        asked = parts.questions(questions, limit or config.data.limit, fields=fields)
        if not behind_url:
            quiet_libraries()
        top_k = engine_config.top_k
        generator, playing = parts.policy(temperature=temperature, top_k=top_k, concurrency=concurrency)
        engine, errors = parts.engine("real"), ErrorRate(engine_config.max_error_rate)
        claim(out, described(parts, asked, temperature))
        console.print(f"{len(asked)} questions x {rollouts} rollouts, {engine.name}, into {out}/")
        collecting = collect_episodes(
            asked,
            partial(run_episode, generator=generator, engine=engine, settings=playing, errors=errors),
            out,
            rollouts=rollouts,
            concurrency=concurrency,
            report=lambda progress: console.print(line(progress)),
        )
        try:
            done = parts.run(collecting)
        finally:
            if behind_url and (used := parts.meter.used) != Ledger():
                console.print(spending(used))
    write_json(out / "progress.json", asdict(done))
    if done.searches > done.failed:
        console.print(f"next: zerosearch label {out}")
    if errors.failed:
        raise RunError(f"{errors.complaint()}. The episodes that it ended are kept, and say so")


def described(parts: Parts, asked: Sequence[Question], temperature: float) -> dict[str, Any]:
    """What the episodes of a collection have in common: its `collect.json`."""
    config = parts.config
    return {
        "policy": config.model.name,
        "adapter": config.model.adapter,
        "protocol": config.protocol.model_dump(mode="json"),
        "engine": parts.engine("real").identity,
        "top_k": parts.engine_config("real").top_k,
        "temperature": temperature,
        "seed": config.seed,
        "endpoint": config.model.endpoint if config.model.base_url is not None else None,
        "questions": {"count": len(asked), "digest": questions_digest(asked)},
    }


def check_collection(out: Path) -> None:
    """Raises `FolderError` where files lie in `out` that a collection would write, without its `collect.json`."""
    if not (out / "collect.json").exists():
        patterns = ("progress.json", "part-*.jsonl.zst", "spending*.jsonl")
        if found := sorted(path.name for pattern in patterns for path in out.glob(pattern)):
            raise FolderError(f"--out {out}: holds {listed(found)} and no collect.json; name another folder")


def claim(folder: Path, record: dict[str, Any]) -> None:
    """Write what is collected here, or check that it is what was before. Raises `DataError` naming the difference."""
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
