"""What fails is a row that says so, counted and bounded; what an episode did is in its row."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from evaluation.scripted import QUESTION, predict
from fakes import FakeChat, FakeEngine, FakeGenerator
from learning.toy import COLORS, ToyEngine, toy_config, toy_model

from zerosearch.episodes.predictions import Prediction
from zerosearch.episodes.questions import Question
from zerosearch.episodes.rollout import ErrorRate, run_episode
from zerosearch.episodes.trajectory import Try
from zerosearch.errors import EngineError, PolicyError, RunError
from zerosearch.evaluation.cells import Episodes
from zerosearch.evaluation.methods import Errors
from zerosearch.models.chat import Written
from zerosearch.models.worker import TransformersGenerator, Worker
from zerosearch.playing import rollout_settings
from zerosearch.usage import Usage

DOWN = EngineError("http", "down", attempts=3, usage=Usage(usd=0.5))


def test_a_failed_search_is_a_row_with_its_error_and_what_it_cost() -> None:
    errors = Errors.limited(1.0)
    row = predict("rag", FakeChat("never asked"), FakeEngine(DOWN), errors=errors)
    assert (row.error, row.stop_reason, row.answer, row.em) == ("http", "engine_error", None, 0.0)
    assert [(s.error, s.usage.usd, s.attempts, s.documents) for s in row.searches] == [("http", 0.5, 3, ())]
    assert (errors.searches.searches, errors.searches.failures) == (1, {"http": 1})
    assert errors.replies.searches == 0


def test_a_failed_reply_is_a_row_with_its_error_and_the_tokens_it_cost() -> None:
    errors = Errors.limited(1.0)
    failure = EngineError("empty", "nothing", usage=Usage(prompt_tokens=7, completion_tokens=5))
    row = predict("react", FakeChat("Action: Search[x]", failure, usage=Usage(10, 3)), errors=errors)
    assert (row.error, row.stop_reason, row.answer) == ("empty", "model_error", None)
    assert (row.usage, len(row.searches)) == (Usage(10 + 7, 3 + 5), 1)
    assert (errors.replies.searches, errors.replies.failures) == (2, {"empty": 1})


def test_a_reply_that_was_cut_off_has_no_answer_put_into_it() -> None:
    chat = FakeChat(Written("It is <answer> Kathmandu and", truncated=True))
    assert predict("direct", chat).answer is None
    assert predict("direct", FakeChat("It is <answer> Kathmandu")).answer == "Kathmandu"


@pytest.mark.parametrize("what", ["searches", "replies"])
def test_too_many_failures_stop_the_evaluation_with_one_line(what: str) -> None:
    errors = Errors.limited(0.2)
    chat, method = (FakeChat("x"), "rag") if what == "searches" else (FakeChat(DOWN), "direct")
    for _ in range(3):
        assert predict(method, chat, FakeEngine(DOWN), errors=errors).error == "http"
    with pytest.raises(RunError, match=f"4 of 4 {what} failed") as caught:
        predict(method, chat, FakeEngine(DOWN), errors=errors)
    assert "\n" not in str(caught.value)


def test_an_episodes_row_is_the_trajectory_that_run_episode_gives() -> None:
    question = Question("q", "red blue", (COLORS[0],))
    model = toy_model()
    generator = TransformersGenerator(Worker(model), None)
    playing = rollout_settings(toy_config(Path("unused"), {"name": "grpo"}, steps=1), model, temperature=0.7, top_k=4)
    found = []
    for sample in range(6):
        row = asyncio.run(Episodes(generator, ToyEngine(), playing, Errors.limited(0.2)).predict(question, sample))
        played = asyncio.run(run_episode(Try(question, rollout=sample), generator, ToyEngine(), playing, ErrorRate()))
        scores = Prediction.scored(question, row, "b", "mine", sample)
        assert (row.answer, scores.em, row.stop_reason) == (played.answer, played.scores.em, played.stop_reason)
        assert row.turns == len(played.turns)
        assert row.usage == played.usage == Usage(sum(turn.start for turn in played.turns), sum(played.mask))
        assert [s.query for s in row.searches] == [s.query for s in played.searches]
        assert (scores.method, scores.benchmark, scores.sample, row.error) == ("mine", "b", sample, None)
        found.append(row.text)
    assert len(set(found)) > 1  # each sample its own seed


def test_a_policy_that_gives_no_text_is_a_row_and_bounded() -> None:
    model = toy_model()
    silent = FakeGenerator(model.codec, PolicyError("refused", "too long"))
    playing = rollout_settings(toy_config(Path("unused"), {"name": "grpo"}, steps=1), model, temperature=0.0, top_k=4)
    episodes = Episodes(silent, ToyEngine(), playing, Errors.limited(0.2))
    row = asyncio.run(episodes.predict(QUESTION, 0))
    assert (row.error, row.stop_reason, row.answer) == ("refused", "model_error", None)
    for _ in range(2):
        asyncio.run(episodes.predict(QUESTION, 0))
    with pytest.raises(RunError, match="4 of 4 replies"):
        asyncio.run(episodes.predict(QUESTION, 0))
