"""The cells of an evaluation table (benchmark x method): each is a file that grows with its predictions.

The files are the state: a call goes on with whatever they do not hold yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from zerosearch.episodes.generation import Generator
from zerosearch.episodes.predictions import (
    CUT_OFF,
    Header,
    Outcome,
    Prediction,
    append_prediction,
    start_predictions,
)
from zerosearch.episodes.questions import Question
from zerosearch.episodes.rollout import RolloutSettings, run_episode
from zerosearch.episodes.search import SearchEngine
from zerosearch.episodes.tasks import for_each
from zerosearch.episodes.trajectory import Try
from zerosearch.errors import EngineError, PolicyError
from zerosearch.evaluation.methods import Errors, MethodSettings, PromptedMethod, Session
from zerosearch.models.chat import ChatModel
from zerosearch.usage import Usage

_ROWS_A_WRITE = 64
_SECONDS_A_WRITE = 1.0  # each write waits for the disk


class Predictor(Protocol):
    """Answers one question; `sample` numbers the tries.

    What fails is an outcome with an `error`. Raises `RunError` where failures pass their limit.
    """

    async def predict(self, question: Question, sample: int) -> Outcome: ...


@dataclass(frozen=True)
class Prompted:
    """A prompted method with any chat model."""

    method: PromptedMethod
    chat: ChatModel
    engine: SearchEngine | None
    settings: MethodSettings
    errors: Errors

    async def predict(self, question: Question, sample: int) -> Outcome:
        started = time.perf_counter()
        session = Session(question, self.chat, self.engine, self.settings, self.errors, sample)
        answer, error = None, None
        try:
            answer = await self.method.run(session)
        except EngineError as failure:
            error = failure.kind
        valid = [action != "invalid" for action in session.actions]
        why = "answer" if answer is not None else session.stop_reason or "no_answer"
        return Outcome(
            answer,
            tuple(session.searches),
            turns=session.turns,
            usage=session.usage,
            valid_actions=sum(valid) / len(valid) if valid else None,
            stop_reason=CUT_OFF if session.cut_off and why == "no_answer" else why,
            seconds=time.perf_counter() - started,
            text=session.transcript,
            error=error,
        )


@dataclass(frozen=True)
class Episodes:
    """A policy that speaks this package's protocol. `noise` is None with a real engine, 0 with a simulated one."""

    generator: Generator
    engine: SearchEngine
    settings: RolloutSettings
    errors: Errors
    noise: float | None = None

    async def predict(self, question: Question, sample: int) -> Outcome:
        started = time.perf_counter()
        try:
            one = Try(question, rollout=sample, noise=self.noise)
            played = await run_episode(one, self.generator, self.engine, self.settings, self.errors.searches)
        except PolicyError as failure:
            self.errors.replies.failure(EngineError(failure.kind, str(failure)))
            seconds, usage = time.perf_counter() - started, Usage() + failure.usage
            return Outcome(None, turns=0, usage=usage, stop_reason="model_error", seconds=seconds, error=failure.kind)
        self.errors.replies.success()
        return Outcome.of(played)


@dataclass
class Cell:
    """One benchmark by one method. `held` are the rows that were there before, `made` those of this call.

    `seconds` is the time from the first question that was begun to the last row; cells overlap.
    """

    predictor: Predictor
    questions: Sequence[Question]
    header: Header
    path: Path
    held: Sequence[Prediction]
    made: list[Prediction] = field(default_factory=list)
    seconds: float = 0.0
    _began: float | None = None
    _written: int = 0

    @classmethod
    def open(cls, predictor: Predictor, questions: Sequence[Question], header: Header, folder: Path) -> Cell:
        """Begin `FOLDER/BENCHMARK/METHOD.jsonl` or go on with it. Raises `DataError` where it was made otherwise."""
        path = folder / header.benchmark / f"{header.method}.jsonl"
        return cls(predictor, questions, header, path, start_predictions(path, header))

    @property
    def total(self) -> int:
        return len(self.questions) * self.header.samples

    @property
    def done(self) -> int:
        return len(self.held) + len(self.made)

    @property
    def rows(self) -> list[Prediction]:
        return [*self.held, *self.made]

    @property
    def unwritten(self) -> int:
        return len(self.made) - self._written

    def missing(self) -> Iterator[tuple[Question, int]]:
        """The tries that the file does not hold, in order."""
        there = {row.key for row in self.held}
        for question in self.questions:
            for sample in range(self.header.samples):
                if (question.id, sample) not in there:
                    yield question, sample

    async def answer(self, question: Question, sample: int) -> None:
        if self._began is None:
            self._began = time.perf_counter()
        outcome = await self.predictor.predict(question, sample)
        self.made.append(Prediction.scored(question, outcome, self.header.benchmark, self.header.method, sample))
        self.seconds = time.perf_counter() - self._began

    def write(self) -> None:
        """Write what is not written yet. Raises `RunError` where the disk is full."""
        fresh, self._written = self.made[self._written :], len(self.made)
        if fresh:
            append_prediction(self.path, *fresh)


async def fill(cells: Sequence[Cell], *, concurrency: int, report: Callable[[Cell], None] = lambda cell: None) -> None:
    """Answer whatever is missing, `concurrency` questions at a time, the cells in their order.

    `report` is called for a cell whenever rows of it were written. What ends the run (the limit on failures, a budget,
    an interrupt) leaves every finished prediction written.
    """
    last_write = time.monotonic()

    def write() -> None:
        nonlocal last_write
        for cell in cells:
            if cell.unwritten:
                cell.write()
                report(cell)
        last_write = time.monotonic()

    def write_some(_: None) -> None:
        if sum(c.unwritten for c in cells) >= _ROWS_A_WRITE or time.monotonic() - last_write > _SECONDS_A_WRITE:
            write()

    missing = ((cell, question, sample) for cell in cells for question, sample in cell.missing())
    try:
        await for_each(missing, lambda one: one[0].answer(one[1], one[2]), write_some, limit=concurrency)
    finally:
        write()
