"""For `zerosearch check`: what would make a run fail, and what is missing on this machine."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from rich.text import Text

from zerosearch.commands.screen import console
from zerosearch.config import TrainConfig
from zerosearch.engines.cache_file import PageStore
from zerosearch.engines.config import KINDS, EngineConfig
from zerosearch.engines.corpus import first_passages
from zerosearch.engines.recorded import count_recordings
from zerosearch.engines.web import KEY_VARIABLES
from zerosearch.episodes.questions import Question, seen_in_training
from zerosearch.episodes.rollout import RolloutSettings
from zerosearch.episodes.scoring import SCORES
from zerosearch.errors import EXTRAS, ModelError, ZeroSearchError, install
from zerosearch.factbook.known import embedded_warning
from zerosearch.learning.sinks import check_sinks
from zerosearch.models.adapters import resolve_adapter, tuned_otherwise
from zerosearch.models.client import key_from
from zerosearch.models.embedded import EMBEDDED_MODELS
from zerosearch.models.samplers import vllm_is_installed
from zerosearch.parts import Parts
from zerosearch.registry import check_call, load
from zerosearch.simulator.hits import HitPredictor
from zerosearch.spending.ledger import counted
from zerosearch.training_config import ALGORITHMS

_PASSAGES = 1_000_000  # of a corpus that are read: some ten seconds
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


@dataclass
class Findings:
    """What stands in the way of a run. `wrong`: settings that cannot work. `missing`: what is not here."""

    wrong: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @contextmanager
    def looking(self, setting: str = "") -> Iterator[None]:
        """What is refused within counts as missing; `setting` names where it is asked for."""
        try:
            yield
        except ZeroSearchError as error:
            self.missing.append(f"{setting}: {error}" if setting else str(error))

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


def check_parts(config: TrainConfig, found: Findings) -> None:
    """Add to `found` what this machine lacks, models, adapters, corpora, keys, packages, and what cannot work.

    Raises `DataError` for a malformed corpus or recording.
    """
    engines = {"engine": config.engine}
    if config.evaluation.engine is not None:
        engines["evaluation.engine"] = config.evaluation.engine
    if config.model.base_url is None:
        _check_model("model", config.model.name, config.model.adapter, found)
        with found.looking():
            config.model.check_trainable()
        if config.model.sampler == "vllm" and not vllm_is_installed():
            found.missing.append(f"model.sampler: the package vllm is missing ({install('vllm')})")
    with found.looking("model.api_key_env"):
        key_from(config.model.api_key_env)
    for setting, name, known, values in (
        ("reward.name", config.reward.name, SCORES, (None,)),
        ("algorithm.name", config.algorithm.name, ALGORITHMS, (None, None)),
    ):
        if name not in known:
            with found.looking():
                check_call(load(name, setting), f"{setting}: {name}", *values)
    for place, engine in engines.items():
        if engine.kind not in KINDS:
            with found.looking():
                own = load(engine.kind, f"{place}.kind")
                check_call(own, f"{place}.settings of {engine.kind}", **engine.settings)
    read: dict[tuple[str, str | None], str] = {}
    for place, engine in engines.items():
        _check_engine(place, engine, found, read)
    with found.looking():
        check_sinks(config)


def _check_model(section: str, name: str, adapter: str | None, found: Findings) -> None:
    """A local model and its adapter: whether the files that hold them are there."""
    folder = Path(name).expanduser()
    if folder.is_dir() and name not in EMBEDDED_MODELS:
        if not (folder / "config.json").is_file():
            found.missing.append(f"{section}: {name}: holds no config.json: not the folder of a model")
        elif not any(any(folder.glob(pattern)) for pattern in ("*.safetensors", "*.bin", "*.index.json")):
            found.missing.append(f"{section}: {name}: holds no weights (*.safetensors)")
    if adapter is not None:
        with found.looking(f"{section}.adapter"):
            place = resolve_adapter(adapter)
            for file in ("adapter_config.json", "adapter_model.safetensors"):
                if not (place / file).is_file():
                    raise ModelError(f"{adapter}: holds no {file}: not an adapter of PEFT")


def _check_engine(place: str, engine: EngineConfig, found: Findings, read: dict[tuple[str, str | None], str]) -> None:
    """The files, keys and packages of the engine that is set in the table `place`. `read`: what was said of files that
    an engine before it names too, which are not read again. Raises `DataError`."""
    table, simulator = getattr(engine, engine.kind, None), engine.simulated
    for key in ("corpus", "file"):
        file = getattr(table, key, None)
        if file is None or file == "factbook":
            continue
        if not Path(file).expanduser().is_file():
            found.missing.append(f"{place}.{engine.kind}.{key}: {file}: no such file")
            continue
        known = (file, engine.recorded.source)
        if known not in read:
            read[known] = _passages_of(file) if key == "corpus" else _pages_of(*known)
        console.print(f"{place}.{engine.kind}.{key}: {read[known]}")
    if engine.cache is not None and (cache := Path(engine.cache).expanduser()).is_file() and cache.stat().st_size:
        with found.looking(f"{place}.cache"), PageStore(cache, readonly=True):
            pass
    with found.looking(f"{place}.{engine.kind}.api_key_env"):
        key_from(getattr(table, "api_key_env", None) or KEY_VARIABLES.get(engine.kind))
    if engine.kind == "dense":
        for module in EXTRAS["dense"]:
            if importlib.util.find_spec(module) is None:
                found.missing.append(f"{place}: the package {module} is missing ({install('dense')})")
    if engine.kind != "simulated":
        return
    if simulator.hits is not None:
        with found.looking():
            HitPredictor.open(simulator.hits)
    if simulator.base_url is not None:
        said = f"{place}: the simulator is {simulator.model} at a URL; zerosearch doctor --url asks whether it is up"
        console.print(Text(said))
        return
    _check_model(f"{place}.simulated", simulator.model, simulator.adapter, found)
    if simulator.adapter is not None:
        with suppress(ZeroSearchError):  # a missing adapter is listed already; of an unreadable card the run tells
            lines = tuned_otherwise(simulator.adapter, top_k=engine.top_k, base=simulator.model)
            for key, line in lines.items():
                (found.wrong if key == "base" else found.warnings).append(f"{place}.simulated: {line}")


def _passages_of(file: str) -> str:
    """Read a corpus, the first million of a larger one; what it holds. Raises `DataError` for a file that is none."""
    count = first_passages(Path(file).expanduser(), _PASSAGES)
    if count is None:
        return f"{file} is one large JSON document and is not looked into by this check"
    if count < _PASSAGES:
        return f"{counted(count, 'passage')} of {file}"
    return f"{file}, of which the first {count:,} passages were read"


def _pages_of(file: str, source: str | None) -> str:
    return f"{counted(count_recordings(Path(file).expanduser(), source), 'page')} of {file}"


def read_questions(parts: Parts, found: Findings) -> dict[str, list[Question]]:
    """The questions by the setting that names them, read as training reads them; what is not here goes to `found`.

    Raises `DataError` for a malformed file.
    """
    config = parts.config
    read: dict[str, list[Question]] = {}
    for name, source, open_them in (
        ("data.train", config.data.train, parts.questions),
        ("evaluation.questions", config.evaluation.questions, parts.evaluation_questions),
    ):
        if source.startswith("hub:"):
            found.fetched(f"{name}: {source} is read from the model hub when the run starts, not by this check")
        elif source.startswith("factbook:"):
            with found.looking(name):  # it may have to be fetched
                read[name] = open_them()
        elif not Path(source).expanduser().exists():
            found.missing.append(f"{name}: {source}: no such file")
        else:
            read[name] = open_them()
        if name in read:
            console.print(f"{name}: {counted(len(read[name]), 'question')} of {source}")
    if len(read) == 2 and (seen := seen_in_training(read["data.train"], read["evaluation.questions"])):
        found.warnings.append(seen)
    if config.engine.kind == "simulated" and ("data.train" in read or config.data.train.startswith("hub:")):
        simulator = config.engine.simulated
        asked = read.get("data.train", ())
        unknown = embedded_warning(simulator.local_model, simulator.adapter, config.data.train, asked)
        found.warnings += [unknown] if unknown else []
    return read


def check_folder(config: TrainConfig, found: Findings) -> None:
    """Add to `found` why training, native or on verl, refuses the run folder: it holds other things, or a run of other
    settings."""
    folder = config.run_folder
    if not folder.exists():
        return
    with suppress(ImportError):  # torch is missing: that is found elsewhere
        try:
            if (folder / "verl").is_dir():
                from zerosearch.scaleout.verl import launch

                launch.check_folder(config)
            else:
                from zerosearch.learning import beginning

                beginning.check_run_folder(folder)
                beginning.look(config)
        except ZeroSearchError as error:
            found.wrong.append(f"train refuses the run folder: {error}")


def check_lengths(read: dict[str, list[Question]], playing: RolloutSettings, found: Findings) -> None:
    """Add to `found` how many questions leave the policy no room to write: their episodes end before they begin.

    Few are tokenised: no token is shorter than a byte.
    """
    limits, instructions = playing.limits, len(playing.prompt(""))
    room = limits.max_context_tokens - max(limits.answer_reserve_tokens, 1)
    for name, questions in read.items():
        suspects = (q.text for q in questions if instructions + len(q.text.encode()) > room)
        count = sum(len(playing.prompt(text)) > room for text in suspects)
        share = f"{count:,} of {counted(len(questions), 'question')} {'is' if count == 1 else 'are'}"
        said = (
            f"{name}: {share} too long: with the instructions they leave less "
            f"than protocol.answer_reserve_tokens of the {limits.max_context_tokens} in protocol.max_context_tokens"
        )
        if count == len(questions):
            found.wrong.append(said)
        elif count:
            found.warnings.append(f"{said}; their episodes end at once, with reward 0")
