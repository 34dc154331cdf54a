"""From a configuration to the parts of a run: questions, models, engines, generators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from zerosearch.config import TrainConfig
from zerosearch.engines import registry
from zerosearch.engines.config import EngineConfig
from zerosearch.engines.indexes import folder_digest
from zerosearch.engines.registry import Suppliers
from zerosearch.episodes.encoding import encode_prompt
from zerosearch.episodes.episode import Codec, EpisodeLimits
from zerosearch.episodes.generation import Generator, Sampling
from zerosearch.episodes.protocol import PROMPT, PROMPT_WITHOUT_SEARCH, render_prompt
from zerosearch.episodes.questions import Fields, Question, load_questions
from zerosearch.episodes.rollout import RolloutSettings
from zerosearch.episodes.search import SearchEngine
from zerosearch.factbook import PREFIX, corpus_path, factbook_rows
from zerosearch.files.identity import identity_of
from zerosearch.models.adapters import resolve_adapter
from zerosearch.models.chat import GeneratorWriter, OpenAIWriter, Writer
from zerosearch.models.embedded import cache_dir
from zerosearch.models.endpoint import RETRY, OpenAIGenerator, byte_codec, byte_limits
from zerosearch.models.retry import Retry
from zerosearch.simulator.engine import SimulatedEngine
from zerosearch.spending.ledger import Ledger

if TYPE_CHECKING:  # they need torch: where all models are behind URLs, none is needed
    from zerosearch.models.local import LocalModel
    from zerosearch.models.worker import Worker

SIMULATOR = "simulator"
POLICY = "policy"


def open_questions(
    source: str, limit: int | None = None, fields: str | None = None, *, answered: bool = True
) -> list[Question]:
    """`factbook:SPLIT[:one-hop|two-hop]`, or anything that `load_questions` reads."""
    if not source.startswith(PREFIX):
        return load_questions(source, limit=limit, fields=Fields.parse(fields), answered=answered)
    return [Question(q.id, q.question, q.golden_answers, {"hops": q.hops}) for q in factbook_rows(source)[:limit]]


@dataclass
class Models:
    """The models of a run by name, each loaded once, with the one worker that decodes for it.

    `merge` None merges adapters for sampling wherever there is a GPU; `fixed` None uses caches of fixed size there.
    """

    device: str = "auto"
    dtype: str = "auto"
    max_batch_rows: int = 256
    max_batch_tokens: int = 262_144
    merge: bool | None = None
    fixed: bool | None = None
    loaded: dict[tuple[str, bool], tuple[LocalModel, Worker]] = field(default_factory=dict)
    simulators: dict[tuple[str, Path], str] = field(default_factory=dict)
    simulating: set[tuple[str, str | None]] = field(default_factory=set)  # model and adapter, of every local simulator

    def get(self, name: str, *, dtype: str | None = None, alone: bool = False) -> tuple[LocalModel, Worker]:
        """`alone`: weights that nobody else uses, as they are about to change."""
        from zerosearch.models.local import LocalModel
        from zerosearch.models.worker import Worker

        if (name, alone) not in self.loaded:
            model = LocalModel.load(name, dtype=dtype or self.dtype, device=self.device)  # type: ignore[arg-type]
            merge = model.device.type != "cpu" if self.merge is None else self.merge
            fixed = model.device.type == "cuda" if self.fixed is None else self.fixed
            self.loaded[name, alone] = (model, Worker(model, self.max_batch_rows, self.max_batch_tokens, merge, fixed))
        return self.loaded[name, alone]

    def simulator(self, name: str, source: Path) -> str:
        """Put the adapter `source` on the model `name`, unless it is; its name there. Two simulators have two."""
        key = (name, source)
        if key not in self.simulators:
            adapter = f"{SIMULATOR}{len(self.simulators) + 1}" if self.simulators else SIMULATOR
            self.get(name)[0].add_adapter(adapter, source)
            self.simulators[key] = adapter
        return self.simulators[key]

    def simulator_seconds(self) -> float:
        """How long local simulators have been decoding: wall-clock time inside their models."""
        totals = [self.loaded[name, False][1].totals.get(adapter) for name, adapter in self.simulating]
        return sum(total.seconds for total in totals if total is not None)

    def close(self) -> None:
        for _, worker in self.loaded.values():
            worker.close()


def open_engine(config: EngineConfig, models: Models) -> SearchEngine:
    """The engine that `config` describes. A local simulator shares its model's weights with whoever else uses it."""
    suppliers = Suppliers(lambda config: _simulated(config, models), corpus_path)
    return registry.open_engine(config, suppliers)


