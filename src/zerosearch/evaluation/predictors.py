"""From a method to a row: one try at one question, scored, with its errors."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

from zerosearch.episodes.generation import Generator
from zerosearch.episodes.predictions import CUT_OFF, Outcome
from zerosearch.episodes.questions import Question
from zerosearch.episodes.rollout import RolloutSettings, run_episode
from zerosearch.episodes.search import SearchEngine
from zerosearch.episodes.trajectory import Try
from zerosearch.errors import EngineError, PolicyError
from zerosearch.evaluation.methods import Errors, MethodSettings, PromptedMethod, Session
from zerosearch.models.chat import ChatModel
from zerosearch.usage import Usage


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
        return Outcome(
            answer,
            tuple(session.searches),
            turns=session.turns,
            usage=session.usage,
            valid_actions=sum(valid) / len(valid) if valid else None,
            stop_reason="answer" if answer is not None else _why_none(session),
            seconds=time.perf_counter() - started,
            text=session.transcript,
            error=error,
        )


def _why_none(session: Session) -> str:
    if session.cut_off and session.stop_reason in (None, "no_answer"):
        return CUT_OFF
    return session.stop_reason or "no_answer"


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
