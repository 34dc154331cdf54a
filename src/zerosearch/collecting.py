"""A policy answers questions with a real engine. Every episode is kept whole, so that its pages can be labelled.

collect(load_config("mine.toml"), Path("pages"), how=Collecting(limit=500, rollouts=2))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from zerosearch.config import TrainConfig
from zerosearch.episodes.questions import Question, questions_digest
from zerosearch.episodes.rollout import ErrorRate, run_episode
from zerosearch.episodes.search import SearchEngine, SearchPage, SearchRequest
from zerosearch.errors import ConfigError, DataError, FolderError, RunError, check_at_least
from zerosearch.files.folders import check_no_file, listed, owned
from zerosearch.files.identity import differences
from zerosearch.files.jsonl import read_object, write_json
from zerosearch.parts import Parts
from zerosearch.simulator.collect import Progress
from zerosearch.simulator.collect import collect as collect_episodes
from zerosearch.spending.ledger import Ledger, counted, dollars


@dataclass(frozen=True)
class Collecting:
    """How episodes are collected: the first `limit` questions (None: all), each `rollouts` times, `concurrency`
    episodes at once. `temperature` 0 is greedy, and all rollouts of a question are the same. `fields`: names of the
    fields of a file. `depth`: documents to ask for, of which the policy sees the first `top_k`; a cache holds all.

    Raises `ConfigError` for a number below 1, and for a `temperature` below 0.
    """

    limit: int | None = None
    fields: str | None = None
    rollouts: int = 1
    temperature: float = 1.0
    concurrency: int = 64
    depth: int | None = None

    def __post_init__(self) -> None:
        check_at_least(1, limit=self.limit, rollouts=self.rollouts, concurrency=self.concurrency, depth=self.depth)
        check_at_least(0, temperature=self.temperature)


class Deeper:
    """A `SearchEngine` that asks `engine` for `depth` documents and gives those that were wanted."""

    def __init__(self, engine: SearchEngine, depth: int) -> None:
        self.engine, self.depth = engine, depth
        self.name, self.identity = engine.name, engine.identity

    async def search(self, request: SearchRequest) -> SearchPage:
        """Raises what `engine` raises."""
        page = await self.engine.search(replace(request, top_k=self.depth))
        return replace(page, documents=page.documents[: request.top_k])


def collect(
    config: TrainConfig,
    out: str | Path,
    questions: str | None = None,
    how: Collecting = Collecting(),
    say: Callable[[str], None] = print,
) -> Progress:
    """Collect episodes in the folder `out`; the same call resumes. `questions` None: those of `data.train`.

    The engine is `engine`, or `evaluation.engine` if `engine` is simulated. Raises `ConfigError`, `DataError` or
    `ModelError` for what cannot be used, `FolderError` for a folder that is another's, `BudgetError` where the budget
    is spent, `PolicyError` where the server of the policy gives no text, and `RunError` at the end where searches
    failed.
    """
    out = Path(out)
    check_no_file(out)
    with owned(out, "collect"), Parts(config, spending=out, work="collect") as parts:
        engine_config = parts.engine_config("real")
        if how.depth is not None and how.depth < engine_config.top_k:
            raise ConfigError(
                f"--depth {how.depth}: the policy sees more, {counted(engine_config.top_k, 'document')} (top_k)"
            )
        check_collection(out)
        asked = parts.questions(questions, how.limit or config.data.limit, fields=how.fields)
        generator, playing = parts.policy(
            temperature=how.temperature, top_k=engine_config.top_k, concurrency=how.concurrency
        )
        engine, errors = parts.engine("real"), ErrorRate(engine_config.max_error_rate)
        if how.depth is not None:
            engine = Deeper(engine, how.depth)
        claim(out, described(parts, asked, how.temperature), asked)
        rollouts = counted(how.rollouts, "rollout")
        say(f"{counted(len(asked), 'question')} x {rollouts}, {engine.name}, into {out}/")
        collecting = collect_episodes(
            asked,
            partial(run_episode, generator=generator, engine=engine, settings=playing, errors=errors),
            out,
            rollouts=how.rollouts,
            concurrency=how.concurrency,
            report=lambda progress: say(line(progress)),
        )
        try:
            done = parts.run(collecting)
        finally:
            if config.model.base_url is not None and (used := parts.meter.used) != Ledger():
                say(spending(used))
        write_json(out / "progress.json", asdict(done))
    if errors.failed:
        raise RunError(f"{errors.complaint()}. The episodes that it ended are kept, and say so")
    return done


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
        "questions": _counted(asked),
    }


def check_collection(out: Path) -> None:
    """Raises `FolderError` where files lie in `out` that a collection would write, without its `collect.json`."""
    if not (out / "collect.json").exists():
        patterns = ("progress.json", "part-*.jsonl.zst", "spending*.jsonl")
        if found := sorted(path.name for pattern in patterns for path in out.glob(pattern)):
            raise FolderError(f"--out {out}: holds {listed(found)} and no collect.json; name another folder")


def claim(folder: Path, record: dict[str, Any], asked: Sequence[Question]) -> None:
    """Write what is collected here, or check that it is what was before; more questions after the same ones go on.

    Raises `DataError` naming the difference.
    """
    path = folder / "collect.json"
    if not path.exists():
        write_json(path, record)
        return
    before = read_object(path)
    if "policy" not in before:
        raise DataError(f"{path}: was not written by zerosearch collect; take another --out")
    for key, value in record.items():
        was = before.get(key)
        if key == "engine" and isinstance(was, str) and was != value:
            what = ", ".join(differences(was, value))
            raise DataError(f"{folder}: was collected with another engine ({what}); take another --out")
        if key == "questions" and isinstance(was, dict) and type(count := was.get("count")) is int and was != value:
            if was == _counted(asked[:count]):
                continue
            held = f"{counted(count, 'question')}, now it is {len(asked):,}"
            raise DataError(
                f"{folder}: was collected with {held}, and does not go on with fewer or other ones; take the old "
                "--limit or a larger one, or another --out"
            )
        if was != value:
            raise DataError(f"{folder}: was collected with {key} = {was!r}, now it is {value!r}; take another --out")
    write_json(path, record)


def _counted(asked: Sequence[Question]) -> dict[str, Any]:
    return {"count": len(asked), "digest": questions_digest(asked)}


def spending(used: Ledger) -> str:
    """What this call used of a policy behind a URL, and of a priced engine, in one line."""
    tokens = f"{counted(used.prompt_tokens, 'token')} read and {used.completion_tokens:,} written by the policy"
    return f"{tokens}, {counted(used.queries, 'search', 'searches')}, {dollars(used.usd)}"


def line(progress: Progress) -> str:
    """One line of the screen."""
    p, done = progress, max(progress.done, 1)
    failed = f"  {counted(p.failed, 'search', 'searches')} failed" if p.failed else ""
    cost = f"  ${p.cost_usd:.2f}" if p.cost_usd else ""
    shares = f"right {p.right / done:.0%}  searches {p.searches / done:.2f} an episode"
    return f"{p.done}/{counted(p.total, 'episode')}  {shares}{cost}{failed}"
