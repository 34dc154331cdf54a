"""The package from Python: what `import zerosearch` offers. Each function is one command, with values for options."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from zerosearch.asking import Answered, Asker, Listener
from zerosearch.config import TrainConfig
from zerosearch.config_file import config_from_dict
from zerosearch.engines.config import KINDS, EngineConfig
from zerosearch.episodes.questions import Fields, Question
from zerosearch.episodes.scoring import each_answer
from zerosearch.episodes.search import Quality, SearchPage, SearchRequest
from zerosearch.errors import ConfigError
from zerosearch.parts import Parts, open_questions
from zerosearch.process.loops import Loop
from zerosearch.process.runtime import prepare
from zerosearch.run_folder import policy_config
from zerosearch.tool_episode import ToolEpisode

if TYPE_CHECKING:  # it needs torch
    from zerosearch.learning.trainer import Sink

T = TypeVar("T")


class Engine:
    """A search engine opened by name. It is a `SearchEngine`, and closes what it opened.

    `search` is for programs that are asynchronous, `find` for scripts. Use it with `async with` or `with`, or call
    `aclose` or `close` at the end.
    """

    def __init__(self, config: EngineConfig, parts: Parts) -> None:
        self._parts = parts
        self._engine = parts.open_engine(config)
        self._runner, self._closed = Loop(), False
        self.name, self.identity, self.top_k = self._engine.name, self._engine.identity, config.top_k

    async def search(self, request: SearchRequest) -> SearchPage:
        """The page for `request`. Raises `EngineError` once its attempts and its deadline are used up."""
        return await self._engine.search(request)

    def find(
        self, query: str, question: Question | None = None, quality: Quality = Quality.USEFUL, seed: int = 0
    ) -> SearchPage:
        """`search` for scripts: the page for `query`, of `engine.top_k` documents."""
        return self.run(self.search(SearchRequest(query, self.top_k, question, quality, seed)))

    def tool_episode(
        self, question: str | Question, golden_answers: str | Sequence[str] = (), *, noise: float = 0.0, seed: int = 0
    ) -> ToolEpisode:
        """The state of one question in the environment of another trainer: `await search(query)`, `score(answer)`.

        `noise` is the probability that a simulated page is noisy.
        """
        if isinstance(question, str):
            question = replace(Question.asked(question), golden_answers=each_answer(golden_answers))
        return ToolEpisode(self, question, top_k=self.top_k, noise=noise, seed=seed)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns, run in the event loop of `find`: for scripts and notebooks."""
        return self._runner.run(work)

    async def aclose(self) -> None:
        await self._parts.aclose()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._runner.run(self.aclose())
            self._runner.close()

    async def __aenter__(self) -> Engine:
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.aclose()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()


def open_engine(kind: str, **settings: Any) -> Engine:
    """Open an engine by name, with the settings of `[engine]` and of its table (docs/configuration.md).

        open_engine("simulated", base_url="http://localhost:8000/v1", model="Qwen/Qwen2.5-14B-Instruct")
        open_engine("simulated", model="smollm2-135m", adapter="embedded:simulator")
        open_engine("bm25", corpus="factbook", top_k=3)

    Raises `ConfigError` for a setting that is unknown or out of range, `DataError` or `ModelError` for what is missing.
    """
    common = set(EngineConfig.model_fields) - set(KINDS) - {"kind", "settings"}
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in settings.items()}
    own = {key: value for key, value in settings.items() if key not in common}
    table = {kind if kind in KINDS else "settings": own} if own else {}
    shared = {key: value for key, value in settings.items() if key in common}
    config = config_from_dict({"engine": {"kind": kind, **shared, **table}}, f"open_engine({kind!r})")
    return Engine(config.engine, Parts(config))


def ask(
    question: str,
    config: TrainConfig | None = None,
    *,
    run: str | Path | None = None,
    temperature: float = 0.0,
    listener: Listener | None = None,
) -> Answered:
    """Ask a policy a question: the policy of `config`, the newest one of `run` (runs/NAME), or the one that ships.

    The engine is `evaluation.engine`, or `engine` if there is none. `listener` is called while the policy thinks,
    searches and answers. A failed search is part of the result. Raises `ConfigError`, `DataError` or `ModelError` for
    what cannot be used, `CheckpointError` for a run without a checkpoint, `BudgetError` where the budget is spent, and
    `PolicyError` where the server of the policy gives no text.
    """
    if config is not None and run is not None:
        raise ConfigError("config and run both say what to ask: give one of them")
    asked = Question.asked(question)
    with Parts(policy_config(run=run) if config is None else config) as parts:
        return Asker(parts, temperature=temperature).put(asked, listener)


def load_questions(
    source: str | Path, *, limit: int | None = None, fields: str | Fields | None = None, answered: bool = True
) -> list[Question]:
    """Read the questions of `source`: a file of any usual form, `factbook:SPLIT[:one-hop|two-hop]`, or
    `hub:NAME[:CONFIG]:SPLIT` (docs/data.md).

    `limit` takes the first ones. `fields` has the names of the fields of a row: `question=Frage,answers=Antwort,id=Nr`.
    `answered=False` also takes questions without golden answers. Skipped and changed rows are logged as warnings.

    Raises `DataError` for a missing or empty file, a malformed line (with its number) and a question without answers;
    `ConfigError` for a `limit` below 1 and for `fields` of another form.
    """
    return open_questions(source, limit, fields, answered=answered)


def train(
    config: TrainConfig, *, fresh: bool = False, sinks: Sequence[Sink] = (), say: Callable[[str], None] = print
) -> bool:
    """Teach a policy to search. Everything is written to `config.run_folder`, and at the end `report.html` of it. The
    same call resumes an interrupted run.

    `fresh` sets an older run folder aside and begins anew. Each step's metrics go to `sinks` as well as to the folder
    and to what `config.logging` asks for: a sink has `log(row)`, whose `row` is a line of `metrics.jsonl`, and
    `close()`. `say` gets a line for each step, evaluation and warning. Returns whether all steps are done:
    `training.max_minutes` may have ended it.

    Raises `ConfigError`, `ModelError`, `DataError` for what cannot be used, `CheckpointError` for a folder that cannot
    be resumed, `FolderError` for one that another process writes to, and `RunError` where the run had to stop.
    """
    prepare()
    from zerosearch.learning.lines import Lines
    from zerosearch.learning.run import train as train_policy
    from zerosearch.reporting import write_run_report

    lines = Lines(config.training.steps, lambda line, wrong: say("  ".join([line, *wrong])))
    complete = train_policy(config, fresh=fresh, sinks=[*sinks, lines], say=say)
    if os.environ.get("RANK", "0") == "0":  # of several processes the first
        say(f"report {write_run_report(config.run_folder)}")
    return complete
