"""The KL term: does it pull the policy to the reference, for each estimator and place?

A policy over five tokens, one position: expectations over samples are sums over the vocabulary, so nothing is random.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from zerosearch.learning.losses import kl_estimate, policy_loss


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def gradient(loss: Tensor, of: Tensor) -> Tensor:
    return torch.autograd.grad(loss, of, retain_graph=True)[0]


def policy_and_reference(distance: float) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(3)
    ref_logits = torch.randn(5, generator=random, dtype=torch.float32)
    logits = ref_logits + distance * torch.randn(5, generator=random)
    return logits.requires_grad_(), torch.log_softmax(ref_logits, 0)


def exact_kl(p_log: Tensor, q_log: Tensor) -> Tensor:
    return (p_log.exp() * (p_log - q_log)).sum()


def expected_loss_gradient(estimator: Any, distance: float) -> tuple[Tensor, Tensor, Tensor]:
    """Expected gradient of the KL in the loss; gradients of KL(policy, reference) and of KL(reference, policy)."""
    logits, ref = policy_and_reference(distance)
    log_policy = torch.log_softmax(logits, 0)
    sampled = log_policy.detach().exp()  # how often each token is sampled; not differentiated, as in training
    kl = kl_estimate(log_policy, ref, estimator)
    return (
        gradient((sampled * kl).sum(), logits),
        gradient(exact_kl(log_policy, ref), logits),
        gradient(exact_kl(ref, log_policy), logits),
    )


def test_expected_gradients_of_the_kl_in_the_loss_are_as_documented() -> None:
    for distance in [0.1, 1.0]:
        k1, forward, _ = expected_loss_gradient("k1", distance)
        close(k1, torch.zeros(5))
        assert forward.norm() > 1e-2
        k2, forward, _ = expected_loss_gradient("k2", distance)
        close(k2, forward)
        k3, _, backward = expected_loss_gradient("k3", distance)
        close(k3, backward)


def reward_gradient(estimator: Any, distance: float) -> tuple[Tensor, Tensor]:
    """Expected policy gradient of a reward that is only the KL penalty; gradient of KL(policy, reference)."""
    logits, ref = policy_and_reference(distance)
    log_policy = torch.log_softmax(logits, 0)
    sampled = log_policy.detach().exp()
    advantages = -kl_estimate(log_policy, ref, estimator).detach()  # what token_rewards puts in
    loss = policy_loss(log_policy, log_policy.detach(), advantages, torch.ones(5), sampled).loss
    return gradient(loss, logits), gradient(exact_kl(torch.log_softmax(logits, 0), ref), logits)


def test_the_kl_in_the_reward_pulls_to_the_reference_with_k1_and_hardly_with_the_others() -> None:
    for distance in [0.1, 1.0]:
        k1, true = reward_gradient("k1", distance)
        close(k1, true)
    for estimator in ["k2", "k3"]:
        weak, true = reward_gradient(estimator, 0.1)
        assert weak.norm() < 0.15 * true.norm()


@pytest.mark.parametrize("estimator", ["k2", "k3"])
def test_a_far_drifted_token_is_still_pulled_back(estimator: Any) -> None:
    logprobs = torch.tensor([-4.0, -0.1], requires_grad=True)
    kl = kl_estimate(logprobs, torch.tensor([-0.1, -15.0]), estimator).sum()
    pull = gradient(kl, logprobs)
    assert pull[0] < 0 < pull[1]  # descending raises the first log-prob and lowers the second
