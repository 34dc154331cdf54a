"""The recipes that tune a policy: on scripted episodes, and on its own right ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from episodes.test_summary import played
from tiny import tiny_llama

from recipes.embedded import make
from recipes.rejection import tune
from zerosearch.episodes.questions import Question
from zerosearch.episodes.scoring import Scores
from zerosearch.episodes.trajectory import write_trajectories
from zerosearch.files.jsonl import write_json


@pytest.fixture
def model(tiny_tokenizer: Any, tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    tiny_llama(len(tiny_tokenizer)).save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


def card(folder: Path) -> dict[str, Any]:
    assert (folder / "adapter_model.safetensors").is_file()
    return dict(json.loads((folder / "card.json").read_text()))


def test_scripted_episodes_become_an_adapter(model: Path, tmp_path: Path) -> None:
    make.main(["policy", "--model", str(model), "--out", str(tmp_path / "warm"), "--examples", "60", "--epochs", ".1"])
    made = card(tmp_path / "warm")
    assert 20 < made["texts"] <= 60
    assert made["command"].startswith("python -m recipes.embedded.make policy --model")
    assert (made["top_k"], made["snippet_words"]) == (3, 15)


def test_right_episodes_become_an_adapter(model: Path, tiny_tokenizer: Any, tmp_path: Path) -> None:
    ids = tuple(tiny_tokenizer.encode("Question? <answer> Lima </answer>", add_special_tokens=False))
    mask = (0, 0, *[1] * (len(ids) - 2))
    episodes = [
        replace(
            played(Question(f"q{i}", "?", ("x",)), scores=Scores(i % 2, 1.0, 1.0, 1.0), mask=mask),
            ids=(i + 10, *ids[1:]),
        )
        for i in range(80)
    ]
    (tmp_path / "tries").mkdir()
    write_trajectories(tmp_path / "tries" / "part-000000.jsonl.zst", episodes)
    write_json(tmp_path / "tries" / "collect.json", {"policy": str(model)})
    tune.main([str(tmp_path / "tries"), "--model", str(model), "--epochs", "2", "--out", str(tmp_path / "rft")])
    made = card(tmp_path / "rft")
    assert made["texts"] == 40  # every second one was right
    assert made["data"] == f"right episodes of {tmp_path / 'tries'}"
