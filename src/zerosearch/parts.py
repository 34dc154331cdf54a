"""The one place that opens and closes what a configuration describes: questions, engines, models, cost counting.

with Parts(config, spending=folder) as parts:
    generator, settings = parts.policy(temperature=0.0, top_k=parts.engine_config("judge").top_k)
    playing = run_episode(Try(question), generator, parts.engine("judge"), settings, ErrorRate())
    trajectory = parts.run(playing)
"""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from zerosearch.config import TrainConfig
from zerosearch.engines.config import EngineConfig
from zerosearch.engines.indexes import folder_digest
from zerosearch.engines.registry import Suppliers, open_engine
from zerosearch.episodes.generation import Generator
from zerosearch.episodes.questions import Fields, Question, load_questions
from zerosearch.episodes.rollout import RolloutSettings
from zerosearch.episodes.search import SearchEngine, close_connections
from zerosearch.errors import BudgetError, ConfigError, ModelError, check_at_least, first_line, install
from zerosearch.factbook import PREFIX, corpus_path, factbook_rows
from zerosearch.files.identity import identity_of
from zerosearch.models.adapters import resolve_adapter
from zerosearch.models.chat import ChatModel, GeneratorWriter, MeteredChat, OpenAIWriter
from zerosearch.models.config import ModelRef
from zerosearch.models.embedded import cache_dir, resolve_model
from zerosearch.models.endpoint import OpenAIGenerator
from zerosearch.models.loaded import LocalModels
from zerosearch.models.pool import PooledChat
from zerosearch.models.retry import PATIENT, Retry
from zerosearch.playing import rollout_settings
from zerosearch.process.loops import Loop
from zerosearch.process.runtime import prepare, quiet_libraries
from zerosearch.simulator.engine import SimulatedEngine
from zerosearch.spending.books import standing_meter
from zerosearch.spending.meter import Budget, Meter, Metered, MeteredPolicy

if TYPE_CHECKING:  # it needs torch
    from zerosearch.models.local import LocalModel

T = TypeVar("T")
Role = Literal["train", "judge", "real"]


class NotFetched(ModelError):
    """A model of the hub that is not on this machine: a run fetches it."""


def local_models(config: TrainConfig, kind: type[LocalModels] = LocalModels) -> LocalModels:
    """Those that `config` asks for: nothing is loaded yet."""
    model, training = config.model, config.training
    rows, tokens = training.max_batch_rows, training.max_batch_tokens
    return kind(model.device, model.dtype, rows, tokens, training.merge_adapters, model.sampler)


