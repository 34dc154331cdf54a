"""Checkpoints: which ones are there, what belongs to which run, and what a damaged one says."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from learning.toy import changed, toy_config, toy_model

from zerosearch.errors import CheckpointError
from zerosearch.learning.checkpoints import (
    changes,
    check_settings,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from zerosearch.learning.learner import Learner
from zerosearch.learning.policy import Policy
from zerosearch.run_folder import Checkpoint

CONFIG = toy_config(Path("runs"), {"name": "reinforce", "kl": "none"}, steps=9)


def learner(seed: int = 0) -> Learner:
    policy = Policy.full_weights(toy_model(seed), None)
    return Learner(policy, None, CONFIG)


@pytest.fixture
def saved(tmp_path: Path) -> Checkpoint:
    return save_checkpoint(tmp_path, 3, learner(), CONFIG, keep=2)


def test_only_whole_checkpoints_count_and_a_users_own_copies_are_left_alone(tmp_path: Path, saved: Checkpoint) -> None:
    (tmp_path / ".step-000004.partial").mkdir()
    (tmp_path / "step-000005").mkdir()  # no state.json: never finished
    copy = tmp_path / "step-000003-the-good-one"
    copy.mkdir()
    (copy / "state.json").write_text("{}")
    assert list_checkpoints(tmp_path) == [saved]
    for step in (4, 6):
        save_checkpoint(tmp_path, step, learner(), CONFIG, keep=1)
    assert [c.step for c in list_checkpoints(tmp_path)] == [6]
    assert copy.is_dir()
    assert not list(tmp_path.glob(".*"))


def test_weights_and_optimizer_come_back(tmp_path: Path) -> None:
    first = learner()
    for parameter in first.policy.parameters().values():
        parameter.grad = torch.ones_like(parameter)
    first.optimizer.step()
    checkpoint = save_checkpoint(tmp_path, 1, first, CONFIG, keep=1)
    second = learner(seed=1)
    load_checkpoint(checkpoint, second, CONFIG)
    for parameters in (first.policy.parameters(), second.policy.parameters()):
        for parameter in parameters.values():
            parameter.grad = torch.full_like(parameter, 0.5)
    first.optimizer.step()
    second.optimizer.step()
    ours, theirs = first.policy.state(), second.policy.state()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_all_settings_that_bind_are_named_at_once(saved: Checkpoint) -> None:
    with pytest.raises(CheckpointError) as caught:
        check_settings(saved, changed(CONFIG, seed=1, curriculum__end=0.9))
    said = "was made with curriculum.end = 0.5, now it is 0.9; seed = 0, now it is 1; take the old settings, "
    assert said in str(caught.value)


def test_a_run_with_a_setting_that_is_gone_is_not_told_to_take_it(saved: Checkpoint) -> None:
    state = saved.folder / "state.json"
    held = json.loads(state.read_text())
    held["settings"]["curriculum.pages"] = "mixed"
    state.write_text(json.dumps(held))
    with pytest.raises(CheckpointError) as caught:
        check_settings(saved, CONFIG)
    assert "curriculum.pages = 'mixed', no setting any more; take another --name, or --fresh" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 1}, "seed = 0, now it is 1"),
        ({"algorithm__kl": "loss"}, "algorithm.kl = 'none', now it is 'loss'"),
        ({"engine__top_k": 2}, "engine.top_k = 1, now it is 2"),
        ({"engine__bm25__corpus": "other.jsonl"}, "engine.bm25.corpus = 'none.jsonl', now it is 'other.jsonl'"),
        ({"protocol__prompt": "Now: {question}"}, "protocol.prompt = "),
        ({"curriculum__end": 0.9}, "curriculum.end = 0.5, now it is 0.9"),
    ],
)
def test_a_setting_that_shapes_the_numbers_binds_the_run_and_is_named(
    saved: Checkpoint, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(CheckpointError) as caught:
        check_settings(saved, changed(CONFIG, **changes))
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError):
        load_checkpoint(saved, learner(), changed(CONFIG, **changes))


@pytest.mark.parametrize(
    "otherwise",
    [
        {"name": "other"},
        {"folder": "elsewhere"},
        {"logging__tensorboard": True},
        {"training__checkpoint_every": 1, "training__keep_checkpoints": 9, "training__max_minutes": 5.0},
        {"training__max_batch_rows": 3, "training__max_batch_tokens": 999, "training__micro_batch_tokens": 64},
        {
            "engine__simulated__base_url": "http://127.0.0.1:9/v1",
            "engine__simulated__api_key_env": "OTHER_KEY",
            "engine__simulated__usd_per_million_prompt_tokens": 1.0,
            "engine__simulated__usd_per_million_completion_tokens": 2.0,
        },
        {"engine__attempts": 9, "engine__deadline_seconds": 1.0, "engine__max_error_rate": 0.9},
        {"engine__budget_usd": 5.0, "engine__budget_searches": 70},
        {"engine__serper__url": "http://127.0.0.1:9", "engine__dense__corpus": "of no engine in use"},
    ],
)
def test_where_things_lie_and_how_fast_they_go_may_change_in_between(
    saved: Checkpoint, otherwise: dict[str, Any]
) -> None:
    assert changed(CONFIG, **otherwise) != CONFIG
    check_settings(saved, changed(CONFIG, **otherwise))


def test_the_length_and_the_evaluation_may_change_and_are_said(saved: Checkpoint) -> None:
    judge = {"kind": "bm25", "bm25": {"corpus": "x.jsonl"}}
    longer = changed(CONFIG, training__steps=10, evaluation__limit=9, evaluation__every=2, evaluation__engine=judge)
    check_settings(saved, longer)
    said = changes(saved, longer)
    assert {"training.steps = 9, now 10", "evaluation.limit = 8, now 9", "evaluation.every = 0, now 2"} <= set(said)
    assert changes(saved, CONFIG) == []


@pytest.mark.parametrize(
    ("curriculum", "binds"),
    [
        ({"kind": "exponential"}, True), ({"kind": "linear"}, True),
        ({"kind": "fixed"}, False), ({"kind": "adaptive"}, False), ({"kind": "linear", "start": 0.5}, False),
    ],
)  # fmt: skip
def test_the_length_binds_where_the_curriculum_goes_by_it(
    tmp_path: Path, curriculum: dict[str, Any], binds: bool
) -> None:
    parts = {"engine__kind": "simulated", "curriculum": curriculum}
    saved = save_checkpoint(tmp_path, 3, learner(), changed(CONFIG, **parts), keep=2)
    longer = changed(CONFIG, **parts, training__steps=10)
    if not binds:
        return check_settings(saved, longer)
    with pytest.raises(CheckpointError, match=r"training.steps = 9, now it is 10 \(the curriculum goes by it"):
        check_settings(saved, longer)


DAMAGE = {
    "empty": b"",
    "text": b"this is no checkpoint\n",
    "another pickle": pickle.dumps({"policy": object}, protocol=2),
    "a list": None,
    "weights missing": None,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_weights_file_is_one_line(saved: Checkpoint, damage: str) -> None:
    path = saved.folder / "learner.pt"
    if damage == "a list":
        torch.save([1, 2], path)
    elif damage == "weights missing":
        torch.save({"optimizer": {}}, path)
    else:
        path.write_bytes(DAMAGE[damage] or b"")
    with pytest.raises(CheckpointError, match="cannot be read") as caught:
        load_checkpoint(saved, learner(), CONFIG)
    assert "\n" not in str(caught.value)
    assert str(saved.folder) in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"settings": 3}', "\udc80"])
def test_a_damaged_state_file_is_one_line(saved: Checkpoint, text: str) -> None:
    (saved.folder / "state.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CheckpointError) as caught:
        check_settings(saved, CONFIG)
    assert "\n" not in str(caught.value)
