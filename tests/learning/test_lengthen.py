"""A finished run goes on with more steps and another evaluation; few questions are played anew, and it is said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from learning.test_trainer import configure, questions, rows_of, trainer
from learning.toy import changed, toy_config, toy_trainer

from zerosearch.config import TrainConfig
from zerosearch.episodes.trajectory import read_trajectories


def judged(folder: Path) -> dict[int, int]:
    """How many questions each evaluation of the run had."""
    found = [json.loads(path.read_text()) for path in sorted((folder / "evaluations").glob("*.json"))]
    return {row["step"]: row["summary"]["questions"] for row in found}


def without_cost(config: TrainConfig) -> list[dict[str, object]]:
    return [{key: value for key, value in row.items() if key != "cost"} for row in rows_of(config)]


def test_a_finished_run_goes_on_as_if_it_had_been_meant_to_be_longer(tmp_path: Path) -> None:
    short, whole = configure(tmp_path / "a", steps=2), configure(tmp_path / "b", steps=3)
    assert trainer(short).run()
    longer = changed(short, training__steps=3, evaluation__limit=4)
    again = trainer(longer)
    said: list[str] = []
    again.say = said.append
    again.inputs = replace(again.inputs, evaluation_questions=questions(4))
    assert again.run()
    assert trainer(whole).run()
    assert without_cost(longer) == without_cost(whole)
    assert judged(longer.run_folder) == {0: 8, 2: 8, 3: 4}
    assert any("training.steps = 2, now 3" in line for line in said)
    assert any("evaluation.limit = 8, now 4" in line for line in said)


def test_a_run_that_has_more_steps_than_are_asked_for_is_complete(tmp_path: Path) -> None:
    config = configure(tmp_path, steps=2)
    assert trainer(config).run()
    before = judged(config.run_folder)
    assert trainer(configure(tmp_path, steps=1)).run()
    assert judged(config.run_folder) == before
    assert len(rows_of(config)) == 2


def test_few_questions_are_played_anew_in_a_step_and_it_is_said(tmp_path: Path) -> None:
    config = toy_config(tmp_path, {"name": "grpo", "kl": "none"}, steps=1, questions_per_step=8, rollouts=2)
    config = changed(config, logging__trajectories_every=1)
    made = toy_trainer(config)
    made.inputs = replace(made.inputs, questions=questions(2))
    said: list[str] = []
    made.say = said.append
    assert made.run()
    assert any("2 questions for the 8 of a step" in line for line in said)
    (path,) = (config.run_folder / "trajectories").iterdir()
    played = [t for t in read_trajectories(path) if t.question.id == "t0"]
    assert len(played) == 8
    assert len({t.logprobs for t in played}) > 4  # the toy has few words, and not every try differs