class Parts:
    """Everything that `config` describes. A part is opened once, when it is first needed. All are closed in reverse
    order.

    `spending` is the folder for records of cost: the budget applies to all calls with that folder together; without a
    folder, to this call. `work` names the call in these records. All openers raise `ConfigError`, `DataError` or
    `ModelError` for what is missing or cannot be used.

    Use it with `with` and `run`, which has its own event loop, or with `async with` in a running loop.
    """

    def __init__(self, config: TrainConfig, *, spending: Path | None = None, work: str = "") -> None:
        prepare()  # before a model imports torch
        self.config = config
        self.models = local_models(config)
        self._spending, self._work = spending, work
        self._engines: dict[str, SearchEngine] = {}
        self._connected: list[object] = []  # what may hold connections, in the order of opening
        self._runner: Loop | None = None

    def __enter__(self) -> Parts:
        self._runner = Loop()
        return self

    def __exit__(self, *failure: object) -> None:
        assert self._runner is not None
        try:
            self._runner.run(self.aclose())
        finally:
            self._runner.close()

    async def __aenter__(self) -> Parts:
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.aclose()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns, run in the loop of this `with` block.

        Raises `BudgetError` with a line that says how to resume, whatever `work` raises, and `RuntimeError` outside of
        the block.
        """
        if self._runner is None:
            work.close()
            raise RuntimeError("Parts.run belongs into a `with` block")
        try:
            return self._runner.run(work)
        except BudgetError:
            more = "a larger engine.budget_usd or engine.budget_searches"
            said = f"the budget of this call is spent; {more} allows more"
            if self._spending is not None:
                said = f"the budget is spent; what is finished is kept, and the same command with {more} resumes"
            raise BudgetError(said) from None

    @cached_property
    def meter(self) -> Meter:
        """What the searches of this call, and a policy behind a URL, have used. Created when first needed, after the
        folder is locked."""
        budget = Budget(self.config.engine.budget_usd, self.config.engine.budget_searches)
        return Meter(budget) if self._spending is None else standing_meter(budget, self._spending, self._work)

    async def aclose(self) -> None:
        """Record the cost and close everything, in the loop in which it was used."""
        try:
            if "meter" in vars(self):
                self.meter.take()
            while self._connected:
                await close_connections(self._connected.pop())
        finally:
            self.models.close()

    # ---- questions

    def questions(
        self,
        source: str | Path | None = None,
        limit: int | None = None,
        *,
        fields: str | None = None,
        answered: bool = True,
    ) -> list[Question]:
        """The first `limit` questions of `source`; None: of `data.train`, with its limit.

        `fields` None: the field names that the configuration has for this source, else `data.fields`.
        """
        data, evaluation = self.config.data, self.config.evaluation
        known = evaluation.fields if str(source) == evaluation.questions else data.fields
        return open_questions(
            source or data.train, limit or (data.limit if source is None else None), fields or known, answered=answered
        )

    def evaluation_questions(self) -> list[Question]:
        """Those of `evaluation.questions`, with its limit and fields."""
        evaluation = self.config.evaluation
        return open_questions(evaluation.questions, evaluation.limit, evaluation.fields)

    # ---- engines

    def engine_config(self, role: Role) -> EngineConfig:
        """`train`: `engine`. `judge`: `evaluation.engine`, or `engine` if there is none. `real`: the first of the two
        that is not simulated; raises `ConfigError` if both are."""
        train, judge = self.config.engine, self.config.evaluation.engine
        if role == "real":
            for engine in (train, judge):
                if engine is not None and engine.kind != "simulated":
                    return engine
            raise ConfigError("a real engine is needed: set engine or evaluation.engine to one that is not simulated")
        return train if role == "train" or judge is None else judge

    def engine(self, role: Role, *, metered: bool = True) -> SearchEngine:
        """The engine of `engine_config(role)`. `metered`: count its searches and respect the budget."""
        engine = self.open_engine(self.engine_config(role))
        return Metered(engine, self.meter) if metered else engine

    def open_engine(self, config: EngineConfig) -> SearchEngine:
        """The engine that `config` describes, not metered. Two equal configurations have one engine."""
        key = config.model_dump_json()
        if key not in self._engines:
            self._engines[key] = self._kept(open_engine(config, Suppliers(self._simulator, corpus_path)))
        return self._engines[key]

    def _kept(self, part: T) -> T:
        """`part`, whose connections are closed with these parts."""
        self._connected.append(part)
        return part

    def _simulator(self, config: EngineConfig) -> SimulatedEngine:
        simulator = config.simulated
        servers = simulator.servers(timeout_seconds=config.deadline_seconds or 600.0)
        if servers:
            writers = [OpenAIWriter(server, simulator.model) for server in servers]
            chat: ChatModel = writers[0] if len(writers) == 1 else PooledChat(writers)
            self._kept(chat)
        else:  # its decoding is timed apart from that of others
            model = ModelRef(simulator.model, simulator.adapter)
            chat = self._local_chat("simulator", model, identity=model_identity(model.name, model.adapter))
            adapter = self.models.adapter("simulator", model.name, model.adapter)
            self.models.simulating.add((model.name, adapter))
        return SimulatedEngine(
            chat,
            simulator,
            # a local model's pages wait in line behind the policy's batches: a deadline would only punish the queue
            retry=Retry(attempts=config.attempts, deadline_seconds=config.deadline_seconds if servers else None),
        )

    # ---- models

    def policy(
        self,
        config: TrainConfig | None = None,
        *,
        temperature: float,
        top_k: int,
        concurrency: int = 64,
    ) -> tuple[Generator, RolloutSettings]:
        """The policy to play with, not to train: local weights and their adapter, or the server at `model.base_url`.

        `config` None: that of these parts; another one may have another model, adapter and protocol. `top_k` documents
        are on a page; a server gets `concurrency` requests at a time, and the meter counts what they use.
        """
        config = config or self.config
        policy = config.model
        server = policy.server(timeout_seconds=policy.deadline_seconds, max_connections=concurrency)
        if server is not None:
            longest, retry = config.protocol.max_turn_tokens, replace(PATIENT, deadline_seconds=policy.deadline_seconds)
            endpoint = OpenAIGenerator(
                server, policy.name, max_turn_tokens=longest, endpoint=policy.endpoint, retry=retry
            )
            settings = rollout_settings(config, None, temperature=temperature, top_k=top_k)
            return MeteredPolicy(self._kept(endpoint), self.meter), settings
        from zerosearch.models.worker import TransformersGenerator

        model, worker = self.models.get(policy.name)
        adapter = self.models.adapter("policy", policy.name, policy.adapter)
        settings = rollout_settings(config, model, temperature=temperature, top_k=top_k)
        return TransformersGenerator(worker, adapter), settings

    def tokenizer(self) -> LocalModel:
        """The policy's tokenizer, as a model without weights; the hub is not asked.

        Raises `NotFetched` for a model of the hub that is not here yet, `ModelError` for one that cannot be read.
        """
        name = self.config.model.name
        path = resolve_model(name)
        try:
            import torch
            from transformers import AutoTokenizer

            from zerosearch.models.local import LocalModel
        except ImportError as error:
            raise ModelError(f"prompts and tokens need {error.name}: {install('train')}") from None
        quiet_libraries()
        try:
            tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
            tokenizer.encode("a")  # as `LocalModel.load` tries it
        except Exception as error:  # the hub client and the tokenizer readers raise what they like
            if path == name and not Path(path).exists():
                lacking = "its tokenizer is not on this machine (a run gets it from the model hub, this check not)"
                raise NotFetched(f"model {name}: {lacking}") from None
            raise ModelError(f"model {name}: no tokenizer could be read there ({first_line(error)})") from None
        return LocalModel(None, tokenizer, name, torch.device("cpu"))

    def chat(
        self, model: ModelRef, *, template: Literal["auto", "always", "never"] = "auto", keep_tags: bool = False
    ) -> ChatModel:
        """What answers a chat: a server, whose replies the meter counts, or local weights, which share memory with
        every other user of them.

        `template` and `keep_tags` are of a local model: see `render_messages`.
        """
        if model.server is not None:
            return MeteredChat(self._kept(OpenAIWriter(model.server, model.name)), self.meter)
        return self._local_chat("policy", model, chat=template, keep_tags=keep_tags)

    def _local_chat(self, role: str, model: ModelRef, **options: Any) -> GeneratorWriter:
        from zerosearch.models.worker import TransformersGenerator

        local, worker = self.models.get(model.name)
        generator = TransformersGenerator(worker, self.models.adapter(role, model.name, model.adapter))
        return GeneratorWriter(generator, local.tokenizer, model=str(model), **options)


def open_questions(
    source: str | Path, limit: int | None = None, fields: str | Fields | None = None, *, answered: bool = True
) -> list[Question]:
    """`factbook:SPLIT[:one-hop|two-hop]`, or anything that `episodes.questions.load_questions` reads."""
    source = str(source)
    if not source.startswith(PREFIX):
        named = fields if isinstance(fields, Fields) else Fields.parse(fields)
        return load_questions(source, limit=limit, fields=named, answered=answered)
    check_at_least(1, limit=limit)
    rows = factbook_rows(source)[:limit]
    return [
        Question(
            q.id,
            q.question,
            q.golden_answers,
            q.hops,
            q.bridge_country or "",
            tuple(f"{q.subject}: {fact}" for fact in q.supporting["facts"]),
        )
        for q in rows
    ]


def model_identity(name: str, adapter: str | None) -> str:
    """A hub's model by its name, a folder by what its files hold; and an adapter by what its files hold."""
    cache, folder = cache_dir(), Path(name)
    return identity_of(
        "local",
        model=folder.resolve().name if folder.is_dir() else name,
        weights=folder_digest(folder, cache)[:16] if folder.is_dir() else None,
        adapter=folder_digest(resolve_adapter(adapter), cache)[:16] if adapter else None,
    )
