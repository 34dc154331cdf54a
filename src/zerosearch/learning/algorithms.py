"""An algorithm is a way to estimate advantages: `reinforce`, `grpo`, `ppo`, or your own function.

    def mean_only(algorithm: AlgorithmConfig, batch: RewardBatch) -> Advantages:
        return Advantages(spread(batch.rewards_B - batch.rewards_B.mean(), batch.mask_BT))

with `algorithm.name = "package.module:mean_only"`. The axis letters are those of `advantages.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from zerosearch.errors import ConfigError
from zerosearch.learning.advantages import (
    gae,
    grpo_advantages,
    reinforce_advantages,
    returns_to_go,
    spread,
    token_rewards,
    whiten,
)
from zerosearch.registry import check_call, find
from zerosearch.training_config import AlgorithmConfig


@dataclass(frozen=True)
class RewardBatch:
    """What a batch of trajectories earned.

    `groups_B`: rows of one number answer one question. `mask_BT`: the policy's tokens. `kl_BT`: the KL to the reference
    at each token where `algorithm.kl` is "reward", else None. `values_BT`: the critic's predictions, None without one.
    """

    rewards_B: Tensor
    groups_B: Tensor
    mask_BT: Tensor
    kl_BT: Tensor | None = None
    values_BT: Tensor | None = None

    def token_rewards(self, kl_coef: float) -> Tensor:
        """(B, T): each reward on its last policy token, and the KL taken off where it goes into the reward."""
        return token_rewards(self.rewards_B, self.mask_BT, self.kl_BT, kl_coef)


@dataclass(frozen=True)
class Advantages:
    """(B, T), zero off the mask. `returns_BT` are the critic's targets; None without a critic."""

    advantages_BT: Tensor
    returns_BT: Tensor | None = None


Algorithm = Callable[[AlgorithmConfig, RewardBatch], Advantages]


def reinforce(algorithm: AlgorithmConfig, batch: RewardBatch) -> Advantages:
    """Reward minus a baseline; with `whiten` REINFORCE++ (arXiv 2501.03262)."""
    token_BT = batch.token_rewards(algorithm.kl_coef)
    total_B = token_BT.sum(dim=1)
    advantages_B = reinforce_advantages(total_B, batch.groups_B, algorithm.baseline)
    if not algorithm.whiten:
        return Advantages(spread(advantages_B, batch.mask_BT))
    baseline_B = total_B - advantages_B
    returns_BT = returns_to_go(token_BT, batch.mask_BT)
    return Advantages(whiten(returns_BT - baseline_B.unsqueeze(1) * batch.mask_BT, batch.mask_BT))


def grpo(algorithm: AlgorithmConfig, batch: RewardBatch) -> Advantages:
    """Rewards normalised within their group (arXiv 2402.03300), or as `scale` says."""
    total_B = batch.token_rewards(algorithm.kl_coef).sum(dim=1)
    return Advantages(spread(grpo_advantages(total_B, batch.groups_B, algorithm.scale), batch.mask_BT))


def ppo(algorithm: AlgorithmConfig, batch: RewardBatch) -> Advantages:
    """GAE with the critic's values, whitened. Raises `ValueError` without values."""
    if batch.values_BT is None:
        raise ValueError("ppo needs a critic's values")
    token_BT = batch.token_rewards(algorithm.kl_coef)
    advantages_BT, returns_BT = gae(token_BT, batch.values_BT, batch.mask_BT, algorithm.gamma, algorithm.lam)
    return Advantages(whiten(advantages_BT, batch.mask_BT), returns_BT)


BUILT_IN: dict[str, Algorithm] = {"reinforce": reinforce, "grpo": grpo, "ppo": ppo}


def find_algorithm(name: str) -> Algorithm:
    """The algorithm of this name. Raises `ConfigError` for one that cannot be imported or called."""
    found = find(name, BUILT_IN, "algorithm.name")
    check_call(found, f"algorithm.name: {name}", None, None)
    return found


def estimate(algorithm: AlgorithmConfig, batch: RewardBatch) -> Advantages:
    """The advantages by `algorithm.name`.

    Raises `ConfigError` where a function of your own gives something else than `Advantages` of shape (B, T).
    """
    out: object = find_algorithm(algorithm.name)(algorithm, batch)
    if isinstance(out, Advantages) and out.advantages_BT.shape == batch.mask_BT.shape:
        return out
    gave = f"shape {tuple(out.advantages_BT.shape)}" if isinstance(out, Advantages) else type(out).__name__
    wanted = tuple(batch.mask_BT.shape)
    raise ConfigError(f"algorithm.name: {algorithm.name}: it gave {gave}, not Advantages of shape {wanted}")
