"""Advantages, beyond the oracles: hand-computed cases, observations skipped, nothing read off the mask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from zerosearch.learning.advantages import (
    gae,
    grpo_advantages,
    reinforce_advantages,
    returns_to_go,
    token_rewards,
    whiten,
)

GARBAGE = [1e6, -1e6, float("inf"), float("nan")]


def close(actual: Tensor, expected: object, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(actual, torch.as_tensor(expected), rtol=tolerance, atol=tolerance)


def random_rows(seed: int, rows: int = 4, tokens: int = 9) -> tuple[Tensor, Tensor, Tensor]:
    """Rewards, values and a mask with observations inside, each (rows, tokens)."""
    generator = torch.Generator().manual_seed(seed)
    rewards, values = torch.randn(2, rows, tokens, generator=generator)
    mask = torch.rand(rows, tokens, generator=generator) < 0.6
    mask[:, 0] = True
    return rewards, values, mask


def test_reinforce_baselines_by_hand() -> None:
    rewards, groups = torch.tensor([1.0, 0.0, 0.5, 0.3, 0.7]), torch.tensor([4, 4, 4, 9, 9])
    close(reinforce_advantages(rewards, groups, "none"), [1.0, 0.0, 0.5, 0.3, 0.7])
    close(reinforce_advantages(rewards, groups, "batch"), [0.5, -0.5, 0.0, -0.2, 0.2])
    close(reinforce_advantages(rewards, groups, "group"), [0.75, -0.75, 0.0, -0.4, 0.4])


def test_groups_need_not_be_neighbours() -> None:
    rewards = torch.tensor([1.0, 0.3, 0.0, 0.7, 0.5])
    close(reinforce_advantages(rewards, torch.tensor([4, 9, 4, 9, 4]), "group"), [0.75, -0.4, -0.75, 0.4, 0.0])


@pytest.mark.parametrize("kind", ["none", "batch", "group", "grpo group", "grpo batch", "grpo none"])
def test_a_failed_trajectory_counts_in_no_baseline_and_no_group(kind: Any) -> None:
    compute: Any = grpo_advantages if kind.startswith("grpo") else reinforce_advantages
    rewards, groups = torch.tensor([1.0, float("nan"), 0.5, 0.3, 0.7]), torch.tensor([0, 0, 0, 1, 1])
    valid = torch.tensor([True, False, True, True, True])
    advantages = compute(rewards, groups, kind.removeprefix("grpo "), valid)
    assert advantages[1] == 0
    close(advantages[valid], compute(rewards[valid], groups[valid], kind.removeprefix("grpo ")))


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_a_group_without_spread_has_exactly_no_advantage(scale: str) -> None:
    # 0.1 is no float: the mean of seven is off by a rounding, and a rounding over a tiny eps is an advantage.
    rewards = torch.tensor([0.1] * 7 + [0.0, 1.0])
    groups = torch.tensor([0] * 7 + [1, 1])
    assert (rewards[:7].mean() != rewards[0]).item()
    advantages = grpo_advantages(rewards, groups, scale, eps=1e-12)  # type: ignore[arg-type]
    assert advantages[:7].tolist() == [0.0] * 7
    assert advantages[8] > 0.4


def test_a_batch_without_valid_rows_is_all_zero() -> None:
    rewards, groups, valid = torch.rand(3), torch.zeros(3, dtype=torch.long), torch.zeros(3, dtype=torch.bool)
    for result in [
        reinforce_advantages(rewards, groups, "batch", valid),
        reinforce_advantages(rewards, groups, "group", valid),
        grpo_advantages(rewards, groups, "group", valid),
        grpo_advantages(rewards, groups, "batch", valid),
    ]:
        assert result.tolist() == [0.0, 0.0, 0.0]


def test_an_unknown_option_or_shape_is_named() -> None:
    rewards, groups = torch.rand(3), torch.zeros(3, dtype=torch.long)
    with pytest.raises(ValueError, match="baseline is 'mean', must be one of none, batch, group"):
        reinforce_advantages(rewards, groups, "mean")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="scale is 'std'"):
        grpo_advantages(rewards, groups, "std")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"one shape \(B,\), got \(3,\), \(2,\)"):
        reinforce_advantages(rewards, groups[:2], "batch")


def test_the_reward_stands_on_the_last_policy_token() -> None:
    mask = torch.tensor([[1, 1, 0, 0, 1, 0], [1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]])
    result = token_rewards(torch.tensor([0.5, 0.25, 9.0, 1.0]), mask)
    close(result, [[0, 0, 0, 0, 0.5, 0], [0.25, 0, 0, 0, 0, 0], [0.0] * 6, [0, 0, 0, 0, 0, 1.0]])


@st.composite
def episodes(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    number = st.floats(-2, 2, width=16)
    mask = draw(st.lists(st.booleans(), min_size=1, max_size=12))
    rewards = draw(st.lists(number, min_size=len(mask), max_size=len(mask)))
    values = draw(st.lists(number, min_size=len(mask), max_size=len(mask)))
    return torch.tensor([rewards]), torch.tensor([values]), torch.tensor([mask])


@settings(deadline=None)
@given(episodes(), st.floats(0, 1), st.floats(0, 1))
def test_gae_steps_over_observations_as_though_they_were_not_there(
    episode: tuple[Tensor, Tensor, Tensor], gamma: float, lam: float
) -> None:
    rewards, values, mask = episode
    advantages, returns = gae(rewards, values, mask, gamma, lam)
    # The same episode with the observations cut out, by the textbook sum over deltas.
    r, v = rewards[mask].tolist(), [*values[mask].tolist(), 0.0]
    deltas = [r[t] + gamma * v[t + 1] - v[t] for t in range(len(r))]
    expected = [sum((gamma * lam) ** (s - t) * deltas[s] for s in range(t, len(r))) for t in range(len(r))]
    close(advantages[mask], torch.tensor(expected), 1e-4)
    close(returns[mask], torch.tensor([a + b for a, b in zip(expected, v[:-1], strict=True)]), 1e-4)
    assert (advantages[~mask] == 0).all()
    assert (returns[~mask] == 0).all()


@settings(deadline=None)
@given(episodes(), st.floats(0, 1))
def test_returns_to_go_step_over_observations(episode: tuple[Tensor, Tensor, Tensor], gamma: float) -> None:
    rewards, _, mask = episode
    r = rewards[mask].tolist()
    expected = [sum(gamma ** (s - t) * r[s] for s in range(t, len(r))) for t in range(len(r))]
    close(returns_to_go(rewards, mask, gamma)[mask], torch.tensor(expected), 1e-4)


def test_whitening_one_token_or_none_gives_zeros() -> None:
    x = torch.tensor([[3.0, 4.0]])
    assert whiten(x, torch.tensor([[1, 0]])).tolist() == [[0.0, 0.0]]
    assert whiten(x, torch.tensor([[0, 0]])).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize(
    "function",
    [
        lambda r, v, m: torch.stack(gae(r, v, m, 0.99, 0.95)),
        lambda r, v, m: whiten(v, m),
        lambda r, v, m: returns_to_go(r, m),
        lambda r, v, m: token_rewards(torch.ones(len(m)), m, v, 0.1),
    ],
    ids=["gae", "whiten", "returns_to_go", "token_rewards"],
)
def test_what_stands_off_the_mask_changes_nothing(
    function: Callable[[Tensor, Tensor, Tensor], Tensor], garbage: float
) -> None:
    rewards, values, mask = random_rows(2)
    clean = function(rewards, values, mask)
    dirty = function(torch.where(mask, rewards, garbage), torch.where(mask, values, garbage), mask)
    assert torch.equal(clean, dirty)
    assert (clean * ~mask == 0).all()
