"""Advantages that verl has no estimator of, registered with it: `algorithm.adv_estimator=zerosearch_grpo_batch`."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from verl.trainer.ppo.core_algos import register_adv_est

from zerosearch.scaleout.verl.translate import GRPO_BY_BATCH


@register_adv_est(GRPO_BY_BATCH)  # type: ignore[untyped-decorator]
def grpo_by_batch(
    token_level_rewards: torch.Tensor, response_mask: torch.Tensor, index: Any, epsilon: float = 1e-6, **_: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """GRPO whose centred rewards are divided by the standard deviation of the whole batch (arXiv 2508.08221).

    Rewards and mask are (rows, tokens); `index` names the question of each row. Advantages and returns are equal, and
    zero where the mask is. A group of one has no advantage.
    """
    rewards = token_level_rewards.sum(dim=-1)
    groups: dict[Any, list[int]] = defaultdict(list)
    for row, question in enumerate(index):
        groups[question].append(row)
    centred = torch.zeros_like(rewards)
    for rows in groups.values():
        centred[rows] = rewards[rows] - rewards[rows].mean()
    spread = rewards.std() if len(rewards) > 1 else torch.ones(())
    advantages = (centred / (spread + epsilon)).unsqueeze(-1) * response_mask
    return advantages, advantages
