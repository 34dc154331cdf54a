"""How a run was made, as stored in its folder, and the check that a resumed run has the same engines."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from zerosearch.config import TrainConfig
from zerosearch.episodes.questions import Question, questions_digest
from zerosearch.errors import CheckpointError, DataError
from zerosearch.files.identity import differences, sha256_of, with_parts
from zerosearch.files.jsonl import read_object
from zerosearch.learning.trainer import TrainerInputs
from zerosearch.models.adapters import resolve_adapter
from zerosearch.version import __version__


def manifest(config: TrainConfig, inputs: TrainerInputs) -> dict[str, Any]:
    """What it takes to know a run again: versions, git commit, machine, seeds, and digests of questions and models."""
    known = ("torch", "transformers", "peft", "accelerate", "bm25s", "tokenizers", "numpy")
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {
        "schema": 1,
        "seed": config.seed,
        "packages": {"zerosearch": __version__, **{name: version(name) for name in known}},
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
        before = dict(read_object(path)["identities"])
    except (DataError, LookupError, TypeError, ValueError):
        say(f"warning: {path} does not say which engines this run had, so a change of engine cannot be noticed")
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

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True, timeout=10)
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + "+" * bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None