def _simulated(config: EngineConfig, models: Models) -> SearchEngine:
    simulator = config.simulated
    # a local model's pages wait in line behind the policy's batches: a deadline would only punish the queue
    deadline = config.deadline_seconds if simulator.base_url else None
    return SimulatedEngine(
        _writer(config, models),
        style=simulator.style,
        temperature=simulator.temperature,
        max_tokens=simulator.max_tokens,
        rewrites=simulator.rewrites,
        plan_temperature=simulator.plan_temperature,
        retry=Retry(attempts=config.attempts, deadline_seconds=deadline),
        usd_per_million_prompt_tokens=simulator.usd_per_million_prompt_tokens,
        usd_per_million_completion_tokens=simulator.usd_per_million_completion_tokens,
    )


def _writer(config: EngineConfig, models: Models) -> Writer:
    simulator = config.simulated
    if simulator.base_url is not None:
        return OpenAIWriter(
            simulator.base_url,
            simulator.model,
            api_key_env=simulator.api_key_env,
            options=simulator.request,
            timeout_seconds=config.deadline_seconds or 600.0,
        )
    from zerosearch.models.worker import TransformersGenerator

    model, worker = models.get(simulator.model)
    adapter = models.simulator(simulator.model, resolve_adapter(simulator.adapter)) if simulator.adapter else None
    models.simulating.add((simulator.model, adapter))
    name = simulator.model if simulator.adapter is None else f"{simulator.model}+{simulator.adapter}"
    identity = model_identity(simulator.model, simulator.adapter)
    return GeneratorWriter(TransformersGenerator(worker, adapter), model.tokenizer, model=name, identity=identity)


def model_identity(name: str, adapter: str | None) -> str:
    """A hub's model by its name, a folder by what its files hold; and an adapter by what its files hold."""
    cache, folder = cache_dir(), Path(name)
    return identity_of(
        "local",
        model=folder.resolve().name if folder.is_dir() else name,
        weights=folder_digest(folder, cache)[:16] if folder.is_dir() else None,
        adapter=folder_digest(resolve_adapter(adapter), cache)[:16] if adapter else None,
    )


def open_policy(
    config: TrainConfig,
    models: Models,
    *,
    temperature: float,
    top_k: int,
    concurrency: int = 64,
    charge: Callable[[Ledger], None] = lambda used: None,
) -> tuple[Generator, RolloutSettings]:
    """The policy to play with, not to train: local weights and their adapter, or the server at `model.base_url`.

    `concurrency` requests are made of a server at a time; `charge` is given what each of them used.
    """
    policy = config.model
    if policy.base_url is not None:
        generator = OpenAIGenerator(
            policy.base_url,
            policy.name,
            max_turn_tokens=config.protocol.max_turn_tokens,
            endpoint=policy.endpoint,
            api_key_env=policy.api_key_env,
            options=policy.request,
            retry=replace(RETRY, deadline_seconds=policy.deadline_seconds),
            max_connections=concurrency,
            usd_per_million_prompt_tokens=policy.usd_per_million_prompt_tokens,
            usd_per_million_completion_tokens=policy.usd_per_million_completion_tokens,
            charge=charge,
        )
        limits = byte_limits(config.protocol.limits())
        codec = byte_codec()
        settings = _rollout_settings(config, codec, codec.encode, limits, temperature=temperature, top_k=top_k)
        return generator, settings
    from zerosearch.models.worker import TransformersGenerator

    model, worker = models.get(policy.name)
    if policy.adapter is not None:
        model.add_adapter(POLICY, resolve_adapter(policy.adapter))
    settings = rollout_settings(config, model, temperature=temperature, top_k=top_k)
    return TransformersGenerator(worker, POLICY if policy.adapter is not None else None), settings


def rollout_settings(config: TrainConfig, model: LocalModel, *, temperature: float, top_k: int) -> RolloutSettings:
    """What the episodes of a run have in common; `temperature` 0 for evaluation."""

    def encode(prompt: str) -> list[int]:
        return encode_prompt(prompt, model.tokenizer, chat=config.protocol.chat)

    limits = config.protocol.limits()
    return _rollout_settings(config, model.codec, encode, limits, temperature=temperature, top_k=top_k)


def _rollout_settings(
    config: TrainConfig,
    codec: Codec,
    encode: Callable[[str], list[int]],
    limits: EpisodeLimits,
    *,
    temperature: float,
    top_k: int,
) -> RolloutSettings:
    protocol = config.protocol
    template = protocol.prompt or (PROMPT if protocol.max_searches else PROMPT_WITHOUT_SEARCH)

    def prompt(question: str) -> list[int]:
        return encode(render_prompt(codec.clean(question), template=template))

    prompt("")  # instructions or a chat template that cannot be used are an error now, not after the first search
    training = config.training
    greedy = temperature == 0
    return RolloutSettings(
        codec=codec,
        prompt=prompt,
        limits=limits,
        sampling=Sampling(
            temperature=temperature,
            top_p=1.0 if greedy else training.top_p,
            top_k=0 if greedy else training.top_k,
        ),
        top_k=top_k,
        reward=config.reward.name,
        format_reward=config.reward.format,
        seed=config.seed,
        pages=config.curriculum.page_draw(),
        remembers=config.engine.simulated.remembers,
    )
