"""The contents of a run folder, and the choice of a policy: the shipped one, a configuration's, or a run's newest."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zerosearch.config import TrainConfig
from zerosearch.config_file import is_gone, load_config
from zerosearch.errors import CheckpointError, ConfigError
from zerosearch.models.config import Section

log = logging.getLogger(__name__)

STATE = "state.json"  # written last: a checkpoint that has it is whole

EMBEDDED: dict[str, Any] = {
    "model": {"name": "smollm2-135m", "adapter": "embedded:policy", "dtype": "float32"},
    "protocol": {"max_searches": 3, "max_turn_tokens": 96, "max_page_tokens": 224, "max_context_tokens": 1280},
    "engine": {"kind": "bm25", "bm25": {"corpus": "factbook"}, "top_k": 3, "snippet_words": 15},
}
"""The policy and the engine that `demo` begins and judges with."""


def policy_config(
    config: str | Path | None = None, run: str | Path | None = None, overrides: Sequence[str] = ()
) -> TrainConfig:
    """The configuration to ask a policy with: that of a file or a name, or that of a run with its newest policy.

    With neither it is the policy that ships, with BM25 over the Factbook. Raises `ConfigError`, and `CheckpointError`
    for a run without a checkpoint.
    """
    if config is not None and run is not None:
        raise ConfigError("CONFIG and --run both say what to ask: give one of them")
    if run is None:
        return load_config(config, overrides, base=EMBEDDED)
    path = Path(run) / "config.toml"
    if not path.parent.is_dir():
        raise ConfigError(f"{path.parent}: no such folder")
    if not path.is_file():
        raise ConfigError(f"{path.parent}: holds no config.toml: not the folder of a run (runs/NAME)")
    return _newest(path.parent, load_config(path, overrides), overrides)


@dataclass(frozen=True)
class Checkpoint:
    """A folder `step-000050`; `step` training steps are behind it."""

    folder: Path
    step: int

    @property
    def whole(self) -> bool:
        """Whether it was written to its end."""
        return os.path.isfile(self.folder / STATE)


def step_folders(root: Path) -> list[Checkpoint]:
    """Every folder `step-NNNNNN` under `root`, whole or not, oldest first; a user's copy may be named as it likes."""
    folders = [p for p in root.glob("step-*") if p.name[5:].isdecimal()]
    return sorted((Checkpoint(p, int(p.name[5:])) for p in folders), key=lambda checkpoint: checkpoint.step)


def newest_policy(run: Path) -> Path | None:
    """The policy of a run's newest whole checkpoint; an older one where its weights are missing, with a warning."""
    steps = [checkpoint.folder for checkpoint in step_folders(run / "checkpoints") if checkpoint.whole]
    for step in reversed(steps):
        if any((step / "policy").glob("*.safetensors")):
            if step != steps[-1]:
                log.warning("%s: %s holds no policy; that of %s is used", run, steps[-1].name, step.name)
            return step / "policy"
    return None


def _newest(run: Path, config: TrainConfig, overrides: Sequence[str]) -> TrainConfig:
    """`config` with the newest checkpoint's policy, unless the user has set another model or adapter."""
    if any(override.strip().startswith(("model.name", "model.adapter")) for override in overrides):
        return config
    policy = newest_policy(run)
    if policy is None:
        raise CheckpointError(
            f"{run}: has no checkpoint yet; one is written every {config.training.checkpoint_every} steps and at the "
            "end (training.checkpoint_every)"
        )
    part = {"name": str(policy)} if config.model.full else {"adapter": str(policy)}
    return config.model_copy(update={"model": config.model.model_copy(update=part)})


def known_settings(config: TrainConfig) -> dict[str, Any]:
    """The settings that shape the numbers, flat: `training.steps`, `engine.simulated.model`, ...

    `learning/checkpoints.py` tells which of them may differ after all. Those marked `FREE`, and the tables of other
    engines than the one used, are left out.
    """
    return dict(_flat("", config))


def differing_settings(theirs: Mapping[str, Any], config: TrainConfig) -> list[tuple[str, Any, Any]]:
    """The `known_settings` that differ: name, value in `theirs` and in `config`; None where it is not there."""
    ours = known_settings(config)
    keys = sorted(theirs.keys() | ours.keys())
    return [(key, theirs.get(key), ours.get(key)) for key in keys if theirs.get(key) != ours.get(key)]


def made_otherwise(
    made: Path, differing: Sequence[tuple[str, Any, Any]], why: Mapping[str, str] | None = None
) -> CheckpointError:
    """The refusal to go on with what was `made` with other settings; `why` is added to a setting of that name."""
    told, gone, reasons = [], False, why or {}
    for key, was, now in differing:
        gone |= is_gone(key)
        told.append(f"{key} = {was!r}, " + ("no setting any more" if is_gone(key) else f"now it is {now!r}"))
        told[-1] += reasons.get(key, "")
    old = "" if gone else "the old setting, " if len(told) == 1 else "the old settings, "
    return CheckpointError(f"{made}: was made with {'; '.join(told)}; take {old}another --name, or --fresh")


def _flat(prefix: str, section: Section) -> Iterator[tuple[str, Any]]:
    values = section.model_dump(mode="json")
    for name in section.used():
        extra = type(section).model_fields[name].json_schema_extra
        if isinstance(extra, dict) and extra.get("binds") is False:
            continue
        inner = getattr(section, name)
        if isinstance(inner, Section):
            yield from _flat(f"{prefix}{name}.", inner)
        else:
            yield prefix + name, values[name]
