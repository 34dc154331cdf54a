"""The toy that learns: from a random model to reward .8 with each algorithm, through the whole house."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from learning.toy import changed, toy_config, toy_model, toy_trainer

from zerosearch.files.jsonl import read_rows

ALGORITHMS: dict[str, dict[str, Any]] = {
    "reinforce": {"name": "reinforce", "baseline": "group", "kl": "none"},
    "grpo": {"name": "grpo", "kl": "loss", "kl_estimator": "k3", "kl_coef": 0.001},
    "ppo": {"name": "ppo", "kl": "none", "critic_learning_rate": 3e-3, "lam": 0.95},
}


@pytest.mark.parametrize(
    ("algorithm", "sampler"), [("reinforce", "native"), ("grpo", "native"), ("grpo", "plain"), ("ppo", "native")]
)
def test_a_random_model_learns_to_answer(algorithm: str, sampler: str, tmp_path: Path) -> None:
    model = toy_model()
    assert sum(p.numel() for p in model.base.parameters()) < 1_000_000
    # ppo whitens its advantages: once all rewards are alike, a large step follows noise
    speed = {"learning_rate": 1.5e-3, "steps": 140} if algorithm == "ppo" else {"learning_rate": 3e-3, "steps": 120}
    config = changed(toy_config(tmp_path, ALGORITHMS[algorithm], **speed), model__sampler=sampler)
    assert toy_trainer(config, model).run()
    rewards = [row["reward"] for row in read_rows(config.run_folder / "metrics.jsonl")]
    assert rewards[0] < 0.2
    assert sum(rewards[-5:]) / 5 > 0.8
