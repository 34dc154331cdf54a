"""From opened parts to a `Trainer`: adapters and learner made, the run folder begun."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from zerosearch import __version__
from zerosearch.config import TrainConfig, plain_name
from zerosearch.config_file import config_toml
from zerosearch.engines.corpus import sha256_of
from zerosearch.episodes.questions import Question, questions_digest
from zerosearch.errors import CheckpointError, ConfigError
from zerosearch.factbook.known import embedded_warning
from zerosearch.files.folders import aside
from zerosearch.files.identity import differences, with_parts
from zerosearch.files.jsonl import atomic_write, write_json
from zerosearch.learning.beginning import check_run_folder, look
from zerosearch.learning.critic import Critic
from zerosearch.learning.learner import Learner
from zerosearch.learning.parallel import ALONE, Processes
from zerosearch.learning.policy import POLICY, Policy
from zerosearch.learning.trainer import Sink, Trainer, TrainerInputs
from zerosearch.models.adapters import read_card, resolve_adapter
from zerosearch.models.local import LocalModel
from zerosearch.models.worker import TransformersGenerator
from zerosearch.parts import Parts
from zerosearch.playing import rollout_settings


@dataclass
class Run:
    """A trainer and the parts that it uses; whoever opened these closes them."""

    trainer: Trainer
    parts: Parts
    matmul_precision: str  # of the process, before this run

    def close(self) -> None:
        """Close the sinks, and put the process's precision back."""
        torch.set_float32_matmul_precision(self.matmul_precision)
        for sink in self.trainer.sinks:
            sink.close()


def assemble(
    parts: Parts,
    *,
    sinks: Callable[[Path, int], Sequence[Sink]],
    say: Callable[[str], None] = print,
    fresh: bool = False,
) -> Run:
    """A trainer of `parts.config`, its run folder begun or to be resumed.

    `sinks` is given the folder and the step that the run starts from. Everything that can be wrong is looked at before
    anything is written: a checkpoint of another configuration, missing models, data and adapters. `fresh` sets an older
    run folder aside.

    Raises `ConfigError`, `ModelError`, `DataError`, and `CheckpointError` for a folder that cannot be resumed.
    """
    config, processes = parts.config, Processes.current()
    config.model.check_trainable()
    check_run_folder(config.run_folder)
    begin = None if fresh else look(config)
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(config.model.matmul_precision)
    inputs = trainer_inputs(parts, processes)
    _warn_of_other_settings(config, inputs.questions, say)
    folder = config.run_folder
    if begin is not None and begin.whole:
        check_engines(folder, identities(inputs), say)
    if fresh and processes.first and (older := set_aside(folder)) is not None:
        say(f"the older run is now {older}")
    if processes.first:
        write_json(folder / "manifest.json", manifest(config, inputs))  # first: it says whose folder this is
        atomic_write(folder / "config.toml", config_toml(config).encode())
    processes.wait()  # nobody looks into the folder before an older one is out of the way
    opened = sinks(folder, 0 if begin is None else begin.step) if processes.first else ()
    return Run(Trainer(config, inputs, opened, say, processes), parts, precision)


def trainer_inputs(parts: Parts, processes: Processes = ALONE) -> TrainerInputs:
    """Everything that the trainer of `parts.config` works with."""
    config, full = parts.config, parts.config.model.full
    torch.manual_seed(config.seed)
    questions, held_out = parts.questions(), parts.evaluation_questions()
    if processes.size > 1 and config.model.device.startswith("cuda:"):
        raise ConfigError(
            f"model.device = {config.model.device!r} names one GPU for {processes.size} processes; "
            '"auto" gives each its own'
        )
    # Full fine-tuning keeps float32 weights (an update of 1e-6 would round away in bfloat16), and shares them with no
    # simulator: it would change with the policy.
    model, worker = parts.models.get(config.model.name, dtype="float32" if full else None, alone=full)
    learner = _learner(parts, model, processes)
    temperature, top_k, judge_k = config.training.temperature, config.engine.top_k, parts.engine_config("judge").top_k
    engine, judge = parts.engine("train", metered=False), parts.engine("judge", metered=False)
    return TrainerInputs(
        questions=questions,
        evaluation_questions=held_out,
        generator=TransformersGenerator(worker, None if full else POLICY),
        engine=engine,
        evaluation_engine=judge,
        learner=learner,
        training=rollout_settings(config, model, temperature=temperature, top_k=top_k),
        evaluation=rollout_settings(config, model, temperature=0.0, top_k=judge_k),
        simulator_seconds=parts.models.simulator_seconds if parts.models.simulating else None,
    )


def _learner(parts: Parts, model: LocalModel, processes: Processes) -> Learner:
    config = parts.config
    steady, context = model.steady_context, config.protocol.max_context_tokens
    if steady is not None and context > steady:
        raise ConfigError(
            f"protocol.max_context_tokens = {context}: beyond {steady} tokens {config.model.name} turns its positions "
            f"by the text's length, and the trainer would not see what was sampled; use at most {steady}"
        )
    policy = _policy(parts, model)
    critic = _critic(parts, model) if config.algorithm.name == "ppo" else None
    if config.model.gradient_checkpointing:
        for trained in {id(part.model): part.model for part in (policy, critic) if part is not None}.values():
            trained.base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return Learner(
        policy,
        critic,
        config.algorithm,
        config.training,
        max_policy_tokens=config.protocol.max_turn_tokens * (config.protocol.max_searches + 1),
        seed=config.seed,
        processes=processes,
    )


