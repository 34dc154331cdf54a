"""Predictions are kept as they come; nothing is asked twice, nothing dropped, whatever interrupts (rule 9)."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from learning.toy import COLORS, ToyEngine, toy_config, toy_model

from zerosearch.episodes.predictions import Header, Outcome, read_predictions
from zerosearch.episodes.questions import Question, questions_digest
from zerosearch.errors import RunError
from zerosearch.evaluation.cells import Cell, Episodes, fill
from zerosearch.evaluation.methods import Errors
from zerosearch.models.worker import TransformersGenerator, Worker
from zerosearch.playing import rollout_settings

FILE = "colors/counting.jsonl"
QUESTIONS = [Question(f"q{i:03d}", f"{COLORS[i % 4]} {COLORS[i % 3]}", (COLORS[i % 4],)) for i in range(125)]


@dataclass
class Counting:
    """Answers right, and stops the run after `until` answers."""

    label: str = "counting"
    until: int = 10**9
    asked: list[tuple[str, int]] = field(default_factory=list)
    going: list[str] = field(default_factory=list)  # labels of what is being asked now
    most: int = 0

    async def predict(self, question: Question, sample: int) -> Outcome:
        self.going.append(self.label)
        self.most = max(self.most, len(self.going))
        for _ in range(1 + len(self.asked) % 5):
            await asyncio.sleep(0)
        self.going.remove(self.label)
        if len(self.asked) >= self.until:
            raise RunError("stop")
        self.asked.append((question.id, sample))
        return Outcome(question.golden_answers[0])


def header(questions: list[Question] = QUESTIONS, **changes: Any) -> Header:
    told = {"benchmark": "colors", "method": "counting", "model": "m", "engine": "none", "top_k": 0, **changes}
    return Header(questions_digest=questions_digest(questions), count=len(questions), **told)


def cell(folder: Path, predictor: Any, questions: list[Question] = QUESTIONS, **changes: Any) -> Cell:
    method = getattr(predictor, "label", "toy")
    return Cell.open(predictor, questions, header(questions, method=method, **changes), folder)


def run(*cells: Cell, concurrency: int = 64) -> None:
    asyncio.run(fill(cells, concurrency=concurrency))


def test_125_questions_64_at_a_time_are_125_rows(tmp_path: Path) -> None:
    counting = Counting()
    run(cell(tmp_path, counting))
    found = read_predictions(tmp_path / FILE)
    assert Counter(row.id for row in found.rows) == Counter(q.id for q in QUESTIONS)
    assert (found.missing, counting.most) == (0, 64)


@pytest.mark.parametrize("until", [0, 1, 63, 64, 70, 124])
def test_an_interrupted_evaluation_goes_on_and_asks_nothing_twice(tmp_path: Path, until: int) -> None:
    first = Counting(until=until)
    with pytest.raises(RunError, match="stop"):
        run(cell(tmp_path, first))
    path = tmp_path / FILE
    assert [row.key for row in read_predictions(path).rows] == first.asked
    assert len(first.asked) == until
    second = Counting()
    again = cell(tmp_path, second)
    assert again.done == until
    run(again)
    assert not set(first.asked) & set(second.asked)
    assert {row.id for row in read_predictions(path).rows} == {q.id for q in QUESTIONS}
    third = Counting()
    run(cell(tmp_path, third))
    assert third.asked == []


def test_each_try_is_a_row_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(RunError):
        run(cell(tmp_path, Counting(until=100), QUESTIONS[:40], samples=3, temperature=0.7))
    second = Counting()
    run(cell(tmp_path, second, QUESTIONS[:40], samples=3, temperature=0.7))
    assert len(second.asked) == 20
    found = read_predictions(tmp_path / FILE)
    assert sorted(row.key for row in found.rows) == [(q.id, s) for q in QUESTIONS[:40] for s in range(3)]


def test_the_last_questions_of_a_cell_leave_room_for_the_next_cells_first(tmp_path: Path) -> None:
    """Two cells of 40 questions, 64 at a time: they share the places."""
    one = Counting()
    two = Counting(label="two", going=one.going)
    cells = [cell(tmp_path, one, QUESTIONS[:40]), cell(tmp_path, two, QUESTIONS[:40])]
    reported: list[str] = []
    asyncio.run(fill(cells, concurrency=64, report=lambda c: reported.append(c.header.method)))
    assert (one.most, two.most) == (40, 64)
    assert {*reported} == {"counting", "two"}
    assert all(c.done == c.total == 40 and c.unwritten == 0 for c in cells)


def test_an_unexpected_error_keeps_what_was_finished(tmp_path: Path) -> None:
    class Broken(Counting):
        async def predict(self, question: Question, sample: int) -> Outcome:
            if question.id == "q030":
                raise ValueError("a bug")
            return await super().predict(question, sample)

    broken = Broken()
    with pytest.raises(ValueError, match="a bug"):
        run(cell(tmp_path, broken), concurrency=8)
    assert [row.key for row in read_predictions(tmp_path / FILE).rows] == broken.asked


def test_a_real_policy_interrupted_and_resumed_answers_as_if_it_had_not_been(tmp_path: Path) -> None:
    model = toy_model()
    playing = rollout_settings(toy_config(Path("unused"), {"name": "grpo"}, steps=1), model, temperature=0.9, top_k=4)
    generator = TransformersGenerator(Worker(model, max_batch_rows=64), None)

    class Interrupted(Episodes):
        async def predict(self, question: Question, sample: int) -> Outcome:
            if question.id == "q080":
                raise RunError("stop")
            return await super().predict(question, sample)

    def play(folder: Path, kind: type[Episodes]) -> None:
        run(cell(folder, kind(generator, ToyEngine(), playing, Errors.limited(0.2))))

    play(tmp_path / "whole", Episodes)
    with pytest.raises(RunError, match="stop"):
        play(tmp_path / "torn", Interrupted)
    held = len(read_predictions(tmp_path / "torn" / "colors" / "toy.jsonl").rows)
    assert 0 < held < 125
    play(tmp_path / "torn", Episodes)

    def answers(folder: Path) -> dict[tuple[str, int], tuple[str | None, str]]:
        return {row.key: (row.answer, row.text) for row in read_predictions(folder / "colors" / "toy.jsonl").rows}

    assert answers(tmp_path / "whole") == answers(tmp_path / "torn")
    assert len(answers(tmp_path / "torn")) == 125
