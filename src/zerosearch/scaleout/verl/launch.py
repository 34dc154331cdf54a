"""Start verl on a configuration of ours: data, settings, run folder, Ray.

launch(config, ["trainer.n_gpus_per_node=8"], fresh=False, say=print)

runs/NAME/  config.toml · checkpoints/step-N/policy · verl/ (settings.json · train.parquet · validation.parquet ·
            agent_loop.yaml · metrics-N.jsonl · checkpoints/global_step_N · rollouts/)
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from zerosearch.cleaning import clean
from zerosearch.config import TrainConfig
from zerosearch.config_file import config_toml
from zerosearch.episodes.protocol import PROMPT, PROMPT_WITHOUT_SEARCH, neutralize, render_prompt
from zerosearch.episodes.questions import Question, seen_in_training
from zerosearch.errors import ConfigError, FolderError, ModelError, RunError, first_line, install
from zerosearch.files.folders import aside, listed, owned
from zerosearch.files.jsonl import atomic_write, read_object, write_json
from zerosearch.models.embedded import resolve_model
from zerosearch.parts import open_questions
from zerosearch.run_folder import differing_settings, known_settings, made_otherwise
from zerosearch.scaleout.verl.checkpoints import what_was_lost
from zerosearch.scaleout.verl.dataset import write_questions
from zerosearch.scaleout.verl.served import SERVED, Served, asked_at
from zerosearch.scaleout.verl.translate import AGENT, Places, Settings, translate
from zerosearch.spending.ledger import counted

_LOOP = "zerosearch.scaleout.verl.agent_loop.SearchAgentLoop"
_SETTINGS, _FAILURE = "settings.json", "failure.txt"
_LATER = "http://replica/v1"  # of replicas that are not started yet

Questions = tuple[list[Question], list[Question]]
"""Those of training, and those of the evaluation."""


def plan(
    config: TrainConfig, served: Served | None = None, read: Questions | None = None
) -> tuple[Settings, list[str], Places]:
    """What verl would be told, what is left out and warned of, and where things lie. Reads the questions,
    unless they are `read` already; writes and loads nothing.

    Raises `ConfigError` that names what cannot be translated, `DataError` for questions that cannot be read.
    """
    questions, held_out = _questions(config) if read is None else read
    flash = importlib.util.find_spec("flash_attn") is not None
    places = Places(config.run_folder, config.model.name, len(questions), flash, _fused_head(config.model.name))
    settings, left_out = translate(config if served is None else asked_at(config, [_LATER]), places)
    notes = [f"left out: {text}" for text in left_out]
    if seen := seen_in_training(questions, held_out):
        notes.append(f"warning: {seen}")
    return settings, notes, places


def _questions(config: TrainConfig) -> Questions:
    data, judged = config.data, config.evaluation
    return (
        open_questions(data.train, data.limit, data.fields),
        open_questions(judged.questions, judged.limit, judged.fields),
    )


def _fused_head(model: str) -> bool:
    """Whether verl's fused head computes what `model` does: a product with `lm_head.weight` and nothing more.

    A head that is not tied to the embedding is a unit of FSDP2 of its own, whose weight is divided when the fused head
    reads it (verl's pull request 7427). A model whose config.json cannot be read here is computed the plain way.
    """
    from zerosearch.models.shapes import config_named

    try:
        config = config_named(model)
    except (ConfigError, ModelError):
        return False
    scaled = ("final_logit_softcapping", "logit_scale", "logits_scaling")
    return bool(config.tie_word_embeddings) and not any(getattr(config, name, None) for name in scaled)


def launch(
    config: TrainConfig,
    changes: Sequence[str],
    served: Served | None = None,
    *,
    fresh: bool,
    say: Callable[[str], None] = print,
) -> None:
    """Train `config` on verl, on the Ray cluster that RAY_ADDRESS names, or on one of this machine's own.

    `changes` are verl's settings as `key=value`; they have the last word. A run that verl has begun is gone on with
    from its last checkpoint. `served`: simulator replicas to start on GPUs that the policy leaves.

    Raises `ConfigError`, `CheckpointError` for a folder of other settings, `FolderError` for one of another trainer,
    `ModelError` where verl is not installed, and `RunError` where the run failed or one of its workers died.
    """
    read = _questions(config)
    settings, notes, places = plan(config, served, read)
    _installed(config, places)
    composed = compose({**settings, "actor_rollout_ref.model.path": resolve_model(config.model.name)}, changes)
    for text in notes:
        say(text)
    with owned(config.run_folder, "train --on verl"):
        if fresh and config.run_folder.exists():
            older = aside(config.run_folder)
            os.rename(config.run_folder, older)
            say(f"the older run is now {older}")
        check_folder(config)
        if served is not None:
            _add(composed, "zerosearch", asdict(served))
        _write(config, composed, read, say)
        metrics = _next_metrics(places.verl)
        _for_workers(composed, "VERL_FILE_LOGGER_PATH", metrics)
        _for_workers(composed, "TENSORBOARD_DIR", config.run_folder / "tensorboard")
        _run(composed, places.verl, metrics)
    say(f"complete: {config.run_folder}/checkpoints holds the policy (zerosearch evaluate, zerosearch ask --run)")


def compose(settings: Mapping[str, Any], changes: Sequence[str]) -> Any:
    """verl's whole configuration: its defaults, then `settings`, then `changes`.

    Raises `ConfigError` for a change that verl does not know.
    """
    from hydra import compose as compose_defaults
    from hydra import initialize_config_module
    from omegaconf import OmegaConf, open_dict

    own = {change.partition("=")[0].lstrip("+~") for change in changes}
    try:
        with initialize_config_module("verl.trainer.config", version_base=None):
            composed = compose_defaults("ppo_trainer", overrides=list(changes))
        with open_dict(composed):
            for name, value in settings.items():
                key = name.lstrip("+")
                if key not in own:
                    OmegaConf.update(composed, key, value, force_add=True)
    except Exception as error:  # Hydra and OmegaConf raise many kinds for a setting that is not there
        raise ConfigError(f"--verl: {first_line(error)}") from None
    return composed


def _installed(config: TrainConfig, places: Places) -> None:
    for module in ("verl", "transfer_queue", "ray"):
        if importlib.util.find_spec(module) is None:
            raise ModelError(
                f"--on verl needs {module}: {install('verl')} in an environment of its own (docs/scale.md)"
            )
    if config.algorithm.name == "ppo" and not places.flash_attention and "VERL_PLATFORM" not in os.environ:
        raise ConfigError("algorithm.name = 'ppo': verl's critic needs the package flash_attn, which is not installed")


def check_folder(config: TrainConfig) -> None:
    """A folder of another trainer, or of other settings, is left as it is. Raises `FolderError`, `CheckpointError`."""
    folder = config.run_folder
    held = sorted(path.name for path in folder.glob("*") if not path.name.startswith("."))
    if not held:
        return
    if not (folder / "verl" / _SETTINGS).is_file():
        raise FolderError(f"{folder}: holds {listed(held)}, and not of a run on verl; take another --name, or --fresh")
    differing = differing_settings(read_object(folder / "verl" / _SETTINGS)["settings"], config)
    if binding := [difference for difference in differing if not difference[0].startswith("evaluation.")]:
        raise made_otherwise(folder, binding)


def _write(config: TrainConfig, composed: Any, read: Questions, say: Callable[[str], None]) -> None:
    """The run's folder, as verl's workers find it."""
    from omegaconf import OmegaConf

    folder, verl = config.run_folder, config.run_folder / "verl"
    verl.mkdir(parents=True, exist_ok=True)
    write_json(verl / _SETTINGS, {"settings": known_settings(config)})  # first: it says whose folder this is
    atomic_write(folder / "config.toml", config_toml(config).encode())
    played = folder / "config.toml" if composed.get("zerosearch") is None else verl / SERVED
    loop = [{"name": AGENT, "_target_": _LOOP, "settings": str(played.absolute())}]
    atomic_write(verl / "agent_loop.yaml", json.dumps(loop, indent=1).encode())  # JSON is YAML too
    atomic_write(verl / "verl.yaml", OmegaConf.to_yaml(composed).encode())
    template = config.protocol.prompt or (PROMPT if config.protocol.max_searches else PROMPT_WITHOUT_SEARCH)

    def render(question: str) -> str:
        return render_prompt(neutralize(question, ()), template=template)

    questions, held_out = read
    write_questions(verl / "train.parquet", questions, render, "train")
    write_questions(verl / "validation.parquet", held_out, render, "validation")
    say(f"{counted(len(questions), 'question')} to train on, {len(held_out)} to evaluate with; run folder {folder}/")


def _for_workers(composed: Any, name: str, path: Path) -> None:
    """Set an environment variable of Ray's workers: on an existing cluster they inherit none of this process."""
    _add(composed, f"ray_kwargs.ray_init.runtime_env.env_vars.{name}", str(path.absolute()))


def _add(composed: Any, name: str, value: Any) -> None:
    from omegaconf import OmegaConf

    OmegaConf.update(composed, name, value, force_add=True)


def _next_metrics(verl: Path) -> Path:
    """A file of its own for each start: verl's logger empties the one that it is given."""
    return verl / f"metrics-{len(list(verl.glob('metrics-*.jsonl'))) + 1}.jsonl"


def _run(composed: Any, verl: Path, metrics: Path) -> None:
    from verl.trainer.main_ppo import run_ppo
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import validate_config
    from verl.utils.device import auto_set_device

    from zerosearch.scaleout.verl.trainer import SearchRunner
    from zerosearch.scaleout.verl.watch import Watch

    with Watch(SearchRunner, spared=("SimulatorReplica",)) as watch:
        try:
            auto_set_device(composed)
            validate_config(composed, need_reference_policy(composed), need_critic(composed))
            run_ppo(composed, task_runner_class=watch)
        except Exception as error:  # of Ray, verl, vLLM or CUDA
            dead = [str(death) for death in watch.look()]
            atomic_write(verl / _FAILURE, clean("\n".join([*dead, str(error)])).encode())
            raise RunError(
                f"the run on verl failed: {dead[0] if dead else _last_line(error)}. {what_was_lost(verl, metrics)}. "
                f"All of the error is in {verl / _FAILURE}"
            ) from error


def _last_line(error: BaseException) -> str:
    """The end of a remote traceback says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300].rstrip(".") if lines else type(error).__name__
