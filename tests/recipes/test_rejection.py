"""Rejection sampling: right episodes, each once, with the mask that they were played with."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from episodes.test_summary import played

from recipes.rejection.episodes import right_episodes, successful_examples
from zerosearch.episodes.questions import Question
from zerosearch.episodes.scoring import Scores
from zerosearch.episodes.trajectory import Trajectory, write_trajectories
from zerosearch.errors import DataError
from zerosearch.files.jsonl import write_json

RIGHT = Scores(1.0, 1.0, 1.0, 1.0)


def right(name: str, rollout: int = 0, ids: tuple[int, ...] = (1, 2, 3), **changes: Any) -> Trajectory:
    question = Question(name, f"{name}?", ("x",))
    return replace(played(question, scores=RIGHT, answer="x"), ids=ids, rollout=rollout, **changes)


def test_only_right_and_well_formed_episodes_are_learned_from_with_their_own_mask() -> None:
    others = [
        right("wrong", scores=Scores(0.0, 0.9, 1.0, 1.0)),
        right("untidy", scores=Scores(1.0, 1.0, 1.0, 0.0)),
        right("failed", stop_reason="engine_error"),
    ]
    (text,) = successful_examples([*others, right("good", mask=(0, 1, 0))])
    assert (text.ids, text.mask, text.key) == ([1, 2, 3], [0, 1, 0], "good")


def test_equal_episodes_count_once_and_no_question_more_often_than_told() -> None:
    tries = [right("a", i, (1, 2, i % 3)) for i in range(9)] + [right("b")]
    assert sorted(e.key for e in successful_examples(tries, per_question=9)) == ["a", "a", "a", "b"]
    assert sorted(e.key for e in successful_examples(tries, per_question=2)) == ["a", "a", "b"]
    assert len(successful_examples(tries, per_question=2, limit=2)) == 2


def test_the_seed_alone_decides_which_are_kept() -> None:
    tries = [right(f"q{n}", i, (n, i, 0)) for n in range(20) for i in range(4)]
    chosen = [[tuple(e.ids) for e in successful_examples(order, seed=seed)] for order, seed in
              ((tries, 1), (tries[::-1], 1), (tries, 2))]  # fmt: skip
    assert chosen[0] == chosen[1]
    assert chosen[0] != chosen[2]


def test_what_cannot_be_learned_from_is_one_line() -> None:
    with pytest.raises(DataError, match="none of 1 trajectories"):
        successful_examples([right("wrong", scores=Scores(0.0, 0.0, 0.0, 1.0))])
    with pytest.raises(DataError, match="behind a URL"):
        successful_examples([right("q", logprobs=(0.0, math.nan, math.nan))])


def test_the_tokens_of_another_model_are_refused(tmp_path: Path) -> None:
    write_trajectories(tmp_path / "part-000000.jsonl.zst", [right("q")])
    write_json(tmp_path / "collect.json", {"policy": "one"})
    assert len(right_episodes(tmp_path, "one", limit=10)) == 1
    with pytest.raises(DataError, match="was collected with one"):
        right_episodes(tmp_path, "two", limit=10)
