"""The participants of an evaluation: from `direct,rag,zerosearch=runs/x` and a configuration to predictors.

`direct`, `cot`, `rag`, `react`, `search-o1`, `ircot`, `tree-search`, `episode` and methods of your own
(`package.module:Name`) are played by the configuration's model. `LABEL=FOLDER` is an episode of the policy in FOLDER: a
run's folder (its newest checkpoint), a checkpoint's `policy`, an adapter or a whole model. A policy that lies in the
folder of a run is asked as it was trained: with that run's base model and protocol.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from zerosearch.config import TrainConfig, plain_name
from zerosearch.config_file import load_config
from zerosearch.engines.config import EngineConfig
from zerosearch.episodes.search import SearchEngine
from zerosearch.errors import ConfigError, ModelError, check_at_least
from zerosearch.evaluation.cells import Episodes, Predictor, Prompted
from zerosearch.evaluation.methods import EPISODE, ONCE, PROMPTED, Errors, MethodSettings, find_method
from zerosearch.models.adapters import resolve_adapter
from zerosearch.models.chat import ChatModel
from zerosearch.models.config import ModelRef
from zerosearch.models.retry import PATIENT
from zerosearch.parts import Parts
from zerosearch.registry import is_path
from zerosearch.run_folder import newest_policy

_WORDS_PER_TOKEN = 0.75  # of English prose: how much of a page a chat model is shown, whose tokenizer may be elsewhere


@dataclass(frozen=True)
class Trials:
    """How questions are asked in an evaluation.

    `samples`: tries for each question; more than one needs a `temperature`, because 0 is greedy. `limit`: questions
    drawn from each benchmark with the configuration's seed (None: all). `data`: folder of the benchmarks (None: the
    hub). `fields`: names of the fields of a file. `max_tokens`: limit of a prompted method's reply (None: 256,
    search-o1 1024). `label`: name the rows METHOD@LABEL. `concurrency`: questions at once (None: twice
    `training.max_batch_rows`). `overrides` of the protocol (`protocol.max_searches=3`) also apply to policies of runs.
    `unlike`: put all results of the folder into one table, also those of other engines.

    Raises `ConfigError` for a number below 1, and for a `temperature` below 0.
    """

    samples: int = 1
    temperature: float = 0.0
    limit: int | None = None
    data: str | Path | None = None
    fields: str | None = None
    max_tokens: int | None = None
    label: str | None = None
    concurrency: int | None = None
    overrides: Sequence[str] = ()
    unlike: bool = False

    def __post_init__(self) -> None:
        numbers = {"limit": self.limit, "max_tokens": self.max_tokens, "concurrency": self.concurrency}
        check_at_least(1, samples=self.samples, **numbers)
        check_at_least(0, temperature=self.temperature)


@dataclass(frozen=True)
class MethodSpec:
    """A row of the table: `label` names it, `method` plays it; `policy` is whose episodes they are, if not the
    configuration's model."""

    label: str
    method: str
    policy: str | None = None

    @property
    def searches(self) -> bool:
        return self.method == EPISODE or find_method(self.method).searches


@dataclass(frozen=True)
class Entrant:
    """A predictor with what its header says of it: its label, the model, and what else its predictions depend on."""

    label: str
    predictor: Predictor
    model: str
    searches: bool
    settings: Mapping[str, Any]


def parse_methods(methods: str | Iterable[str], suffix: str | None = None) -> list[MethodSpec]:
    """Read `direct,rag,zerosearch=runs/x`; `suffix` makes `rag` the row `rag@SUFFIX`, played by the same method.

    Raises `ConfigError` for a method that is not known, a label that cannot be a file's name, and two of one label.
    """
    parts = methods.split(",") if isinstance(methods, str) else methods
    specs = [_parse(part, suffix) for part in filter(None, map(str.strip, parts))]
    labels = [spec.label for spec in specs]
    for label in labels:
        if labels.count(label) > 1:
            raise ConfigError(f"methods: {label!r} is there twice")
    if not specs:
        raise ConfigError("methods: name at least one")
    return specs


def _parse(part: str, suffix: str | None) -> MethodSpec:
    label, given, policy = (piece.strip() for piece in part.partition("="))
    method = EPISODE if given else label
    if given and not policy:
        raise ConfigError(f"methods: {part!r} names no folder; write LABEL=FOLDER")
    if given and label in PROMPTED:
        raise ConfigError(f"methods: {label!r} is a prompted method; give the policy in {policy} another label")
    if not given and is_path(label):
        find_method(label)
        label = label.partition(":")[2]
    elif not given and label not in (*PROMPTED, EPISODE):
        known = ", ".join((*PROMPTED, EPISODE))
        raise ConfigError(
            f"methods: {label!r} is none of {known}; a trained policy is LABEL=FOLDER, a method of your own "
            "package.module:Name"
        )
    label = f"{label}@{suffix}" if suffix else label
    if not plain_name(label):
        raise ConfigError(f"methods: {label!r} cannot be the name of a file")
    return MethodSpec(label, method, policy or None)


def engine_of(config: TrainConfig, specs: Sequence[MethodSpec]) -> EngineConfig | None:
    """The engine's configuration, None where no method searches.

    A simulator sees the golden answers, so that one is never taken by default: only as `evaluation.engine`.
    Raises `ConfigError` where there is no other.
    """
    if not any(spec.searches for spec in specs):
        return None
    if config.evaluation.engine is not None:
        return config.evaluation.engine
    if config.engine.kind != "simulated":
        return config.engine
    raise ConfigError(
        "these methods search, and no engine is named: set evaluation.engine, or use --engine bm25 --corpus FILE "
        "(a simulator sees the golden answers: to evaluate with one, name it as evaluation.engine)"
    )


