"""Estimators of ours in verl give the advantages of our own trainer: `make test-verl`."""

from __future__ import annotations

import pytest

pytest.importorskip("verl", reason="verl is not installed here: make test-verl has an environment of its own")

import torch
from verl.trainer.ppo.core_algos import get_adv_estimator_fn

import zerosearch.scaleout.verl.estimators  # noqa: F401
from zerosearch.learning.advantages import grpo_advantages, spread
from zerosearch.scaleout.verl.translate import GRPO_BY_BATCH


def test_grpo_by_batch_is_that_of_our_trainer() -> None:
    rewards = torch.tensor([1.0, 0.0, 0.5, 0.25, 0.25, 0.9])
    groups = torch.tensor([0, 0, 0, 1, 1, 1])
    mask = torch.tensor([[1, 1, 0, 1], [1, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0], [1, 1, 0, 0], [1, 0, 1, 1]])
    at_the_end = torch.zeros(mask.shape)
    at_the_end[:, -1] = rewards
    theirs, _ = get_adv_estimator_fn(GRPO_BY_BATCH)(
        token_level_rewards=at_the_end, response_mask=mask, index=[str(g) for g in groups.tolist()], config=None
    )
    torch.testing.assert_close(theirs, spread(grpo_advantages(rewards, groups, "batch"), mask))
