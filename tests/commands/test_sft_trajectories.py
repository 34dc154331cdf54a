"""`zerosearch sft policy --trajectories`: a model tuned on its own right episodes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from evaluation.test_runner import played
from tiny import tiny_llama

from zerosearch.episodes.questions import Question
from zerosearch.episodes.scoring import Scores
from zerosearch.episodes.trajectory import write_trajectories
from zerosearch.files.jsonl import write_json


def test_right_episodes_become_an_adapter(zerosearch: Any, tiny_tokenizer: Any, tmp_path: Path) -> None:
    model = tmp_path / "tiny"
    tiny_llama(len(tiny_tokenizer)).save_pretrained(model)
    tiny_tokenizer.save_pretrained(model)
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
    command = ["sft", "policy", "--model", str(model), "--trajectories", str(tmp_path / "tries"), "--epochs", "2"]
    result = zerosearch(*command, "--out", str(tmp_path / "rft"))
    assert result.code == 0, result.err
    card = json.loads((tmp_path / "rft" / "card.json").read_text())
    assert card["texts"] == 40  # every second one was right
    assert card["data"] == f"right episodes of {tmp_path / 'tries'}"
    assert (tmp_path / "rft" / "adapter_model.safetensors").is_file()
    wrong = zerosearch("sft", "simulator", "--trajectories", str(tmp_path / "tries"), "--out", str(tmp_path / "x"))
    assert wrong.code == 2
    assert "is for the policy" in wrong.err
