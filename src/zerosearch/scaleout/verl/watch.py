"""A watch over the Ray actors of a run, which ends the run when one of them dies.

verl waits for ever for the episodes of an agent loop worker that died, and does not notice another worker's death
before it needs it.

    with Watch(SearchRunner) as watch:
        run_ppo(settings, task_runner_class=watch)
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import Any

import ray
from ray._private import state  # the public list of actors needs Ray's dashboard; verl reads this one too

from zerosearch.errors import first_line

log = logging.getLogger(__name__)

_SECONDS = 5.0  # between two looks
_BY_ITSELF = ("WORKER_DIED", "NODE_DIED")  # else Ray or verl ended it
_DOES = {
    "WorkerDict": "computes log-probs and updates",
    "AgentLoopWorkerTQ": "plays episodes",
    "vLLMHttpServer": "samples turns",
    "RewardLoopWorker": "keeps rewards",
    "SimpleStorageUnit": "keeps episodes",
    "TransferQueueController": "keeps episodes",
    "TaskRunnerV1": "steers the run",
}


@dataclass(frozen=True)
class Death:
    """An actor of Ray that ended by itself: its class, process and machine, and what Ray says of it."""

    worker: str
    process: int
    machine: str
    cause: str

    def __str__(self) -> str:
        does = f", which {_DOES[self.worker]}," if self.worker in _DOES else ""
        return f"{self.worker}{does} died (process {self.process} on {self.machine}): {self.cause}"


def deaths() -> list[Death]:
    """The actors of this job that were killed, failed or were lost with their machine, the earliest first."""
    if not ray.is_initialized():
        return []
    job = ray.JobID.from_hex(ray.get_runtime_context().get_job_id())
    dead = state.actors(job_id=job, actor_state_name="DEAD").values()
    return [death for row in sorted(dead, key=lambda row: row["EndTime"]) if (death := _death(row)) is not None]


def _death(row: dict[str, Any]) -> Death | None:
    """None where Ray or verl ended the actor, or its start failed: verl raises that itself."""
    cause = row["DeathCause"]
    told: Any = None
    if cause.HasField("oom_context"):
        told = cause.oom_context
    elif cause.HasField("actor_died_error_context"):
        context = cause.actor_died_error_context
        if context.Reason.Name(context.reason) in _BY_ITSELF:
            told = context
    if told is None:
        return None
    said = (
        " ".join(told.error_message.split())
        .rpartition("Worker exit detail: ")[2]
        .partition(" Some common")[0]
        .rstrip(".")
    )
    name = row["ActorClassName"].rpartition(".")[2]
    return Death(name, row["Pid"], row["Address"]["IPAddress"], said[:300] or "no cause")


class Watch:
    """`runner`, verl's task runner, watched: `run_ppo` makes one by `remote()`, and it is killed when an actor dies.

    Then `run_ppo` raises, and `dead` says who died. Actors of the classes `spared` may die; that is logged.
    """

    def __init__(self, runner: Any, *, spared: tuple[str, ...] = (), seconds: float = _SECONDS) -> None:
        self.dead: list[Death] = []
        self._told: set[Death] = set()
        self._runner, self._spared, self._seconds = runner, spared, seconds
        self._over, self._blind = threading.Event(), False

    def remote(self) -> Any:
        """Start the runner, and to watch. Ray is there."""
        made = self._runner.remote()
        threading.Thread(target=self._watch, args=(made,), name="watch", daemon=True).start()
        return made

    def options(self, **options: Any) -> Watch:
        """As Ray's own `options`."""
        self._runner = self._runner.options(**options)
        return self

    def look(self) -> list[Death]:
        """Those who have died and are not spared; where Ray is not reached, those of the look before."""
        try:
            found = deaths()
            self.dead = [death for death in found if death.worker not in self._spared]
            for death in set(found) - set(self.dead) - self._told:
                log.warning("%s; the run goes on without it", death)
                self._told.add(death)
        except Exception as error:
            if not self._blind:
                log.warning("cannot see whether the workers of verl live: %s", first_line(error))
            self._blind = True
        return self.dead

    def _watch(self, runner: Any) -> None:
        while not self._over.wait(self._seconds):
            if self.look():
                ray.kill(runner)
                return

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