def _policy(parts: Parts, model: LocalModel) -> Policy:
    config = parts.config
    if not config.model.full:
        source = resolve_adapter(config.model.adapter) if config.model.adapter else None
        lora = config.model.lora
        assert lora is not None  # the config's own check
        return Policy.lora(model, source, rank=lora.rank, alpha=lora.alpha)
    pulled = config.algorithm.kl != "none" and config.algorithm.kl_coef > 0
    return Policy.full_weights(model, parts.models.load(config.model.name) if pulled else None)


def _critic(parts: Parts, model: LocalModel) -> Critic:
    config = parts.config
    if config.model.full:
        return Critic.full_weights(parts.models.load(config.model.name, "float32"))
    assert config.model.lora is not None
    return Critic.lora(model, rank=config.model.lora.rank, alpha=config.model.lora.alpha)


def _warn_of_other_settings(config: TrainConfig, questions: Sequence[Question], say: Callable[[str], None]) -> None:
    """Say where an adapter is asked for something it was not trained on."""
    simulator = config.engine.simulated
    if config.engine.kind != "simulated" or simulator.adapter is None:
        return
    if unknown := embedded_warning(simulator.adapter, config.data.train, questions):
        say(f"warning: {unknown}")
    card = read_card(resolve_adapter(simulator.adapter))
    for key, ours in (("top_k", config.engine.top_k), ("base", simulator.model)):
        theirs = card.get(key)
        if theirs is not None and theirs != ours:
            say(f"warning: the simulator {simulator.adapter} was tuned with {key} = {theirs}, this run asks for {ours}")


def manifest(config: TrainConfig, inputs: TrainerInputs) -> dict[str, Any]:
    """What it takes to know a run again: versions, git commit, machine, seeds, and digests of questions and models."""
    packages: dict[str, str | None] = {}
    for name in ("zerosearch", "torch", "transformers", "peft", "accelerate", "bm25s", "tokenizers", "numpy"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = None
    packages["zerosearch"] = __version__  # also where it runs from a source tree that is not installed
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {
        "schema": 1,
        "seed": config.seed,
        "packages": packages,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device,
        "threads": torch.get_num_threads(),
        "git": _git_commit(),
        "engine": inputs.engine.name,
        "evaluation_engine": inputs.evaluation_engine.name,
        "identities": identities(inputs),
        "models": {
            "policy": _model(config.model.name, config.model.adapter),
            "simulator": _model(config.engine.simulated.model, config.engine.simulated.adapter)
            if config.engine.kind == "simulated"
            else None,
        },
        "train_questions": _digest(inputs.questions),
        "evaluation_questions": _digest(inputs.evaluation_questions),
    }


def identities(inputs: TrainerInputs) -> dict[str, str]:
    """What the pages of training and of evaluations depend on. A simulator's server may come back elsewhere."""
    engines = {"engine": inputs.engine, "evaluation_engine": inputs.evaluation_engine}
    return {
        role: with_parts(engine.identity, address=None) if engine.name.startswith("simulated:") else engine.identity
        for role, engine in engines.items()
    }


def check_engines(folder: Path, now: dict[str, str], say: Callable[[str], None]) -> None:
    """Raises `CheckpointError` where the run in `folder` had engines that give other pages, naming what differs.

    Where its manifest does not tell, that is said.
    """
    path = folder / "manifest.json"
    try:
        before = dict(json.loads(path.read_text(encoding="utf-8"))["identities"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        say(
            f"warning: {path} does not tell which engines this run had ({type(error).__name__}): nobody knows whether "
            "they are the same now"
        )
        return
    for role, identity in now.items():
        if before.get(role) != identity:
            what = ", ".join(differences(str(before.get(role)), identity))
            raise CheckpointError(
                f"{folder}: the {role.replace('_', ' ')} is not what it was ({what}); take the old one, another name, "
                "or --fresh"
            )


def _model(name: str, adapter: str | None) -> dict[str, Any]:
    """A model by name, and its adapter with the sha256 of its weights."""
    weights = resolve_adapter(adapter) / "adapter_model.safetensors" if adapter else None
    return {
        "name": name,
        "adapter": adapter,
        "adapter_sha256": sha256_of(weights) if weights is not None and weights.is_file() else None,
    }


def _digest(questions: Sequence[Question]) -> dict[str, Any]:
    return {"count": len(questions), "digest": questions_digest(questions)}


def _git_commit() -> str | None:
    """The commit of the source tree, with + for changes; None outside of one."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
        dirty = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=10,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+" if dirty else "")


def set_aside(folder: Path) -> Path | None:
    """Rename an existing run folder to `NAME.old-N`, so that a fresh run loses nothing. Returns the new name."""
    if not folder.exists():
        return None
    name = aside(folder)
    folder.rename(name)
    return name


def with_overrides(config: TrainConfig, *, name: str | None, folder: str | None) -> TrainConfig:
    if name is not None and not plain_name(name):
        raise ConfigError(f"--name {name!r}: a run's name is a plain folder name")
    return config.model_copy(update={k: v for k, v in {"name": name, "folder": folder}.items() if v is not None})
