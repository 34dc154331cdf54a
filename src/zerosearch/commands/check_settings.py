"""What a configuration means, for `zerosearch check`: settings, curriculum, searches, and what is missing here."""

from __future__ import annotations

import importlib.util
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from zerosearch.commands.screen import console
from zerosearch.commands.train import describe
from zerosearch.config import TrainConfig
from zerosearch.engines.config import KINDS, EngineConfig
from zerosearch.engines.web import KEY_VARIABLES
from zerosearch.episodes.scoring import SCORES
from zerosearch.errors import ConfigError, ModelError, ZeroSearchError, install
from zerosearch.models.adapters import resolve_adapter, tuned_otherwise
from zerosearch.models.config import Section
from zerosearch.models.embedded import EMBEDDED_MODELS
from zerosearch.registry import load
from zerosearch.spending.ledger import PRICES, dollars
from zerosearch.training_config import ALGORITHMS


def print_settings(config: TrainConfig, where: str) -> None:
    """The run in a few lines: what differs from the defaults, the curriculum, and the searches it may make."""
    console.print(describe(config))
    changed = dict(differences(config, TrainConfig.model_validate({})))
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0), title=Text(f"\n{where}"), title_justify="left")
    for section in TrainConfig.model_fields:
        mine = [
            (key.removeprefix(f"{section}."), v) for key, v in changed.items() if f"{key}.".startswith(f"{section}.")
        ]
        if mine or isinstance(getattr(config, section), Section):
            said = "  ".join(f"{key} = {value}" if key != section else str(value) for key, value in mine)
            table.add_row(Text(section, style="bold"), Text(said or "as by default", style="" if said else "dim"))
    console.print(table)
    console.print("(what differs from the defaults; --toml prints every setting)\n", style="dim")
    if config.engine.kind == "simulated" and config.curriculum.kind == "adaptive":
        c = config.curriculum
        console.print(
            f"noise: from {c.start:g}, {c.rate:g} a step towards {c.end:g} while the mean reward is {c.target:g} or "
            "more, back while it is not"
        )
    elif config.engine.kind == "simulated":
        curve = config.curriculum.build()
        points = "   ".join(f"{percent} %: {curve.noise(percent, 100):.3f}" for percent in (0, 25, 50, 75, 100))
        console.print(f"noise, by the share of training done ({config.curriculum.kind})   {points}")
    else:
        console.print("noise: none, the engine is a real one and the curriculum is not used")
    if config.engine.kind == "simulated":
        print_noise_kinds(config)
    print_searches(config)


def print_noise_kinds(config: TrainConfig) -> None:
    """One line where pages or noise are others than the paper's."""
    kinds = Counter(kind.value for kind in config.curriculum.noise_kinds)
    mixed = config.curriculum.pages == "mixed"
    if mixed or set(kinds) != {"plain"}:
        shares = ", ".join(f"{kind} {count / kinds.total():.0%}" for kind, count in kinds.items())
        console.print(f"drawn for each {'document' if mixed else 'page'}; noisy ones are: {shares}")
    if mixed and config.engine.simulated.style == "tuned":
        console.print("a tuned simulator writes two whole pages for a mixed one: about twice the tokens")


def print_searches(config: TrainConfig) -> None:
    training, evaluations = most_searches(config)
    total = training + evaluations
    whole = "" if config.evaluation.limit else " (evaluations not counted: evaluation.limit is none)"
    console.print(
        f"searches at most: {training:,} in training + {evaluations:,} in evaluations = {total:,}{whole}; with Google "
        f"by SerpAPI, at ${PRICES.serpapi_search * 1000:.3f} per 1,000: {dollars(PRICES.serpapi(total))}",
    )


