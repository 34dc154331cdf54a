"""Prompted methods with a scripted chat model and an engine over two documents: control flow without a model."""

from __future__ import annotations

import asyncio
from typing import Any

from fakes import FakeChat, FakeEngine

from zerosearch.episodes.predictions import Prediction
from zerosearch.episodes.questions import Question
from zerosearch.episodes.search import Document
from zerosearch.evaluation.cells import Prompted
from zerosearch.evaluation.methods import PROMPTED, Errors, MethodSettings, Session

QUESTION = Question("q1", "What is the capital of Nepal?", ("Kathmandu",))
NEPAL = Document("Nepal", "Kathmandu is the capital of Nepal.")
PERU = Document("Peru", "Lima is the capital of Peru.")


def atlas() -> FakeEngine:
    return FakeEngine((NEPAL, PERU))


def predict(
    method: str,
    chat: FakeChat,
    engine: FakeEngine | None = None,
    *,
    errors: Errors | None = None,
    sample: int = 0,
    **settings: Any,
) -> Prediction:
    told, limits = MethodSettings(**settings), errors or Errors.limited(0.2)
    predictor = Prompted(PROMPTED[method], chat, engine or atlas(), told, limits)
    return Prediction.scored(QUESTION, asyncio.run(predictor.predict(QUESTION, sample)), "bench", method, sample)


def session(chat: FakeChat, engine: FakeEngine | None = None, **settings: Any) -> Session:
    return Session(QUESTION, chat, engine or atlas(), MethodSettings(**settings), Errors.limited(1.0))
