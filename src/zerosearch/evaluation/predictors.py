"""From a method to a row: one try at one question, scored, whatever happened to it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

from zerosearch.engines.base import SearchEngine
from zerosearch.engines.writers import ChatModel
from zerosearch.errors import EngineError
from zerosearch.evaluation.methods import Errors, MethodSettings, PromptedMethod, Session
from zerosearch.evaluation.predictions import Prediction
from zerosearch.generators.base import Generator
from zerosearch.questions import Question
from zerosearch.rollout import RolloutSettings, run_episode


class Predictor(Protocol):
    """Answers one question of a benchmark; `sample` numbers the tries. `label` is the method's name in the table.

    What fails is a row with an `error`. Raises `RunError` where failures pass their limit.
    """

    @property
    def label(self) -> str: ...

    async def predict(self, question: Question, benchmark: str, sample: int) -> Prediction: ...


@dataclass(frozen=True)
class Prompted:
    """A prompted method with any chat model."""

    label: str
    method: PromptedMethod
    chat: ChatModel
    engine: SearchEngine
    settings: MethodSettings
    errors: Errors

    async def predict(self, question: Question, benchmark: str, sample: int) -> Prediction:
        started = time.perf_counter()
        session = Session(question, self.chat, self.engine, self.settings, self.errors, sample)
        answer, error = None, None
        try:
            answer = await self.method.run(session)
        except EngineError as failure:
            error = failure.kind
        valid = [action != "invalid" for action in session.actions]
        return Prediction.of(
            question,
            answer,
            session.searches,
            benchmark=benchmark,
            method=self.label,
            sample=sample,
            turns=session.turns,
            tokens=session.tokens,
            prompt_tokens=session.prompt_tokens,
            valid_actions=sum(valid) / len(valid) if valid else None,
            stop_reason=session.stop_reason or ("no_answer" if answer is None else "answer"),
            seconds=time.perf_counter() - started,
            text=session.transcript,
            error=error,
        )


@dataclass(frozen=True)
class Episodes:
    """A policy that speaks this package's protocol. `noise` is None with a real engine, 0 with a simulated one."""

    label: str
    generator: Generator
    engine: SearchEngine
    settings: RolloutSettings
    errors: Errors
    noise: float | None = None

    async def predict(self, question: Question, benchmark: str, sample: int) -> Prediction:
        started = time.perf_counter()
        try:
            played = await run_episode(
                question,
                self.generator,
                self.engine,
                self.settings,
                self.errors.searches,
                noise=self.noise,
                rollout=sample,
            )
        except EngineError as failure:  # of a generator behind a URL: the engine's own are part of the trajectory
            self.errors.replies.failure(failure)
            return Prediction.of(
                question, None, benchmark=benchmark, method=self.label, sample=sample, turns=0,
                stop_reason="model_error", seconds=time.perf_counter() - started, error=failure.kind,
            )  # fmt: skip
        self.errors.replies.success()
        turns = played.turns
        return Prediction.of(
            question,
            played.answer,
            played.searches,
            benchmark=benchmark,
            method=self.label,
            sample=sample,
            turns=len(turns),
            tokens=played.policy_tokens,
            prompt_tokens=sum(turn.start for turn in turns),
            valid_actions=sum(turn.action != "invalid" for turn in turns) / len(turns) if turns else None,
            stop_reason=played.stop_reason,
            seconds=played.seconds,
            text="\n".join(turn.text.strip() for turn in turns),
            error=next((s.error for s in played.searches if s.error is not None), None),
        )