def most_searches(config: TrainConfig) -> tuple[int, int]:
    """The most searches in training, and in all evaluations (0 where `limit` is None). Retries do not count."""
    training, evaluation, each = config.training, config.evaluation, config.protocol.max_searches
    made = training.steps * training.questions_per_step * training.rollouts * each
    rounds = 2 + ((training.steps - 1) // evaluation.every if evaluation.every else 0)
    questions = evaluation.limit or 0
    real = evaluation.engine is not None and evaluation.engine.kind != "simulated"
    again = min(questions, evaluation.transfer_limit) if real and config.engine.kind == "simulated" else 0
    return made, rounds * (questions + again) * each


def differences(ours: Section, defaults: Section | None, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`("engine.top_k", 3)` for every setting that is not the default. A section that is none by default is compared
    with what it holds by default when it is there.
    """
    for key in ours.used():
        value = getattr(ours, key)
        default = getattr(defaults, key) if defaults is not None else None
        if isinstance(value, Section):
            yield from differences(value, default if default is not None else type(value)(), f"{prefix}{key}.")
        elif value != default:
            shown = "none" if value is None else ", ".join(value) if isinstance(value, list) else value
            yield prefix + key, str(shown).lower() if isinstance(shown, bool) else shown


@dataclass
class Findings:
    """What stands in the way of a run. `wrong`: settings that cannot work. `missing`: what is not here."""

    wrong: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def fetched(self, line: str) -> None:
        """Something of the model hub that is not here yet: missing only where the hub is not to be asked."""
        offline = next((name for name in _OFFLINE if os.environ.get(name, "0").lower() not in ("", "0", "false")), None)
        if offline is not None:
            self.missing.append(f"{line}; {offline} is set, so that a run gets nothing from the hub")
        else:
            self.warnings.append(line)

    @property
    def status(self) -> int:
        """2 where a setting is wrong, 1 where something is not here, else 0."""
        return 2 if self.wrong else 1 if self.missing else 0

    def print(self, what: str) -> None:
        """A line for each finding, and one for all."""
        for mark, style, lines in (
            ("note", "yellow", self.warnings),
            ("not here", "red", self.missing),
            ("wrong", "red", self.wrong),
        ):
            for line in lines:
                console.print(Text.assemble((f"{mark}: ", style), line))
        if self.wrong:
            said = f"the run would fail: {len(self.wrong)} wrong, {len(self.missing)} not here"
        elif self.missing:
            said = f"the settings are right, but the run would fail: {len(self.missing)} not here"
        else:
            said = "the settings are right"
        console.print(Text(f"{what}: {said}"))


_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def check_parts(config: TrainConfig, found: Findings) -> None:
    """Add to `found` what this machine lacks, models, adapters, corpora, keys, packages, and what cannot work."""
    engines = [("engine", config.engine)]
    if config.evaluation.engine is not None:
        engines.append(("evaluation.engine", config.evaluation.engine))
    if config.model.base_url is None:
        _check_model("model", config.model.name, config.model.adapter, found)
        try:
            config.model.check_trainable()
        except ConfigError as error:
            found.missing.append(str(error))
    for name, engine in engines:
        simulator = engine.simulated
        if engine.kind == "simulated" and simulator.base_url is None:
            _check_model(f"{name}.simulated", simulator.model, simulator.adapter, found)
            _check_card(name, engine, found)
    if config.model.api_key_env is not None and not os.environ.get(config.model.api_key_env):
        found.missing.append(f"model.api_key_env: the environment variable {config.model.api_key_env} is not set")
    for setting, name, known in (
        ("reward.name", config.reward.name, SCORES),
        ("algorithm.name", config.algorithm.name, ALGORITHMS),
    ):
        if name not in known:
            found.missing += _own_not_here(name, setting)
    for name, engine in engines:
        found.missing += _engine_not_here(name, engine)
    for package in ("wandb", "trackio"):
        if getattr(config.logging, package) and importlib.util.find_spec(package) is None:
            found.missing.append(f"logging.{package}: the package is missing ({install(package)})")


def _check_model(section: str, name: str, adapter: str | None, found: Findings) -> None:
    """A local model and its adapter: whether the files that hold them are there."""
    folder = Path(name).expanduser()
    if folder.is_dir() and name not in EMBEDDED_MODELS:
        if not (folder / "config.json").is_file():
            found.missing.append(f"{section}: {name}: holds no config.json: not the folder of a model")
        elif not any(any(folder.glob(pattern)) for pattern in ("*.safetensors", "*.bin", "*.index.json")):
            found.missing.append(f"{section}: {name}: holds no weights (*.safetensors)")
    if adapter is None:
        return
    try:
        place = resolve_adapter(adapter)
    except ModelError as error:
        found.missing.append(f"{section}.adapter: {error}")
        return
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        if not (place / file).is_file():
            found.missing.append(f"{section}.adapter: {adapter}: holds no {file}: not an adapter of PEFT")
            return


def _check_card(name: str, engine: EngineConfig, found: Findings) -> None:
    """Whether a tuned simulator is asked for what it was tuned for."""
    simulator = engine.simulated
    if simulator.adapter is None:
        return
    try:
        lines = tuned_otherwise(simulator.adapter, top_k=engine.top_k, base=simulator.model)
    except ZeroSearchError:
        return  # an adapter that is missing is listed already; of a card that cannot be read the run tells
    for key, line in lines.items():
        (found.wrong if key == "base" else found.warnings).append(f"{name}.simulated: {line}")


def _own_not_here(path: str, setting: str) -> Iterator[str]:
    """What keeps a part of the user's own from being imported."""
    try:
        load(path, setting)
    except ConfigError as error:
        yield str(error)


def _engine_not_here(name: str, engine: EngineConfig) -> Iterator[str]:
    simulator, table = engine.simulated, getattr(engine, engine.kind, None)
    if engine.kind not in KINDS:
        yield from _own_not_here(engine.kind, f"{name}.kind")
    for key in ("corpus", "file"):
        file = getattr(table, key, None)
        if file is not None and file != "factbook" and not Path(file).expanduser().is_file():
            yield f"{name}.{engine.kind}.{key}: {file}: no such file"
    if engine.kind != "simulated":
        variable = getattr(table, "api_key_env", None) or KEY_VARIABLES.get(engine.kind)
        if variable is not None and not os.environ.get(variable, "").strip():
            yield f"{name}: the environment variable {variable}, which holds the key of {engine.kind}, is not set"
    if engine.kind == "dense":
        for module in ("sentence_transformers", "faiss"):
            if importlib.util.find_spec(module) is None:
                yield f"{name}: the package {module} is missing ({install('dense')})"
    if engine.kind == "simulated" and simulator.base_url is not None:
        if simulator.api_key_env is not None and not os.environ.get(simulator.api_key_env):
            yield f"{name}.simulated.api_key_env: the environment variable {simulator.api_key_env} is not set"
        said = f"{name}: the simulator is {simulator.model} at a URL; zerosearch doctor --url asks whether it is up"
        console.print(Text(said))