def policy_of(folder: Path) -> Path:
    """`folder` itself or, where it is a run's, its newest policy. Raises `ModelError`."""
    if not (folder / "checkpoints").is_dir():
        return folder
    policy = newest_policy(folder)
    if policy is None:
        raise ModelError(f"{folder}: is a run without a checkpoint")
    return policy


def run_config(policy: Path, config: TrainConfig, overrides: Sequence[str]) -> TrainConfig:
    """`config` with the base model and the protocol of the run that `policy` lies in, if it does.

    `overrides` of the protocol (`protocol.max_searches=3`) still hold.
    """
    for folder in list(policy.resolve().parents)[:3]:
        if (folder / "checkpoints" / policy.resolve().parent.name).is_dir() and not (folder / "config.toml").exists():
            raise ConfigError(f"{folder}: holds no config.toml, which says how the policy was taught to search")
        if (folder / "config.toml").is_file() and (folder / "checkpoints").is_dir():
            told = [o for o in overrides if o.strip().startswith("protocol.")]
            trained = load_config(folder / "config.toml", told)
            model = config.model.model_copy(update={"name": trained.model.name, "adapter": None})
            return config.model_copy(update={"model": model, "protocol": trained.protocol})
    return config


class Setup:
    """What all entrants of an evaluation share. `engine` is None where none of them searches.

    Raises `ConfigError` where they search and no engine is named (`engine_of`).
    """

    def __init__(self, parts: Parts, specs: Sequence[MethodSpec], trials: Trials) -> None:
        self.parts, self.config, self.trials = parts, parts.config, trials
        self.concurrency = trials.concurrency or 2 * self.config.training.max_batch_rows
        engine = engine_of(self.config, specs)
        self.engine: SearchEngine | None = None if engine is None else parts.engine("judge")
        self.top_k = 0 if engine is None else engine.top_k
        self.noise = 0.0 if engine is not None and engine.kind == "simulated" else None
        self.errors = Errors.limited((engine or self.config.engine).max_error_rate)

    def enter(self, spec: MethodSpec) -> Entrant:
        """Raises `ModelError` for a policy that cannot be loaded, `ConfigError` for settings that it cannot have."""
        if spec.method != EPISODE:
            return self._prompted(spec)
        config = self.config
        if spec.policy is not None:
            policy = policy_of(resolve_adapter(spec.policy))
            config = run_config(policy, config, self.trials.overrides)
            is_adapter = (policy / "adapter_config.json").is_file()
            whose = {"adapter": str(policy)} if is_adapter else {"name": str(policy), "adapter": None}
            model = config.model.model_copy(update={**whose, "base_url": None})
            config = config.model_copy(update={"model": model})
        return self._episodes(spec, config)

    @cached_property
    def settings(self) -> MethodSettings:
        """What the prompted methods are told: pages as long, and as many searches, as `protocol` gives an episode.

        A reply of a server is asked for again where it fails; that of a local model cannot fail.
        """
        model, protocol = self.config.model, self.config.protocol
        return MethodSettings(
            retry=ONCE if model.base_url is None else replace(PATIENT, deadline_seconds=model.deadline_seconds),
            top_k=self.top_k,
            max_searches=protocol.max_searches,
            max_page_words=round(protocol.max_page_tokens * _WORDS_PER_TOKEN),
            temperature=self.trials.temperature,
            seed=self.config.seed,
        )

    @cached_property
    def _chat(self) -> ChatModel:
        model = self.config.model
        if model.base_url is not None and model.endpoint != "chat":
            raise ConfigError(f"model.endpoint is {model.endpoint!r}: of all methods only {EPISODE} can be played so")
        server = model.server(timeout_seconds=model.deadline_seconds, max_connections=self.concurrency)
        ref = ModelRef(model.name, model.adapter, server)
        return self.parts.chat(ref, template=self.config.protocol.chat, keep_tags=True)

    def _prompted(self, spec: MethodSpec) -> Entrant:
        method = find_method(spec.method)
        told = replace(self.settings, max_tokens=self.trials.max_tokens or method.max_tokens)
        settings: dict[str, Any] = {"max_tokens": told.max_tokens, "prompts": method.digest}
        if spec.searches:
            settings |= {"max_searches": told.max_searches, "max_page_words": told.max_page_words}
        predictor = Prompted(method, self._chat, self.engine, told, self.errors)
        return Entrant(spec.label, predictor, self._chat.model, spec.searches, settings)

    def _episodes(self, spec: MethodSpec, config: TrainConfig) -> Entrant:
        assert self.engine is not None  # episodes search
        model = config.model
        generator, settings = self.parts.policy(
            config, temperature=self.trials.temperature, top_k=self.top_k, concurrency=self.concurrency
        )
        predictor = Episodes(generator, self.engine, settings, self.errors, self.noise)
        name = model.name if model.adapter is None else f"{model.name}+{model.adapter}"
        protocol = config.protocol.model_dump(mode="json")
        return Entrant(spec.label, predictor, name, config.protocol.max_searches > 0, {"protocol": protocol})
