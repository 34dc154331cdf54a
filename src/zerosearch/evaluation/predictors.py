"""From a method to a row: one try at one question, scored, whatever happened to it."""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

from zerosearch.episodes.generation import Generator
from zerosearch.episodes.predictions import Prediction
from zerosearch.episodes.questions import Question
from zerosearch.episodes.replies import visible
from zerosearch.episodes.rollout import RolloutSettings, run_episode
from zerosearch.episodes.search import SearchEngine
from zerosearch.episodes.trajectory import Trajectory
from zerosearch.errors import EngineError, PolicyError
from zerosearch.evaluation.methods import Errors, MethodSettings, PromptedMethod, Session
from zerosearch.models.chat import ChatModel
from zerosearch.spending.ledger import Ledger

CUT_OFF = "cut_off"
"""The stop reason of a prediction without an answer in which a reply was used up by its thoughts."""


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
            stop_reason="answer" if answer is not None else _why_none(session),
            seconds=time.perf_counter() - started,
            text=session.transcript,
            error=error,
        )


def _thought_to_the_end(played: Trajectory) -> bool:
    """Whether the last turn was used up by its thought."""
    last = played.turns[-1] if played.turns and played.answer is None else None
    return last is not None and last.stop_reason == "length" and not visible(last.text).strip()


def _why_none(session: Session) -> str:
    if session.cut_off and session.stop_reason in (None, "no_answer"):
        return CUT_OFF
    return session.stop_reason or "no_answer"


_used: ContextVar[list[Ledger] | None] = ContextVar("used", default=None)


def charge(used: Ledger) -> None:
    """Give what a policy behind a URL used to the episode that is asking it: each predicts in a task of its own."""
    ledgers = _used.get()
    if ledgers is not None:
        ledgers.append(used)


@dataclass(frozen=True)
class Episodes:
    """A policy that speaks this package's protocol. `noise` is None with a real engine, 0 with a simulated one.

    `behind_url`: the ids of its episodes are bytes, and its tokens are those that came in by `charge`.
    """

    label: str
    generator: Generator
    engine: SearchEngine
    settings: RolloutSettings
    errors: Errors
    noise: float | None = None
    behind_url: bool = False

    async def predict(self, question: Question, benchmark: str, sample: int) -> Prediction:
        started = time.perf_counter()
        ledgers: list[Ledger] = []
        _used.set(ledgers)
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
        except PolicyError as failure:
            self.errors.replies.failure(EngineError(failure.kind, str(failure)))
            return Prediction.of(
                question, None, benchmark=benchmark, method=self.label, sample=sample, turns=len(ledgers),
                tokens=sum(used.completion_tokens for used in ledgers),
                prompt_tokens=sum(used.prompt_tokens for used in ledgers), stop_reason="model_error",
                seconds=time.perf_counter() - started, error=failure.kind,
            )  # fmt: skip
        self.errors.replies.success()
        turns = played.turns
        read, wrote = sum(turn.start for turn in turns), played.policy_tokens
        if self.behind_url:
            read, wrote = sum(u.prompt_tokens for u in ledgers), sum(u.completion_tokens for u in ledgers)
        return Prediction.of(
            question,
            played.answer,
            played.searches,
            benchmark=benchmark,
            method=self.label,
            sample=sample,
            turns=len(turns),
            tokens=wrote,
            prompt_tokens=read,
            valid_actions=sum(turn.action != "invalid" for turn in turns) / len(turns) if turns else None,
            stop_reason=CUT_OFF if _thought_to_the_end(played) else played.stop_reason,
            seconds=played.seconds,
            text="\n".join(turn.text.strip() for turn in turns),
            error=next((s.error for s in played.searches if s.error is not None), None),
        )
