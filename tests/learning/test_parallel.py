"""Two processes take the same steps as one: gradients are sums over the batch, whoever computes which part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from learning.toy import by_two, toy_config, toy_trainer
from torch import distributed

from zerosearch.files.jsonl import read_rows
from zerosearch.learning import parallel
from zerosearch.learning.parallel import Processes

SETTINGS: dict[str, dict[str, Any]] = {
    "grpo": {"name": "grpo", "kl": "loss", "updates_per_batch": 2},
    "ppo": {"name": "ppo", "kl": "none", "critic_learning_rate": 3e-3},
}


def _config(folder: Path, algorithm: str) -> Any:
    return toy_config(
        folder, SETTINGS[algorithm], steps=3, questions_per_step=5, micro_batch_tokens=64, checkpoint_every=3
    )


def _one_of_two(rank: int, port: int, folder: Path, algorithm: str) -> None:
    torch.set_num_threads(1)
    parallel._PIECE = 5000  # several pieces, as of a larger model
    distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    toy_trainer(_config(folder, algorithm), processes=Processes(rank, 2)).run()
    distributed.destroy_process_group()


@pytest.mark.parametrize("algorithm", SETTINGS)
def test_two_processes_train_like_one(algorithm: str, tmp_path: Path) -> None:
    toy_trainer(_config(tmp_path / "one", algorithm)).run()
    assert by_two(_one_of_two, tmp_path / "two", algorithm) == [0, 0]
    one, two = (list(read_rows(tmp_path / name / "toy" / "metrics.jsonl")) for name in ("one", "two"))
    assert len(one) == len(two) == 3
    for ours, theirs in zip(one, two, strict=True):
        assert theirs["alarms"] == ours["alarms"]
        for key in ours.keys() - {"timing", "alarms"}:
            expected = ours[key] if ours[key] is None else pytest.approx(ours[key], rel=1e-3, abs=1e-5)
            assert theirs[key] == expected, key
    weights = [
        torch.load(tmp_path / name / "toy" / "checkpoints" / "step-000003" / "learner.pt", weights_only=True)["policy"]
        for name in ("one", "two")
    ]
    for key, value in weights[0].items():
        torch.testing.assert_close(weights[1][key], value, rtol=1e-3, atol=1e-5)
