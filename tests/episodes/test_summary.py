"""The summary of an evaluation (rule 9): every row counts, in order, and greedy."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from learning.toy import COLORS, ToyEngine, toy_config, toy_model

from zerosearch.episodes.questions import Question
from zerosearch.episodes.rollout import ErrorRate, RolloutSettings, roll_out
from zerosearch.episodes.scoring import Scores
from zerosearch.episodes.search import Document
from zerosearch.episodes.summary import summarize
from zerosearch.episodes.trajectory import SearchRecord, Trajectory, TurnRecord, tries
from zerosearch.models.worker import TransformersGenerator, Worker
from zerosearch.playing import rollout_settings

QUESTIONS = [Question(f"q{i:03d}", f"{COLORS[i % 4]} {COLORS[i % 3]}", (COLORS[i % 4],)) for i in range(125)]


def played(
    question: Question = QUESTIONS[0],
    *,
    scores: Scores = Scores(0.0, 0.0, 0.0, 0.0),  # noqa: B008 (frozen)
    answer: str | None = None,
    actions: tuple[str, ...] = ("answer",),
    pages: tuple[str, ...] = (),
    mask: tuple[int, ...] = (0, 1, 1),
    **changes: Any,
) -> Trajectory:
    """A trajectory with just the given fields."""
    return Trajectory(
        question=question,
        ids=(1,) * len(mask),
        mask=mask,
        logprobs=(0.0,) * len(mask),
        prompt_length=1,
        turns=tuple(TurnRecord(0, 1, "", action, True, "stop", False) for action in actions),
        searches=tuple(SearchRecord((Document("", page),), "toy", query="q") for page in pages),
        answer=answer,
        scores=scores,
        reward=changes.pop("reward", scores.f1),
        stop_reason=changes.pop("stop_reason", "answer"),
        **changes,
    )


def settings(**changes: Any) -> RolloutSettings:
    config = toy_config(Path("unused"), {"name": "grpo"}, steps=1, top_p=0.5, top_k=3)
    return replace(rollout_settings(config, toy_model(), temperature=0.0, top_k=4), **changes)


def ask(rows: int, questions: list[Question] = QUESTIONS, **changes: Any) -> list[Trajectory]:
    model = toy_model()
    with torch.no_grad():
        model.base.lm_head.weight.mul_(10)
    generator = TransformersGenerator(Worker(model, max_batch_rows=rows), None)
    return asyncio.run(roll_out(tries(questions), generator, ToyEngine(), settings(**changes), ErrorRate()))


def test_evaluation_is_greedy_so_neither_seed_nor_batch_size_changes_an_answer_or_the_order() -> None:
    runs = ask(64), ask(64, seed=99), ask(1, QUESTIONS[:10])
    assert [t.question.id for t in runs[0]] == [q.id for q in QUESTIONS]
    plain = [[(t.ids, t.mask, t.answer) for t in run] for run in runs]
    assert plain[0] == plain[1]
    assert plain[2] == plain[0][:10]
    assert summarize(runs[0]) == summarize(runs[1])
    assert summarize(runs[0]).questions == 125
    assert len({ids for ids, _, _ in plain[0]}) > 1


def test_evaluation_truncates_no_distribution_whatever_training_does() -> None:
    assert (settings().sampling.temperature, settings().sampling.top_p, settings().sampling.top_k) == (0.0, 1.0, 0)


def test_the_summary_by_hand() -> None:
    right = played(
        scores=Scores(1.0, 1.0, 1.0, 1.0), answer="red", actions=("search", "answer"), pages=("it is red",), reward=1.0
    )
    part = played(
        scores=Scores(0.0, 0.5, 1.0, 0.0), answer="dark red", actions=("invalid", "answer"), mask=(0, 1, 0, 0, 1, 1, 1)
    )
    failed = played(actions=("search",), pages=("nothing", "blue"), stop_reason="engine_error", mask=(0, 1))
    silent = played(actions=("invalid",) * 3, stop_reason="no_answer", mask=(0, 0))
    summary = summarize([right, part, failed, silent])
    assert summary.questions == 4
    assert (summary.em, summary.f1, summary.cover_em, summary.reward) == (0.25, 0.375, 0.5, 0.375)
    assert (summary.searches, summary.turns, summary.policy_tokens) == (0.75, 2.0, 1.75)
    assert (summary.answered, summary.well_formed, summary.evidence) == (0.5, 0.25, 0.25)
    assert summary.valid_actions == 4 / 8
    assert summary.engine_errors == 1


def test_a_mean_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no trajectories"):
        summarize([])


def evidence(*trajectories: Trajectory) -> float:
    return summarize(trajectories).evidence


def test_evidence_is_an_answer_in_a_page_as_whole_words_title_or_text() -> None:
    question = Question("q", "?", ("Niger", "the Niger"))
    assert evidence(played(question, pages=("Nigeria", "the river Niger."))) == 1
    assert evidence(played(question, pages=("Nigeria",))) == 0
    assert evidence(played(question, answer="Niger")) == 0
    titled = SearchRecord((Document("Niger", "a country"),), "toy", query="q")
    assert evidence(replace(played(question), searches=(titled,))) == 1


@pytest.mark.parametrize("answers", [("no",), ("Yes.", "true"), ("2",), ("1,200", "twelve"), ("two", "2")])
def test_a_page_is_no_evidence_for_yes_no_or_a_bare_number(answers: tuple[str, ...]) -> None:
    bare = Question("q", "?", answers)
    asked = [played(bare, pages=("No, 2 or two, 1200, twelve, yes, true.",)), played(bare)]
    assert evidence(*asked) == 0
    held = played(Question("p", "?", ("Niger",)), pages=("Niger",))
    assert evidence(*asked, held) == 1.0  # of the questions that a page can be evidence for
    assert evidence(played(Question("r", "?", ("2", "two apples")), pages=("2",))) == 0
    assert evidence(played(Question("r", "?", ("2", "two apples")), pages=("two apples",))) == 1
