"""What `zerosearch train` prints a step, in terminals of any width, and what it refuses to begin."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from zerosearch.commands.train import _conclude, describe, next_steps
from zerosearch.config_file import config_from_dict
from zerosearch.learning.lines import Lines, fitted

SAID = {
    "step": "step 199/200",
    "reward": "reward 0.123",
    "searches": "searches 1.23",
    "valid": "valid 100%",
    "noise": "noise  25%",
    "rate": "1234 tok/s",
    "seconds": "12 s",
    "left": "left 1:02:03",
}


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_steps_line_is_one_line(width: int) -> None:
    line = fitted(SAID, width)
    assert len(line) <= width
    assert line.startswith("step 199/200  reward 0.123")
    assert line.endswith("left 1:02:03")
    assert fitted(SAID, None) == "  ".join(SAID.values())


def test_alarms_and_failed_searches_stand_on_the_steps_line() -> None:
    row: dict[str, Any] = {
        "step": 0, "reward": 0.0, "searches": 0.0, "valid_actions": 0.0, "noise": None, "search_errors": 1, "misses": 0,
        "alarms": ["answered 1%"], "timing": {"seconds": 1.0, "policy_tokens_per_second": 1.0}, "cost": {"usd": 0.0},
    }  # fmt: skip
    said: list[tuple[str, Sequence[str]]] = []
    Lines(200, lambda line, wrong: said.append((line, wrong))).log(row)
    assert [wrong for _, wrong in said] == [["1 search failed", "answered 1%"]]
    assert said[0][0].startswith("step   1/200  reward 0.000")


def test_one_is_told_in_singular(capsys: pytest.CaptureFixture[str]) -> None:
    size = {"steps": 1, "questions_per_step": 1, "rollouts": 2}
    told = describe(config_from_dict({"training": size, "protocol": {"max_searches": 1}}, "test")).plain
    assert "1 step of 1 question x 2 rollouts\n" in told
    assert "(2 episodes a step, at most 1 search each)" in told


@pytest.mark.parametrize("board", [True, False])
def test_only_what_was_written_is_pointed_to(board: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = config_from_dict({"folder": str(tmp_path), "name": "r", "logging": {"tensorboard": board}}, "test")
    (tmp_path / "r").mkdir()
    _conclude(config, complete=True)
    assert ("tensorboard --logdir" in capsys.readouterr().out) is board


def test_training_needs_a_configuration(zerosearch: Any) -> None:
    refused = zerosearch("train")
    assert refused.code == 2
    assert "name a configuration, such as demo" in refused.line


@pytest.mark.parametrize("name", ["x" * 300, "a/b", "", "..", "a\nb", "é" * 150])
def test_an_odd_name_is_one_line(zerosearch: Any, name: str) -> None:
    refused = zerosearch("train", "--set", "training.steps=1", "--name", name)
    assert refused.code == 2
    said = "a run's name is a plain folder name" if name else "--name is empty"
    assert said in refused.err.replace("\n", " ")


def test_what_is_offered_next_is_what_a_complete_run_accepts() -> None:
    real = config_from_dict({"name": "r", "engine": {"kind": "bm25", "bm25": {"corpus": "c"}}}, "test")
    assert "zerosearch train runs/r/config.toml --set training.steps=400  # trains on" in next_steps(real)
    noisy = config_from_dict({"name": "r", "curriculum": {"start": 0.0, "end": 0.25}}, "test")
    (said,) = [line for line in next_steps(noisy) if "trains its policy further" in line]
    assert said.startswith("zerosearch train runs/r/config.toml --name r-2 --set model.")
    assert "runs/r/checkpoints/step-000200/policy" in said
    assert "training.steps" not in said
    spaced = next_steps(config_from_dict({"name": "my run"}, "test"))
    assert spaced[0] == "zerosearch ask --run 'runs/my run' \"...\""
    assert spaced[2].startswith("zerosearch train 'runs/my run/config.toml' --")
