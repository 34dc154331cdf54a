"""Who takes part in an evaluation: from `direct,rag,zerosearch=runs/x` and a configuration to predictors.

`direct`, `cot`, `rag`, `react`, `search-o1`, `ircot`, `tree-search` and `episode` are played by the configuration's
model. `LABEL=FOLDER` is an episode of the policy in FOLDER: a run's folder (its newest checkpoint), a checkpoint's
`policy`, an adapter or a whole model. A policy that lies in a run's folder is asked as it was trained: with that run's
base model and protocol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zerosearch.config import TrainConfig, plain_name
from zerosearch.config_file import load_config
from zerosearch.engines.config import EngineConfig
from zerosearch.episodes.generation import Generator
from zerosearch.episodes.search import SearchEngine, SearchPage, SearchRequest, close_connections
from zerosearch.errors import ConfigError, ModelError
from zerosearch.evaluation.methods import EPISODE, ONCE, PROMPTED, Errors, MethodSettings, find_method
from zerosearch.evaluation.predictors import Episodes, Predictor, Prompted, charge
from zerosearch.models.adapters import resolve_adapter
from zerosearch.models.chat import ChatModel, GeneratorWriter, OpenAIWriter
from zerosearch.models.endpoint import RETRY
from zerosearch.parts import Parts
from zerosearch.playing import rollout_settings
from zerosearch.registry import is_path

_WORDS_PER_TOKEN = 0.75  # of English prose: how much of a page a chat model is shown, whose tokenizer may be elsewhere


class NoEngine:
    """Stands where no method searches."""

    name = identity = "none"

    async def search(self, request: SearchRequest) -> SearchPage:
        raise RuntimeError("a method searched that should not")


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


def parse_methods(text: str, suffix: str | None = None) -> list[MethodSpec]:
    """Read `direct,rag,zerosearch=runs/x`; `suffix` makes `rag` the row `rag@SUFFIX`, played by the same method.

    Raises `ConfigError` for a method that is not known, a label that cannot be a file's name, and two of one label.
    """
    specs: list[MethodSpec] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        label, given, policy = (piece.strip() for piece in part.partition("="))
        method = EPISODE if given else label
        if not given and is_path(label):
            find_method(label)
            label = label.partition(":")[2]
        elif not given and label not in (*PROMPTED, EPISODE):
            known = ", ".join((*PROMPTED, EPISODE))
            raise ConfigError(
                f"methods: {label!r} is none of {known}; a trained policy is LABEL=FOLDER, a method of your own "
                "package.module:Name"
            )
        if given and not policy:
            raise ConfigError(f"methods: {part!r} names no folder; write LABEL=FOLDER")
        if given and label in PROMPTED:
            raise ConfigError(f"methods: {label!r} is a prompted method; give the policy in {policy} another label")
        label = f"{label}@{suffix}" if suffix else label
        if not plain_name(label):
            raise ConfigError(f"methods: {label!r} cannot be the name of a file")
        specs.append(MethodSpec(label, method, policy or None))
    labels = [spec.label for spec in specs]
    for label in labels:
        if labels.count(label) > 1:
            raise ConfigError(f"methods: {label!r} is there twice")
    if not specs:
        raise ConfigError("methods: name at least one")
    return specs


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


def method_settings(config: TrainConfig, *, top_k: int, temperature: float) -> MethodSettings:
    """What the prompted methods are told: pages as long, and as many searches, as `protocol` gives an episode.

    A reply of a server is asked for again where it fails; that of a local model cannot fail.
    """
    behind_url = config.model.base_url is not None
    return MethodSettings(
        retry=replace(RETRY, deadline_seconds=config.model.deadline_seconds) if behind_url else ONCE,
        top_k=top_k,
        max_searches=config.protocol.max_searches,
        max_page_words=round(config.protocol.max_page_tokens * _WORDS_PER_TOKEN),
        temperature=temperature,
        seed=config.seed,
    )


def newest_policy(folder: Path) -> Path:
    """`folder` itself or, where it is a run's, the policy of its newest checkpoint. Raises `ModelError`."""
    if not (folder / "checkpoints").is_dir():
        return folder
    found = sorted(folder.glob("checkpoints/step-[0-9]*/policy"))
    if not found:
        raise ModelError(f"{folder}: is a run without a checkpoint")
    return found[-1]


def run_config(policy: Path, config: TrainConfig, overrides: Sequence[str]) -> TrainConfig:
    """`config` with the base model and the protocol of the run that `policy` lies in, if it does.

    `overrides` of the protocol, from the command line, still hold.
    """
    for folder in list(policy.resolve().parents)[:3]:
        if (folder / "checkpoints" / policy.resolve().parent.name).is_dir() and not (folder / "config.toml").exists():
            raise ConfigError(f"{folder}: holds no config.toml, which says how the policy was taught to search")
        if (folder / "config.toml").is_file() and (folder / "checkpoints").is_dir():
            told = [o for o in overrides if o.strip().startswith("protocol.")]
            trained = load_config(folder / "config.toml", told)
            model = config.model.model_copy(update={"name": trained.model.name, "adapter": None, "base_url": None})
            return config.model_copy(update={"model": model, "protocol": trained.protocol})
    return config


