"""Advantages: from one reward a trajectory to one number a policy token. Pure functions, no gradients.

Axis letters on tensors: B = trajectories (rows), T = token positions (columns, padded). `rewards_B` has shape (B,),
`mask_BT` has shape (B, T) and is 1 (or True) exactly on the tokens the policy sampled: not on the prompt, not on
observations (`<information>...</information>`), not on padding. What stands at a masked position is never read, and
every (B, T) result is zero there.

A row that failed (its search engine broke, so its reward means nothing) is left out by `valid_B` in the functions of
(B,), and by a mask row of zeros in the functions of (B, T): it counts in no baseline and gets no advantage.

`algorithms.py` puts the pieces together.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Baseline = Literal["none", "batch", "group"]
Scale = Literal["group", "batch", "none"]


def reinforce_advantages(
    rewards_B: Tensor, groups_B: Tensor, baseline: Baseline, valid_B: Tensor | None = None
) -> Tensor:
    """Reward minus a baseline, per trajectory: (B,), 0 on rows that do not count (`valid_B`; None: all count).

    Rows of one number in `groups_B` answer the same question; only `group` reads it. `none`: the reward itself.
    `batch`: minus the mean reward of the batch. `group`: minus the mean reward of the *other* rows of the group
    (leave-one-out, RLOO: Ahmadian et al. 2024, arXiv 2402.14740, eq. 6), which keeps the gradient unbiased because a
    row's own reward is not in its baseline. A row with no other valid row in its group has nothing to be compared with
    and gets advantage 0, as in TRL (verl leaves it its bare reward, many times the size of its neighbours' advantages).

    Raises `ValueError` for a baseline that does not exist, or shapes that do not agree.
    """
    check_choice("baseline", baseline, get_args(Baseline))
    valid_B = _valid(rewards_B, groups_B, valid_B)
    rewards_B = torch.where(valid_B, rewards_B.float(), 0.0)
    if baseline == "none":
        return rewards_B
    if baseline == "batch":
        mean = rewards_B.sum() / valid_B.sum().clamp(min=1)
        return torch.where(valid_B, rewards_B - mean, 0.0)
    others_B = _group_sum(valid_B.float(), groups_B) - 1
    others_sum_B = _group_sum(rewards_B, groups_B) - rewards_B
    return torch.where(valid_B & (others_B > 0), rewards_B - others_sum_B / others_B.clamp(min=1), 0.0)


def grpo_advantages(
    rewards_B: Tensor, groups_B: Tensor, scale: Scale, valid_B: Tensor | None = None, eps: float = 1e-6
) -> Tensor:
    """Reward minus its group's mean, over a standard deviation (GRPO: Shao et al. 2024, arXiv 2402.03300, section 4.1).

    Rows of one number in `groups_B` answer the same question; rows count by `valid_B` (None: all). `scale` is what the
    centred reward is divided by. `group`: the group's standard deviation + eps. `batch`: that of all rewards of the
    batch + eps (arXiv 2508.08221). `none`: 1 (Dr. GRPO, arXiv 2503.20783: no extra weight on questions that are almost
    always or almost never answered). The deviation is unbiased (n - 1); `eps` is above 0, verl has 1e-6, TRL 1e-4.

    Returns (B,). Exactly 0 on rows that do not count and in groups whose rewards are all equal, where rounding of the
    mean divided by eps would otherwise make noise. A group of one is such a group (verl leaves its reward uncentred
    instead, TRL does not allow it): a question with one surviving row teaches nothing here.

    Raises `ValueError` for a scale that does not exist, or shapes that do not agree.
    """
    check_choice("scale", scale, get_args(Scale))
    valid_B = _valid(rewards_B, groups_B, valid_B)
    rewards_B = torch.where(valid_B, rewards_B.float(), 0.0)
    count_B = _group_sum(valid_B.float(), groups_B)
    centred_B = torch.where(valid_B, rewards_B - _group_sum(rewards_B, groups_B) / count_B.clamp(min=1), 0.0)
    centred_B = torch.where(_group_has_spread(rewards_B, groups_B, valid_B), centred_B, 0.0)
    if scale == "none":
        return centred_B
    if scale == "group":
        variance_B = _group_sum(centred_B.square(), groups_B) / (count_B - 1).clamp(min=1)
        return centred_B / (variance_B.sqrt() + eps)
    total = valid_B.sum()
    deviation_B = torch.where(valid_B, rewards_B - rewards_B.sum() / total.clamp(min=1), 0.0)
    variance = deviation_B.square().sum() / (total - 1).clamp(min=1)
    return centred_B / (variance.sqrt() + eps)


def spread(advantages_B: Tensor, mask_BT: Tensor) -> Tensor:
    """Gives every policy token the advantage of its trajectory: (B,), (B, T) -> (B, T), zero off the mask."""
    return torch.where(mask_BT.bool(), advantages_B.float()[:, None], 0.0)


def token_rewards(rewards_B: Tensor, mask_BT: Tensor, kl_BT: Tensor | None = None, kl_coef: float = 0.0) -> Tensor:
    """The trajectory's reward on its last policy token, minus the KL penalty on every policy token: (B, T).

    A row without policy tokens gets no reward. `kl_BT` is the estimate for `kl = reward` (use `k1`, see
    `losses.kl_estimate`; None: none), `kl_coef` in reward units per nat. Row sums are `reward - kl_coef * sum of KL`.
    """
    policy_BT = mask_BT.bool()
    # The last policy token is the one with no policy token to its right.
    to_the_right_BT = policy_BT.flip(1).cumsum(1).flip(1)
    last_BT = policy_BT & (to_the_right_BT == 1)
    result_BT = torch.where(last_BT, rewards_B.float()[:, None], 0.0)
    if kl_BT is not None and kl_coef != 0.0:
        result_BT = result_BT - torch.where(policy_BT, kl_coef * kl_BT.detach().float(), 0.0)
    return result_BT


def returns_to_go(rewards_BT: Tensor, mask_BT: Tensor, gamma: float = 1.0) -> Tensor:
    """Discounted sum of the rewards from each policy token on: (B, T).

    `gamma` discounts from one policy token to the next; observations are stepped over and not discounted.
    """
    policy_BT = mask_BT.bool()
    result_BT = torch.zeros_like(rewards_BT, dtype=torch.float32)
    running_B = result_BT.new_zeros(len(result_BT))
    for t in reversed(range(rewards_BT.shape[1])):
        policy_B = policy_BT[:, t]
        running_B = torch.where(policy_B, rewards_BT[:, t] + gamma * running_B, running_B)
        result_BT[:, t] = torch.where(policy_B, running_B, 0.0)
    return result_BT


def gae(rewards_BT: Tensor, values_BT: Tensor, mask_BT: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (arXiv 1506.02438, eq. 16) from policy token to policy token.

    The next state of a policy token is the next *policy* token, however many observation tokens stand between: they
    are skipped as though they were not there, and neither discounted nor bootstrapped from. After the last policy
    token the episode is over (next value 0), also when it ended at a length limit. Not whitened: see `whiten`.

    Rewards are those of `token_rewards`, values the critic's; `gamma` discounts from one policy token to the next, and
    `lam` 1 gives returns minus values, 0 one-step errors. Returns advantages (B, T) and returns (B, T) = advantages +
    values, the critic's targets.
    """
    policy_BT = mask_BT.bool()
    values_BT = torch.where(policy_BT, values_BT.detach().float(), 0.0)
    advantages_BT = torch.zeros_like(values_BT)
    next_value_B = values_BT.new_zeros(len(values_BT))
    next_advantage_B = torch.zeros_like(next_value_B)
    for t in reversed(range(values_BT.shape[1])):
        policy_B, value_B = policy_BT[:, t], values_BT[:, t]
        delta_B = rewards_BT[:, t] + gamma * next_value_B - value_B
        next_advantage_B = torch.where(policy_B, delta_B + gamma * lam * next_advantage_B, next_advantage_B)
        next_value_B = torch.where(policy_B, value_B, next_value_B)
        advantages_BT[:, t] = torch.where(policy_B, next_advantage_B, 0.0)
    return advantages_BT, advantages_BT + values_BT


def whiten(x_BT: Tensor, mask_BT: Tensor, eps: float = 1e-8) -> Tensor:
    """Shifts and scales advantages or returns of the whole batch to mean 0 and (unbiased) variance 1: (B, T).

    Call it once on the whole batch, not per micro-batch. With fewer than two policy tokens there is no variance to
    divide by: everything is 0. `eps` is added to the variance (1e-8, as in verl). Zero off the mask (verl leaves
    `-mean / std` there, which leaks if a loss forgets its mask).
    """
    policy_BT = mask_BT.bool()
    count = policy_BT.sum()
    x_BT = torch.where(policy_BT, x_BT.float(), 0.0)
    centred_BT = torch.where(policy_BT, x_BT - x_BT.sum() / count.clamp(min=1), 0.0)
    variance = centred_BT.square().sum() / (count - 1).clamp(min=1)
    return centred_BT * torch.rsqrt(variance + eps)


def _valid(rewards_B: Tensor, groups_B: Tensor, valid_B: Tensor | None) -> Tensor:
    """(B,) bool, after checking that everything is (B,)."""
    valid_B = torch.ones_like(rewards_B, dtype=torch.bool) if valid_B is None else valid_B.bool()
    if rewards_B.ndim != 1 or not rewards_B.shape == groups_B.shape == valid_B.shape:
        raise ValueError(
            f"rewards, groups and valid need one shape (B,), got {tuple(rewards_B.shape)}, "
            f"{tuple(groups_B.shape)} and {tuple(valid_B.shape)}"
        )
    return valid_B


def _group_sum(x_B: Tensor, groups_B: Tensor) -> Tensor:
    """(B,): the sum of `x_B` over each row's group."""
    _, index_B = torch.unique(groups_B, return_inverse=True)
    return torch.zeros_like(x_B).index_add(0, index_B, x_B)[index_B]


def _group_has_spread(rewards_B: Tensor, groups_B: Tensor, valid_B: Tensor) -> Tensor:
    """(B,) bool: the valid rewards of the row's group are not all equal. Exact: compares, does not subtract."""
    _, index_B = torch.unique(groups_B, return_inverse=True)
    low = torch.full_like(rewards_B, torch.inf)
    low = low.scatter_reduce(0, index_B, torch.where(valid_B, rewards_B, torch.inf), "amin")
    high = torch.full_like(rewards_B, -torch.inf)
    high = high.scatter_reduce(0, index_B, torch.where(valid_B, rewards_B, -torch.inf), "amax")
    return (high > low)[index_B]


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises `ValueError`, with the choices, where `value` is none of them."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}, must be one of {', '.join(choices)}")
