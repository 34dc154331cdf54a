"""An algorithm of your own: each reward minus the median of its group, so that one lucky rollout moves no baseline.

zerosearch train CONFIG --set algorithm.name=examples.algorithm:median
"""

import torch

from zerosearch.learning.advantages import spread
from zerosearch.learning.algorithms import Advantages, RewardBatch
from zerosearch.training_config import AlgorithmConfig


def median(algorithm: AlgorithmConfig, batch: RewardBatch) -> Advantages:
    """Rewards (B,) in, advantages (B, T) out: zero wherever `mask_BT` is, which `spread` sees to."""
    rewards_B = batch.token_rewards(algorithm.kl_coef).sum(dim=1)  # with algorithm.kl = "reward" the KL is off
    advantages_B = torch.zeros_like(rewards_B)
    for group in batch.groups_B.unique():
        rows = batch.groups_B == group
        advantages_B[rows] = rewards_B[rows] - rewards_B[rows].median()
    return Advantages(spread(advantages_B, batch.mask_BT))
