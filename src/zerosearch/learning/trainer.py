"""The training loop: questions, rollouts, update, and a run folder that survives a kill at any moment."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from zerosearch.config import TrainConfig
from zerosearch.episodes.generation import TrainedGenerator
from zerosearch.episodes.questions import Question
from zerosearch.episodes.rollout import ErrorRate, RolloutSettings, roll_out
from zerosearch.episodes.search import SearchEngine, close_connections
from zerosearch.episodes.trajectory import Trajectory, Try, tries, write_trajectories
from zerosearch.errors import BudgetError, ModelError, RunError
from zerosearch.files.jsonl import append_jsonl, read_metrics, read_object, write_json
from zerosearch.learning.alarms import Alarms
from zerosearch.learning.beginning import load_newest, look, take_back, tidy
from zerosearch.learning.books import RunBooks
from zerosearch.learning.checkpoints import changes, learner_state, list_checkpoints, mark_start, save_checkpoint
from zerosearch.learning.evaluations import evaluation_header, evaluation_record, transfer_row, write_played
from zerosearch.learning.learner import Learner
from zerosearch.learning.metrics import check_searches, rollout_metrics
from zerosearch.learning.order import batch
from zerosearch.learning.parallel import ALONE, Processes
from zerosearch.learning.scaling import NotFinite
from zerosearch.process.loops import Loop
from zerosearch.process.runtime import release_memory
from zerosearch.simulator.fidelity import Leak, leak
from zerosearch.spending.books import numbers, times
from zerosearch.spending.ledger import Ledger, counted
from zerosearch.spending.meter import Budget


class Sink(Protocol):
    """Where metrics go besides `metrics.jsonl`: TensorBoard, wandb, trackio, the screen.

    One that has `evaluated(record)` too gets what `evaluations/step-N.json` says, once it is written.
    """

    def log(self, row: dict[str, Any]) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class TrainerInputs:
    """Everything that a trainer works with. `generator` speaks as the policy that `learner` trains.

    `simulator_seconds` tells how long local simulators have been decoding; None where there is none.
    """

    questions: Sequence[Question]
    evaluation_questions: Sequence[Question]
    generator: TrainedGenerator
    engine: SearchEngine
    evaluation_engine: SearchEngine
    learner: Learner
    training: RolloutSettings
    evaluation: RolloutSettings
    simulator_seconds: Callable[[], float] | None = None


class Trainer:
    """Runs `config` with `inputs`; `sinks` see every row of metrics.

    Everything random has a seed made from the run's seed and the step, so a resumed run needs no state but weights,
    optimizer and step: killed at any point and resumed, a CPU run gives the numbers that it would have given.
    """

    def __init__(
        self,
        config: TrainConfig,
        inputs: TrainerInputs,
        sinks: Sequence[Sink] = (),
        say: Callable[[str], None] = print,
        processes: Processes = ALONE,
    ) -> None:
        self.config, self.inputs, self.sinks, self.processes = config, inputs, sinks, processes
        self.say = say if processes.first else lambda text: None
        self.folder = config.run_folder
        self.errors = ErrorRate(config.engine.max_error_rate)
        self._started = time.monotonic()

    def run(self) -> bool:
        """Train to the end, or until `training.max_minutes` are over. Returns whether the run is complete.

        A folder that holds a checkpoint of this configuration is gone on with from there. Raises `RunError`; of kind
        `BudgetError` where the engine's budget is spent, with a checkpoint written.
        """
        training = self.config.training
        self._say_repeats()
        with Loop() as runner, self._connections(runner):
            start = done = self._resume()
            if start >= training.steps and self._evaluation_file(start).exists():
                self.say(
                    f"{self.folder} is complete: {counted(start, 'step')}; a larger training.steps continues it, "
                    "--fresh or another --name starts a new run"
                )
                return True
            try:
                if self._judged_at(start):
                    runner.run(self._evaluate(start))
                for step in range(start, training.steps):
                    row = runner.run(self._step(step))
                    for sink in self.sinks if self.processes.first else ():
                        sink.log(row)
                    self._heed(step)
                    done = step + 1
                    if self._judged_at(done):
                        runner.run(self._evaluate(done))
                    out_of_time = self._out_of_time()
                    if (
                        done == training.steps
                        or out_of_time
                        or (training.checkpoint_every and done % training.checkpoint_every == 0)
                    ):
                        self._checkpoint(done)
                    if out_of_time and done < training.steps:
                        limit = f"training.max_minutes = {training.max_minutes}"
                        self.say(f"stopped after step {done} of {training.steps}: {limit} is reached")
                        return False
                runner.run(self._evaluate(done))
            except BudgetError as error:
                self._checkpoint_once(done)
                raise BudgetError(
                    f"{error}. Stopped after step {done} of {training.steps} with a checkpoint; the same command with "
                    "a larger budget resumes from there"
                ) from None
        return True

    @contextlib.contextmanager
    def _connections(self, runner: Loop) -> Iterator[None]:
        """What the engines hold open belongs to the run's event loop, and is closed in it however the run ends."""
        try:
            yield
        finally:
            for engine in {id(e): e for e in (self.inputs.engine, self.inputs.evaluation_engine)}.values():
                runner.run(close_connections(engine))

    def _judged_at(self, step: int) -> bool:
        """Whether an evaluation is due after `step` steps, the last one apart."""
        every = self.config.evaluation.every
        return step == 0 or (step < self.config.training.steps and every > 0 and step % every == 0)

    def _say_repeats(self) -> None:
        """Few questions are no error, but a step is then not what it says."""
        count, places = len(self.inputs.questions), self.config.training.questions_per_step
        if count < places:
            self.say(f"{counted(count, 'question')} for the {places} of a step: each step repeats questions")

    def batch(self, step: int) -> list[Question]:
        """The questions of a step."""
        return batch(self.inputs.questions, step, self.config.training.questions_per_step, self.config.seed)

    async def _step(self, step: int) -> dict[str, Any]:
        config, inputs = self.config, self.inputs
        started = time.perf_counter()
        simulated = config.engine.kind == "simulated"
        curriculum = config.curriculum.build()
        noise = curriculum.noise(step, config.training.steps, self._rewards) if simulated else None
        try:
            asked = tries(self.batch(step), config.training.rollouts, step=step, noise=noise)
            trajectories, used = await self._play(asked, inputs.engine, inputs.training)
            rolled = time.perf_counter()
            check_searches(trajectories, inputs.engine.name, self.errors.last)
            with self._keeping(trajectories, step):
                learned = inputs.learner.update(trajectories, step)
        except ModelError as error:  # logits that are not numbers
            raise RunError(f"step {step}: {error}. The last checkpoint is as it was") from None
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
        so_far = self.books.standing(used)
        row = {
            "step": step,
            **rollout_metrics(trajectories),
            "ledger": numbers(used),
            "cost": {"usd": so_far.usd, "searches": so_far.queries},
            "noise": noise,
            **learned,
            "timing": {
                "seconds": ended - started,
                "rollout_seconds": rolled - started,
                "update_seconds": ended - rolled,
                "policy_tokens_per_second": tokens / max(rolled - started, 1e-9),
                **times(used, local=self.books.local),
            },
        }
        self._found = self.alarms.look(row)
        row["alarms"] = [alarm.text for alarm in self._found]
        if self.processes.first:
            append_jsonl(self.folder / "metrics.jsonl", row)
        self.books.stands(used)
        self._rewards.append(row["reward"])
        return row

    @contextlib.contextmanager
    def _keeping(self, trajectories: Sequence[Trajectory], step: int) -> Iterator[None]:
        """Write the step's episodes, in a thread of their own: nobody waits for the first process to compress them."""
        every = self.config.logging.trajectories_every
        if not (every and step % every == 0 and self.processes.first):
            yield
            return
        path = self.folder / "trajectories" / f"step-{step:06d}.jsonl.zst"
        with ThreadPoolExecutor(1, "trajectories") as pool:
            written = pool.submit(write_trajectories, path, trajectories)
            yield
            written.result()

    def _heed(self, step: int) -> None:
        """Raises `RunError` where an alarm of the step says that the run had better stop."""
        for alarm in self._found:
            if alarm.stops:
                told = f"stopped after step {step + 1}: {alarm.text}. {alarm.advice}"
                raise RunError(f"{told}. Older checkpoints stay as they are")

    async def _play(
        self, asked: Sequence[Try], engine: SearchEngine, settings: RolloutSettings
    ) -> tuple[list[Trajectory], Ledger]:
        """Episodes of all processes, in the order of `asked`, and what their searches used.

        Each process plays its share of the questions. Raises `BudgetError`, and then in all of them.
        """
        mine = set(self.processes.share(range(len({one.group for one in asked}))))

        async def play() -> list[Trajectory]:
            share = [one for one in asked if one.group in mine]
            self.inputs.generator.sync()
            own = await roll_out(share, self.inputs.generator, self.books.metered(engine), settings, self.errors)
            self.books.given_again(own)
            return own

        reason = f"step {asked[0].step}" if settings is self.inputs.training else "evaluation"
        played, used = await self.books.section(reason, play)
        played.sort(key=lambda t: (t.group, t.rollout))
        decoding = Ledger(simulator_seconds=used.simulator_seconds)
        return played, Ledger.total([Ledger.of(played), decoding])

    async def _evaluate(self, step: int) -> None:
        """Evaluate the policy as it is after `step` steps, unless this run already has."""
        path = self._evaluation_file(step)
        self.processes.wait()
        if path.exists():
            self._tell_sinks(read_object(path))  # after a resume they may have lost it
            return
        started = time.perf_counter()
        inputs, config, engine = self.inputs, self.config, self.inputs.evaluation_engine
        kind, asked = (config.evaluation.engine or config.engine).kind, inputs.evaluation_questions
        noise = 0.0 if kind == "simulated" else None
        self.say(f"evaluating after {counted(step, 'step')}: {counted(len(asked), 'question')}, {engine.name}")
        played, used = await self._play(tries(asked, noise=noise), engine, inputs.evaluation)
        header = evaluation_header(config, step, played, engine, inputs.evaluation)
        found, record = evaluation_record(header, step, played)
        limit = config.evaluation.transfer_limit
        if engine is not inputs.engine and limit and config.engine.kind == "simulated" and kind != "simulated":
            record["transfer"], more = await self._transfer(played[:limit])
            used += more
        record |= {"ledger": numbers(used), "timing": times(used, local=self.books.local)}
        if self.processes.first:
            write_played(path.with_suffix(".jsonl"), header, played)
            write_json(path, record)  # last: it says that the evaluation is whole
            self._tell_sinks(record)
        seconds = time.perf_counter() - started
        self.say(f"  F1 {found.f1:.3f}  EM {found.em:.3f}  searches {found.searches:.2f} an episode  ({seconds:.0f} s)")
        self.books.stands(used)
        self.processes.wait()

    def _tell_sinks(self, record: dict[str, Any]) -> None:
        for sink in self.sinks if self.processes.first else ():
            if (evaluated := getattr(sink, "evaluated", None)) is not None:
                evaluated(record)

    async def _transfer(self, real: Sequence[Trajectory]) -> tuple[dict[str, Any], Ledger]:
        """The questions of `real` again with the simulator, useful pages only; the real engine judges these pages."""
        inputs = self.inputs
        settings = replace(inputs.evaluation, top_k=inputs.training.top_k)
        simulated, used = await self._play(tries([t.question for t in real], noise=0.0), inputs.engine, settings)
        judge = self.books.metered(inputs.evaluation_engine)

        async def ask_once() -> list[Leak]:
            """By one process for all: a real engine may want money for every query."""
            return [await leak(simulated, judge, inputs.evaluation.top_k)] if self.processes.first else []

        (leaked,), asked = await self.books.section("leak rate", ask_once)
        return transfer_row(simulated, real, leaked), used + asked

    def _resume(self) -> int:
        begin = look(self.config)
        budget = Budget(self.config.engine.budget_usd, self.config.engine.budget_searches)
        self.books = RunBooks(self.folder, budget, self.processes, self.inputs.simulator_seconds)
        self.processes.wait()
        checkpoint = load_newest(begin, self.inputs.learner, self.config)
        self.processes.wait()
        if self.processes.first:
            tidy(begin, self.config.training.keep_checkpoints)
            take_back(begin, None if checkpoint is None else checkpoint.step)
            if checkpoint is None:
                mark_start(self.folder / "checkpoints", self.config)
        for text in begin.said:
            self.say(text)
        if checkpoint is not None:
            self.say(f"resuming from {checkpoint.folder}")
            for change in changes(checkpoint, self.config):
                self.say(f"  {change}; what was made before stays as it is")
        self.processes.wait()
        self.books.open()
        start = 0 if checkpoint is None else checkpoint.step
        training = self.config.training
        self.alarms = Alarms(training.max_sampler_gap, training.stop_on_collapse)
        rows = list(read_metrics(self.folder / "metrics.jsonl", rewards=True))
        self._rewards = [float(row["reward"]) for row in rows]
        for row in rows:
            self.alarms.look(row)
        return start

    def _evaluation_file(self, step: int) -> Path:
        return self.folder / "evaluations" / f"step-{step:06d}.json"

    def _checkpoint(self, step: int) -> None:
        learner, first = self.inputs.learner, self.processes.first
        if not (first or learner.policy.sharded):
            return
        state = learner_state(learner, keep=first)
        if first:
            keep = self.config.training.keep_checkpoints
            save_checkpoint(self.folder / "checkpoints", step, learner, self.config, keep=keep, state=state)

    def _checkpoint_once(self, step: int) -> None:
        """A checkpoint, unless the last one is of this very step. No weight has changed since then."""
        checkpoints = list_checkpoints(self.folder / "checkpoints")
        if not checkpoints or checkpoints[-1].step != step:
            self._checkpoint(step)

    def _out_of_time(self) -> bool:
        """Decided together: clocks differ, and a process that stopped alone would leave the others waiting."""
        limit = self.config.training.max_minutes
        over = limit is not None and time.monotonic() - self._started > 60 * limit
        return any(self.processes.gather([over]))
