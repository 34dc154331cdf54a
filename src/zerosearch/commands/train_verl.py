"""`zerosearch train CONFIG --on verl`: the same experiment on a cluster, or only the settings that verl would get."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from zerosearch.commands.screen import console
from zerosearch.commands.train_seeds import seeds_of
from zerosearch.config import TrainConfig
from zerosearch.errors import ConfigError
from zerosearch.scaleout.verl.launch import launch, plan
from zerosearch.scaleout.verl.served import serve
from zerosearch.scaleout.verl.translate import Settings


@dataclass(frozen=True)
class Words:
    """The options of `train` that are about verl."""

    on: str | None
    changes: Sequence[str]
    dry_run: bool
    simulators: str | None
    serve: str | None


def train_on(words: Words, config: TrainConfig, *, fresh: bool, seeds: str | None) -> None:
    """Raises `ConfigError` for another trainer than verl, for `--seeds`, for a change that is no `key=value`, and for
    simulator replicas that cannot be."""
    if words.on != "verl":
        raise ConfigError(
            "--verl, --dry-run, --simulators and --serve go with --on verl"
            if words.on is None
            else f"--on {words.on}: there is verl, and nothing else"
        )
    if seeds is not None:
        first = seeds_of(seeds)[0]
        raise ConfigError(
            "--seeds does not go with --on verl: start one run for each seed, the first with "
            f"--set seed={first} --name {config.name}-seed{first}"
        )
    if words.serve is not None and words.simulators is None:
        raise ConfigError("--serve goes with --simulators")
    changes = words.changes
    served = None if words.simulators is None else serve(config, words.simulators, words.serve or "")
    for change in changes:
        if "=" not in change and not change.startswith("~"):
            raise ConfigError(f"--verl {change}: write key=value, as verl does: trainer.n_gpus_per_node=8")
    if words.dry_run:
        settings, notes, _ = plan(config, served)
        for line in lines(settings, changes):
            console.print(line, soft_wrap=True)
        for text in notes:
            console.print(f"# {text}", soft_wrap=True)
        if served is not None:
            told = shlex.join(served.command("vllm", "HOST", 8000))
            console.print(f"# {served.count} times, on free GPUs: {told}", soft_wrap=True)
        return
    launch(config, changes, served, fresh=fresh, say=console.print)


def lines(settings: Settings, changes: Sequence[str]) -> list[str]:
    """verl's settings, one a line as its own command line takes them; `changes` come last and replace ours."""
    own = {change.partition("=")[0].lstrip("+~") for change in changes}
    kept = {name: value for name, value in settings.items() if name.lstrip("+") not in own}
    return [*(f"{name}={written(value)}" for name, value in sorted(kept.items())), *changes]


def written(value: object) -> str:
    """A value as Hydra reads it."""
    if isinstance(value, str):
        plain = value and all(c.isalnum() or c in "-_./" for c in value)
        return value if plain else json.dumps(value)
    if isinstance(value, list):
        return f"[{','.join(map(written, value))}]"
    return json.dumps(value)
