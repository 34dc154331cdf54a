"""Checkpoints: written whole or not at all, readable after a kill at any moment, and only by the run they belong to."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from zerosearch.config import TrainConfig
from zerosearch.errors import CheckpointError, DataError, RunError, first_line
from zerosearch.files.folders import flush, settle, unwritten
from zerosearch.files.jsonl import read_object, write_json
from zerosearch.learning.learner import Learner
from zerosearch.learning.sharding import divided_state, whole
from zerosearch.run_folder import STATE, Checkpoint, differing_settings, known_settings, made_otherwise, step_folders

START = "start.json"  # the settings of a run that has no checkpoint yet
_LENGTH = "training.steps"
_BY_LENGTH = " (the curriculum goes by it: the noise of every step would be another one)"


class DamagedCheckpoint(CheckpointError):
    """A checkpoint that cannot be read; an older one may be."""


def save_checkpoint(
    root: Path, step: int, learner: Learner, config: TrainConfig, *, keep: int, state: dict[str, Any] | None = None
) -> Checkpoint:
    """Write `root/step-NNNNNN` and drop all but the newest `keep`.

    `state` is `learner_state(learner)`, where that has been asked for already. Everything is written beside, flushed to
    disk and renamed. Raises `RunError` where the disk is full: the older checkpoints stay.
    """
    folder = root / f"step-{step:06d}"
    partial = root / f".{folder.name}.partial"
    state = state or learner_state(learner)
    try:
        root.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        learner.policy.write(partial / "policy", state=state["policy"])
        with (partial / "learner.pt").open("wb") as file:  # Python's own: torch's does not say why it failed
            torch.save(state, file)
        known = {"step": step, "settings": known_settings(config)}
        (partial / STATE).write_text(json.dumps(known, sort_keys=True) + "\n")
        settle(partial)
        before = root / f".{folder.name}.before"
        shutil.rmtree(before, ignore_errors=True)
        if folder.exists():  # one that could not be read
            os.replace(folder, before)
        os.replace(partial, folder)
        flush(root)
        shutil.rmtree(before, ignore_errors=True)
        (root / START).unlink(missing_ok=True)
    except Exception as error:
        shutil.rmtree(partial, ignore_errors=True)
        reason = unwritten(error)
        if reason is None:
            raise
        raise RunError(f"{folder}: the checkpoint could not be written ({reason}); older ones are kept") from None
    for old in list_checkpoints(root)[:-keep]:
        shutil.rmtree(old.folder, ignore_errors=True)
    return Checkpoint(folder, step)


def list_checkpoints(root: Path) -> list[Checkpoint]:
    """The whole checkpoints under `root`, oldest first."""
    return [checkpoint for checkpoint in step_folders(root) if checkpoint.whole]


def mark_start(root: Path, config: TrainConfig) -> None:
    """Note that a run of these settings has begun, until its first checkpoint stands."""
    write_json(root / START, {"step": 0, "settings": known_settings(config)})


def load_checkpoint(checkpoint: Checkpoint, learner: Learner, config: TrainConfig) -> None:
    """Put weights and optimizer states back.

    Raises `CheckpointError` for a checkpoint of another configuration (`check_settings`) or one that cannot be read.
    """
    check_settings(checkpoint, config)
    try:
        path, sharded = checkpoint.folder / "learner.pt", learner.policy.sharded
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=sharded)  # a process reads its part
        learner.policy.load_state(state["policy"])
        optimizer = divided_state(learner.optimizer, state["optimizer"]) if sharded else state["optimizer"]
        learner.optimizer.load_state_dict(optimizer)
        learner.scale.load_state(state["scale"])
        if learner.critic is not None and learner.critic_optimizer is not None:
            learner.critic.load_state(state["critic"])
            learner.critic_optimizer.load_state_dict(state["critic_optimizer"])
            learner.critic_scale.load_state(state["critic_scale"])
    except Exception as error:  # for a damaged file torch raises whatever its reader stumbles over
        raise DamagedCheckpoint(f"{checkpoint.folder}: cannot be read ({first_line(error)})") from None


def check_settings(checkpoint: Checkpoint, config: TrainConfig, *, name: str = STATE) -> None:
    """Raises `CheckpointError` that names every setting in which the checkpoint's run differs from `config` and may
    not, and `DamagedCheckpoint` where it cannot tell.

    The length of a run binds where the curriculum goes by it; how a run is evaluated never does (`changes`).
    """
    binding = [difference for difference in _differences(checkpoint, config, name) if _binds(difference[0], config)]
    if binding:
        raise made_otherwise(checkpoint.folder, binding, {_LENGTH: _BY_LENGTH})


def changes(checkpoint: Checkpoint, config: TrainConfig) -> list[str]:
    """The settings that differ from those of the checkpoint and may, each as `training.steps = 2, now 3`."""
    differences = _differences(checkpoint, config)
    return [f"{key} = {old!r}, now {new!r}" for key, old, new in differences if not _binds(key, config)]


def _differences(checkpoint: Checkpoint, config: TrainConfig, name: str = STATE) -> list[tuple[str, Any, Any]]:
    path = checkpoint.folder / name
    try:
        theirs = read_object(path).get("settings")
    except DataError as error:
        raise DamagedCheckpoint(str(error)) from None
    if not isinstance(theirs, dict):
        raise DamagedCheckpoint(f"{path}: holds no settings")
    return differing_settings(theirs, config)


def _binds(key: str, config: TrainConfig) -> bool:
    if key == _LENGTH:
        return config.engine.kind == "simulated" and config.curriculum.build().follows_length
    return not key.startswith("evaluation.")


def learner_state(learner: Learner, *, keep: bool = True) -> dict[str, Any]:
    """What a run goes on from. Sharded weights are gathered, by all processes at once, for those that `keep` them."""
    state: dict[str, Any] = {
        "policy": learner.policy.state(keep=keep),
        "optimizer": whole(learner.optimizer.state_dict(), keep=keep),
        "scale": learner.scale.state(),
    }
    if learner.critic is not None and learner.critic_optimizer is not None:
        state["critic"] = learner.critic.state()
        state["critic_optimizer"] = learner.critic_optimizer.state_dict()
        state["critic_scale"] = learner.critic_scale.state()
    return state