class Lineup:
    """Opens the predictors of an evaluation: every model once, every adapter once. `max_tokens` bounds the replies of
    prompted methods; None: what suits each."""

    def __init__(
        self,
        config: TrainConfig,
        parts: Parts,
        engine: SearchEngine,
        errors: Errors,
        *,
        settings: MethodSettings,
        simulated: bool,
        overrides: Sequence[str] = (),
        concurrency: int = 64,
        max_tokens: int | None = None,
    ) -> None:
        self._config, self._parts, self._engine, self.errors = config, parts, engine, errors
        self._settings, self._noise, self._overrides = settings, 0.0 if simulated else None, overrides
        self._concurrency = concurrency
        self._max_tokens = max_tokens
        self._opened: list[object] = []
        self._adapters: dict[tuple[str, Path], str] = {}
        self._chat: ChatModel | None = None

    async def aclose(self) -> None:
        """Close the connections of models behind a URL."""
        for opened in self._opened:
            await close_connections(opened)

    def open(self, spec: MethodSpec) -> Entrant:
        """Raises `ModelError` for a policy that cannot be loaded, `ConfigError` for settings that it cannot have."""
        if spec.method != EPISODE:
            return self._prompted(spec)
        config, adapter = self._config, self._config.model.adapter
        if spec.policy is not None:
            policy = newest_policy(resolve_adapter(spec.policy))
            config = run_config(policy, config, self._overrides)
            if (policy / "adapter_config.json").is_file():
                adapter = str(policy)
            else:
                config = config.model_copy(update={"model": config.model.model_copy(update={"name": str(policy)})})
                adapter = None
        return self._episodes(spec, config, adapter)

    def _prompted(self, spec: MethodSpec) -> Entrant:
        method = find_method(spec.method)
        chat, told = self._open_chat(), self._settings
        told = replace(told, max_tokens=self._max_tokens or method.max_tokens)
        settings: dict[str, Any] = {"max_tokens": told.max_tokens, "prompts": method.digest}
        if spec.searches:
            settings |= {"max_searches": told.max_searches, "max_page_words": told.max_page_words}
        predictor = Prompted(method, chat, self._engine, told, self.errors)
        return Entrant(spec.label, predictor, chat.model, spec.searches, settings)

    def _episodes(self, spec: MethodSpec, config: TrainConfig, adapter: str | None) -> Entrant:
        temperature, top_k = self._settings.temperature, self._settings.top_k
        behind_url = spec.policy is None and config.model.base_url is not None
        generator: Generator
        if behind_url:
            generator, settings = self._parts.policy(
                config,
                temperature=temperature,
                top_k=top_k,
                concurrency=self._concurrency,
                charge=charge,
            )
            self._opened.append(generator)
        else:
            from zerosearch.models.worker import TransformersGenerator

            model, worker = self._parts.models.get(config.model.name)
            settings = rollout_settings(config, model, temperature=temperature, top_k=top_k)
            generator = TransformersGenerator(worker, self._adapter(config.model.name, adapter))
        name = config.model.name if adapter is None else f"{config.model.name}+{adapter}"
        predictor = Episodes(generator, self._engine, settings, self.errors, self._noise, behind_url=behind_url)
        protocol = config.protocol.model_dump(mode="json")
        return Entrant(spec.label, predictor, name, config.protocol.max_searches > 0, {"protocol": protocol})

    def _open_chat(self) -> ChatModel:
        if self._chat is None:
            model = self._config.model
            self._chat = self._chat_behind_url() if model.base_url is not None else self._local_chat()
        return self._chat

    def _chat_behind_url(self) -> ChatModel:
        model = self._config.model
        assert model.base_url is not None
        if model.endpoint != "chat":
            raise ConfigError(f"model.endpoint is {model.endpoint!r}: of all methods only {EPISODE} can be played so")
        writer = OpenAIWriter(
            model.base_url,
            model.name,
            api_key_env=model.api_key_env,
            options=model.request,
            timeout_seconds=model.deadline_seconds,
            max_connections=self._concurrency,
        )
        self._opened.append(writer)
        return writer

    def _local_chat(self) -> ChatModel:
        from zerosearch.models.worker import TransformersGenerator

        config = self._config
        model, worker = self._parts.models.get(config.model.name)
        adapter = self._adapter(config.model.name, config.model.adapter)
        name = config.model.name if adapter is None else f"{config.model.name}+{config.model.adapter}"
        generator = TransformersGenerator(worker, adapter)
        return GeneratorWriter(generator, model.tokenizer, model=name, chat=config.protocol.chat, keep_tags=True)

    def _adapter(self, model: str, source: str | None) -> str | None:
        """The name of an adapter on `model`, which is put there the first time."""
        if source is None:
            return None
        key = (model, resolve_adapter(source))
        if key not in self._adapters:
            name = f"policy{len(self._adapters) + 1}"
            self._parts.models.get(model)[0].add_adapter(name, key[1])
            self._adapters[key] = name
        return self._adapters[key]
