"""The training loop: questions, rollouts, an update, and a run folder that a kill at any moment leaves whole."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from zerosearch.config import TrainConfig
from zerosearch.curriculum import derive_seed
from zerosearch.engines.base import SearchEngine
from zerosearch.errors import RunError
from zerosearch.evaluation.runner import Evaluation, describe, summarize
from zerosearch.generators.base import TrainedGenerator
from zerosearch.learning.checkpoints import list_checkpoints, load_checkpoint, save_checkpoint
from zerosearch.learning.learner import Learner, NotFinite
from zerosearch.learning.parallel import ALONE, Processes
from zerosearch.questions import Question
from zerosearch.rollout import ErrorRate, RolloutSettings, roll_out
from zerosearch.runs import append_jsonl, trim_rows, write_json
from zerosearch.runtime import release_memory
from zerosearch.simulation.fidelity import leak
from zerosearch.trajectory import Trajectory, write_trajectories


class Sink(Protocol):
    """Where metrics go besides `metrics.jsonl`: TensorBoard, wandb, trackio, the screen."""

    def log(self, row: dict[str, Any]) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Parts:
    """Everything a run is made of. `generator` speaks as the policy that `learner` trains."""

    questions: Sequence[Question]
    evaluation_questions: Sequence[Question]
    generator: TrainedGenerator
    engine: SearchEngine
    evaluation_engine: SearchEngine
    learner: Learner
    training: RolloutSettings
    evaluation: RolloutSettings


class Trainer:
    """Runs `config` with `parts`; `sinks` see every row of metrics.

    Everything random has a seed made from the run's seed and the step, so a resumed run needs no state but weights,
    optimizer and step: killed at any point and resumed, a CPU run gives the numbers that it would have given.
    """

    def __init__(
        self,
        config: TrainConfig,
        parts: Parts,
        sinks: Sequence[Sink] = (),
        say: Callable[[str], None] = print,
        processes: Processes = ALONE,
    ) -> None:
        self.config, self.parts, self.sinks, self.processes = config, parts, sinks, processes
        self.say = say if processes.first else lambda text: None
        self.folder = config.run_folder
        self.errors = ErrorRate(config.engine.max_error_rate)
        self._started = time.monotonic()

    def run(self) -> bool:
        """Train to the end, or until `training.max_minutes` are over. Returns whether the run is complete.

        A folder that holds a checkpoint of this configuration is gone on with from there.
        """
        training = self.config.training
        with asyncio.Runner() as runner:
            start = self._resume()
            if start == training.steps and self._evaluation_file(start).exists():
                self.say(f"{self.folder} is complete: {start} steps; --fresh or another --name starts a new run")
                return True
            if start == 0:
                runner.run(self._evaluate(0))
            for step in range(start, training.steps):
                row = runner.run(self._step(step))
                for sink in self.sinks if self.processes.first else ():
                    sink.log(row)
                done = step + 1
                every = self.config.evaluation.every
                if done < training.steps and every and done % every == 0:
                    runner.run(self._evaluate(done))
                out_of_time = self._out_of_time()
                if (
                    done == training.steps
                    or out_of_time
                    or (training.checkpoint_every and done % training.checkpoint_every == 0)
                ):
                    self._checkpoint(done)
                if out_of_time and done < training.steps:
                    self.say(f"stopped after step {done} of {training.steps}: {training.max_minutes} minutes are over")
                    return False
            runner.run(self._evaluate(training.steps))
        return True

    def batch(self, step: int) -> list[Question]:
        """The questions of a step: each epoch is its own seeded shuffle, and no question is left out of one."""
        count, size = len(self.parts.questions), self.config.training.questions_per_step
        chosen = []
        for position in range(step * size, (step + 1) * size):
            epoch, place = divmod(position, count)
            chosen.append(self.parts.questions[int(self._order(epoch, count)[place])])
        return chosen

    def _order(self, epoch: int, count: int) -> Any:
        if getattr(self, "_epoch", None) != epoch:
            self._epoch = epoch
            self._permutation = np.random.default_rng(derive_seed(self.config.seed, "order", epoch)).permutation(count)
        return self._permutation

    async def _step(self, step: int) -> dict[str, Any]:
        config, parts = self.config, self.parts
        started = time.perf_counter()
        simulated = config.engine.kind == "simulated"
        noise = config.curriculum.build().noise(step, config.training.steps) if simulated else None
        rollouts = config.training.rollouts
        trajectories = await self._play(
            self.batch(step), parts.engine, parts.training, noise=noise, rollouts=rollouts, step=step
        )
        rolled = time.perf_counter()
        self._all_failed(trajectories)
        every = config.logging.trajectories_every
        if every and step % every == 0 and self.processes.first:
            write_trajectories(self.folder / "trajectories" / f"step-{step:06d}.jsonl.zst", trajectories)
        try:
            learned = parts.learner.update(trajectories, step)
            parts.generator.sync()
        except NotFinite as error:
            saved = self.folder / f"not-finite-step-{step:06d}.jsonl.zst"
            if self.processes.first:
                write_trajectories(saved, trajectories)
            raise RunError(
                f"step {step}: {error}. The batch is in {saved}; the last checkpoint is as it was. A smaller "
                "learning rate or clip usually helps"
            ) from None
        release_memory()
        ended = time.perf_counter()
        tokens = sum(t.policy_tokens for t in trajectories)
        row = {
            "step": step,
            **_rollout_metrics(trajectories),
            "noise": noise,
            **learned,
            "timing": {
                "seconds": ended - started,
                "rollout_seconds": rolled - started,
                "update_seconds": ended - rolled,
                "policy_tokens_per_second": tokens / max(rolled - started, 1e-9),
                "search_seconds": sum(s.seconds for t in trajectories for s in t.searches),
            },
        }
        if self.processes.first:
            append_jsonl(self.folder / "metrics.jsonl", row)
        return row

    async def _play(
        self,
        questions: Sequence[Question],
        engine: SearchEngine,
        settings: RolloutSettings,
        *,
        noise: float | None,
        rollouts: int = 1,
        step: int = 0,
    ) -> list[Trajectory]:
        """Episodes of all processes, in the order of the questions; each process plays its share."""
        groups = self.processes.share(range(len(questions)))
        own = await roll_out(
            [questions[group] for group in groups],
            self.parts.generator,
            engine,
            settings,
            self.errors,
            rollouts=rollouts,
            noise=noise,
            step=step,
            groups=groups,
        )
        return sorted(self.processes.gather(own), key=lambda t: (t.group, t.rollout))

    async def _evaluate(self, step: int) -> None:
        """Evaluate the policy as it is after `step` steps, unless this run already has."""
        path = self._evaluation_file(step)
        self.processes.wait()
        if path.exists():
            return
        parts, config, engine = self.parts, self.config, self.parts.evaluation_engine
        kind = (config.evaluation.engine or config.engine).kind
        noise = 0.0 if kind == "simulated" else None
        self.say(f"evaluating after {step} steps: {len(parts.evaluation_questions)} questions, {engine.name}")
        trajectories = await self._play(parts.evaluation_questions, engine, parts.evaluation, noise=noise)
        result = describe(trajectories, engine.name, parts.evaluation)
        record: dict[str, Any] = {"step": step, **result.as_dict()}
        limit = config.evaluation.transfer_limit
        if engine is not parts.engine and limit and config.engine.kind == "simulated" and kind != "simulated":
            record["transfer"] = await self._transfer(trajectories[:limit], result)
        if self.processes.first:
            write_trajectories(path.with_suffix(".jsonl.zst"), trajectories)
            write_json(path, record)
        self.processes.wait()

    async def _transfer(self, real: Sequence[Trajectory], evaluation: Evaluation) -> dict[str, Any]:
        """The same questions with the simulated engine, useful pages only: transfer gap and leak rate."""
        parts = self.parts
        settings = replace(parts.evaluation, top_k=parts.training.top_k)
        questions = [t.question for t in real]
        simulated = await self._play(questions, parts.engine, settings, noise=0.0)
        found = await leak(simulated, parts.evaluation_engine, evaluation.top_k)
        pages = [s for t in simulated for s in t.searches if s.error is None]
        return {
            "questions": len(questions),
            "simulated_f1": summarize(simulated).f1,
            "real_f1": summarize(real).f1,
            "transfer_gap": summarize(simulated).f1 - summarize(real).f1,
            "simulated_searches": summarize(simulated).searches,
            "leak_queries": found.queries,
            "leak_rate": found.rate,
            "pages_parsed": _share([s.parsed for s in pages]),
        }

    def _resume(self) -> int:
        checkpoints = list_checkpoints(self.folder / "checkpoints")
        start = 0
        self.processes.wait()
        if checkpoints:
            load_checkpoint(checkpoints[-1], self.parts.learner, self.config)
            self.parts.generator.sync()
            start = checkpoints[-1].step
            self.say(f"going on from {checkpoints[-1].folder}")
        if self.processes.first:
            self._take_back(start)
        self.processes.wait()
        return start

    def _take_back(self, start: int) -> None:
        """Take out what was written after the checkpoint: it will be written again.

        Without a checkpoint that is everything: nothing says that an older evaluation was made with these settings.
        """
        trim_rows(self.folder / "metrics.jsonl", keep_below=start)
        for path in sorted((self.folder / "evaluations").glob("step-[0-9]*.json")):
            if start == 0 or (path.stem[5:].isdigit() and int(path.stem[5:]) > start):
                path.unlink()

    def _evaluation_file(self, step: int) -> Path:
        return self.folder / "evaluations" / f"step-{step:06d}.json"

    def _checkpoint(self, step: int) -> None:
        if not self.processes.first:
            return
        save_checkpoint(
            self.folder / "checkpoints",
            step,
            self.parts.learner,
            self.config,
            keep=self.config.training.keep_checkpoints,
        )

    def _out_of_time(self) -> bool:
        """Decided together: clocks differ, and a process that stopped alone would leave the others waiting."""
        limit = self.config.training.max_minutes
        over = limit is not None and time.monotonic() - self._started > 60 * limit
        return any(self.processes.gather([over]))

    def _all_failed(self, trajectories: Sequence[Trajectory]) -> None:
        searches = [s for t in trajectories for s in t.searches]
        if searches and all(s.error is not None for s in searches):
            kinds = ", ".join(sorted({str(s.error) for s in searches}))
            raise RunError(f"every search of this step failed ({kinds}): is the engine {self.parts.engine.name} up?")


def _rollout_metrics(trajectories: Sequence[Trajectory]) -> dict[str, Any]:
    summary = summarize(trajectories)
    searches = [s for t in trajectories for s in t.searches]
    stops = Counter(t.stop_reason for t in trajectories)
    return {
        "reward": summary.reward,
        "em": summary.em,
        "f1": summary.f1,
        "searches": summary.searches,
        "valid_actions": summary.valid_actions,
        "well_formed": summary.well_formed,
        "answered": summary.answered,
        "evidence": summary.evidence,
        "policy_tokens": summary.policy_tokens,
        "episodes": len(trajectories),
        "noisy_pages": _share([s.quality == "noisy" for s in searches]),
        "pages_parsed": _share([s.parsed for s in searches if s.error is None]),
        "cache_hits": _share([s.cached for s in searches if s.error is None]),
        "search_errors": sum(s.error is not None for s in searches),
        "cost_usd": float(sum(s.cost_usd for s in searches)),
        "stops": dict(sorted(stops.items())),
    }


def _share(hits: Sequence[bool]) -> float | None:
    return sum(hits) / len(hits) if hits else None
