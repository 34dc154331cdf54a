"""Build a `Trainer` from opened parts: adapters, learner, run folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from zerosearch.config import TrainConfig
from zerosearch.config_file import config_toml
from zerosearch.episodes.questions import seen_in_training
from zerosearch.errors import ConfigError, ZeroSearchError
from zerosearch.factbook.known import embedded_warning
from zerosearch.files.folders import aside, owned
from zerosearch.files.jsonl import atomic_write, write_json
from zerosearch.learning.beginning import check_run_folder, look
from zerosearch.learning.manifest import check_engines, identities, manifest
from zerosearch.learning.opening import open_learner
from zerosearch.learning.parallel import ALONE, Processes
from zerosearch.learning.sinks import check_sinks, open_sinks
from zerosearch.learning.trainer import Sink, Trainer, TrainerInputs
from zerosearch.models.adapters import tuned_otherwise
from zerosearch.models.devices import multiplying
from zerosearch.parts import Parts
from zerosearch.playing import rollout_settings
from zerosearch.process.runtime import prepare


def train(
    config: TrainConfig, *, fresh: bool = False, sinks: Sequence[Sink] = (), say: Callable[[str], None] = print
) -> bool:
    """`zerosearch.train` (api.py), which tells of the arguments, without the report at the end."""
    prepare()
    check_sinks(config)
    precise = multiplying(config.model.matmul_precision)
    with owned_together(config.run_folder), precise, Parts(config) as parts:
        trainer = assemble(
            parts, sinks=lambda folder, start: [*open_sinks(config, folder, start), *sinks], say=say, fresh=fresh
        )
        try:
            complete = trainer.run()
        finally:
            for sink in trainer.sinks:
                sink.close()
    return complete


@contextmanager
def owned_together(folder: Path) -> Iterator[None]:
    """Own the run folder: the first process of a group takes the lock, and all of them stop where it cannot."""
    processes = Processes.current()
    with ExitStack() as stack:
        refused: list[ZeroSearchError] = []
        if processes.first:
            try:
                stack.enter_context(owned(folder, "train"))
            except ZeroSearchError as error:
                refused.append(error)
        for refusal in processes.gather(refused):
            raise refusal
        yield
        processes.leave()


def assemble(
    parts: Parts,
    *,
    sinks: Callable[[Path, int], Sequence[Sink]],
    say: Callable[[str], None] = print,
    fresh: bool = False,
) -> Trainer:
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
    inputs = trainer_inputs(parts, processes)
    for warning in _warnings(config, inputs, processes):
        say(f"warning: {warning}")
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
    return Trainer(config, inputs, opened, say, processes)


def trainer_inputs(parts: Parts, processes: Processes = ALONE) -> TrainerInputs:
    """Everything that the trainer of `parts.config` works with."""
    config = parts.config
    torch.manual_seed(config.seed)
    questions, held_out = parts.questions(), parts.evaluation_questions()
    if processes.size > 1 and config.model.device.startswith("cuda:"):
        raise ConfigError(
            f"model.device = {config.model.device!r} names one GPU for {processes.size} processes; "
            '"auto" gives each its own'
        )
    learner, generator = open_learner(config, parts.models, processes)
    model = learner.policy.model
    temperature, top_k, judge_k = config.training.temperature, config.engine.top_k, parts.engine_config("judge").top_k
    engine, judge = parts.engine("train", metered=False), parts.engine("judge", metered=False)
    return TrainerInputs(
        questions=questions,
        evaluation_questions=held_out,
        generator=generator,
        engine=engine,
        evaluation_engine=judge,
        learner=learner,
        training=rollout_settings(config, model, temperature=temperature, top_k=top_k),
        evaluation=rollout_settings(config, model, temperature=0.0, top_k=judge_k),
        simulator_seconds=parts.models.simulator_seconds if parts.models.simulating else None,
    )


def _warnings(config: TrainConfig, inputs: TrainerInputs, processes: Processes) -> Iterator[str]:
    """Where there are fewer processes than wanted, where training asks what the evaluation asks, or where a simulator's
    adapter is asked for what it was not tuned on."""
    if processes.missed:
        yield processes.missed
    if seen := seen_in_training(inputs.questions, inputs.evaluation_questions):
        yield seen
    engine, simulator = config.engine, config.engine.simulated
    if engine.kind != "simulated":
        return
    if unknown := embedded_warning(simulator.local_model, simulator.adapter, config.data.train, inputs.questions):
        yield unknown
    if simulator.adapter is not None:
        for line in tuned_otherwise(simulator.adapter, top_k=engine.top_k, base=simulator.model).values():
            yield f"the simulator {line}"


def set_aside(folder: Path) -> Path | None:
    """Rename an existing run folder to `NAME.old-N`, so that a fresh run loses nothing. Returns the new name."""
    if not folder.exists():
        return None
    name = aside(folder)
    folder.rename(name)
    return name
