"""What runs beside verl's trainer: search metrics of every step in its loggers, and policies that `evaluate` reads."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import ray
import transfer_queue as tq
from verl.trainer.main_ppo import TaskRunnerV1
from verl.trainer.ppo.checkpoint_callback import CheckpointCallback
from verl.trainer.ppo.v1.trainer_base import TRAINER_REGISTRY

from zerosearch.config_file import config_toml, load_config
from zerosearch.files.jsonl import atomic_write
from zerosearch.scaleout.verl.checkpoints import keep_policy, run_of
from zerosearch.scaleout.verl.metrics import step_metrics
from zerosearch.scaleout.verl.served import SERVED, Served, asked_at
from zerosearch.scaleout.verl.simulators import Simulators, check_room
from zerosearch.spending.ledger import counted

log = logging.getLogger(__name__)


def searching(trainer: type[Any]) -> type[Any]:
    """`trainer`, one of verl's V1 trainers, with the search metrics of each training step among its own."""

    class Searching(trainer):  # type: ignore[misc]
        def _compute_metrics(self, batch: Any, metrics: dict[str, Any], *args: Any, **kwargs: Any) -> None:
            super()._compute_metrics(batch, metrics, *args, **kwargs)
            metrics.update(step_metrics(_episodes(batch)))

    return Searching


def _episodes(batch: Any) -> list[dict[str, float]]:
    """What the episodes of a batch say of themselves. Rows that verl adds to even out a batch are no episodes."""
    real = [key for key, tag in zip(batch.keys, batch.tags, strict=True) if not tag.get("is_padding", False)]
    data = tq.kv_batch_get(keys=real, partition_id=batch.partition_id, select_fields=["extra_fields"])
    told = [fields.get("reward_extra_info") for fields in data.pop("extra_fields").tolist()]
    return [episode for episode in told if episode]


class _Runner(TaskRunnerV1.__ray_metadata__.modified_class):  # type: ignore[misc]
    simulators: Simulators | None = None

    def run(self, config: Any) -> None:
        import zerosearch.scaleout.verl.estimators  # noqa: F401  (registers them in this process)

        if (served := _served(config)) is not None:
            check_room(served, config.trainer.nnodes * config.trainer.n_gpus_per_node)
        mode = config.trainer.v1.trainer_mode
        TRAINER_REGISTRY[mode] = searching(TRAINER_REGISTRY[mode])
        try:
            super().run(config)
        finally:
            if self.simulators is not None:
                self.simulators.close()

    def init_agent_loop_manager(self) -> None:
        """The policy has its GPUs by now, and nobody plays yet: the simulator gets GPUs that are left."""
        if (served := _served(self.config)) is not None:
            run = run_of(Path(self.config.trainer.default_local_dir))
            self.simulators = Simulators.start(served, run / "verl")
            print(f"simulator replicas: {', '.join(self.simulators.urls)}", flush=True)
            asked = asked_at(load_config(run / "config.toml"), self.simulators.urls)
            atomic_write(run / "verl" / SERVED, config_toml(asked).encode())
        super().init_agent_loop_manager()


def _served(config: Any) -> Served | None:
    """The replicas that `launch` has put among verl's settings."""
    told = config.get("zerosearch")
    return None if told is None else Served(**{**told, "words": tuple(told.words)})


SearchRunner = ray.remote(_Runner)
"""verl's task runner, whose trainer reports searches."""


class KeepPolicy(CheckpointCallback):  # type: ignore[misc]
    """After each of verl's checkpoints: its policy in the run's folder, where `zerosearch evaluate` and `ask` look.

    Where that fails the training goes on: verl's own checkpoint stands, and `keep_policy` can be called again.
    """

    def on_save(self, trainer: Any, global_step: int, checkpoint_dir: str, **told: Any) -> None:
        config = self.config
        keep = config.trainer.get("max_actor_ckpt_to_keep") or 0
        try:
            made = keep_policy(Path(checkpoint_dir), run_of(Path(config.trainer.default_local_dir)), keep=keep)
        except Exception:
            log.exception("the policy of %s was not put into the run's folder; the checkpoint stands", checkpoint_dir)
        else:
            print(f"policy after {counted(global_step, 'step')}: {made}", flush=True)
