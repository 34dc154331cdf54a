"""Losses, beyond the oracles: the gradients of any split add up, clips by hand, nothing read off the mask."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from zerosearch.learning.losses import (
    Clip,
    entropy_from_logits,
    kl_estimate,
    policy_loss,
    token_weights,
    truncated_importance_weights,
    value_loss,
    weighted_sum,
)

AGGREGATIONS = ["token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm"]
GARBAGE = [1e6, -1e6, float("inf"), float("nan")]


def close(actual: Tensor, expected: object, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(actual, torch.as_tensor(expected), rtol=tolerance, atol=tolerance)


def gradient(loss: Tensor, of: Tensor) -> Tensor:
    return torch.autograd.grad(loss, of)[0]


class Batch:
    """64 + 16 rows of unequal length, and a policy of one weight vector: log-prob = -softplus(features . weights)."""

    def __init__(self) -> None:
        random = torch.Generator().manual_seed(0)
        rows, tokens = 80, 10
        self.features = torch.randn(rows, tokens, 3, generator=random)
        lengths = torch.randint(0, tokens + 1, (rows, 1), generator=random)  # some rows have no policy token at all
        self.mask = (torch.arange(tokens) < lengths) & (torch.rand(rows, tokens, generator=random) < 0.8)
        self.advantages = torch.randn(rows, tokens, generator=random)
        self.start = torch.randn(3, generator=random)
        self.old = -torch.nn.functional.softplus(self.features @ (self.start + 0.3))
        self.ref = -torch.nn.functional.softplus(self.features @ (self.start - 0.3))

    def gradient(self, aggregation: Any, splits: list[int], ratio_level: Any) -> Tensor:
        """Accumulated over micro-batches of the given numbers of rows, with policy and KL loss."""
        weights = token_weights(self.mask, aggregation, max_tokens=10)
        parameters = self.start.clone().requires_grad_()
        for part in torch.arange(80).split(splits):
            logprobs = -torch.nn.functional.softplus(self.features[part] @ parameters)
            result = policy_loss(
                logprobs,
                self.old[part],
                self.advantages[part],
                self.mask[part],
                weights[part],
                Clip(level=ratio_level),
            )
            kl = kl_estimate(logprobs, self.ref[part], "k3")
            (result.loss + 0.1 * weighted_sum(kl, weights[part])).backward()
        assert parameters.grad is not None
        return parameters.grad


@pytest.mark.parametrize("ratio_level", ["token", "sequence"])
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_micro_batches_of_any_size_give_the_gradient_of_the_whole_batch(aggregation: str, ratio_level: str) -> None:
    batch = Batch()
    whole = batch.gradient(aggregation, [80], ratio_level)
    assert whole.abs().max() > 1e-3
    for splits in [[16] * 5, [64, 16], [1] * 80, [79, 1]]:
        close(batch.gradient(aggregation, splits, ratio_level), whole)


def test_a_batch_without_policy_tokens_gives_zero_and_no_nan() -> None:
    nothing, logprobs = torch.zeros(2, 3), torch.zeros(2, 3, requires_grad=True)
    for aggregation in AGGREGATIONS:
        weights = token_weights(nothing, aggregation, max_tokens=3)  # type: ignore[arg-type]
        result = policy_loss(logprobs, nothing, nothing, nothing, weights)
        assert result.loss == 0
        assert gradient(result.loss, logprobs).abs().sum() == 0
        assert [float(x) for x in (result.tokens, result.ratio_mean, result.ratio_max)] == [0.0, 0.0, 0.0]


def one_token(ratio: float, advantage: float, **options: Any) -> tuple[float, float]:
    """Loss and its gradient by the log-prob, for a single token."""
    logprobs = torch.tensor([[ratio]]).log().requires_grad_()
    one = torch.ones(1, 1)
    loss = policy_loss(logprobs, torch.zeros(1, 1), torch.tensor([[advantage]]), one, one, Clip(**options)).loss
    return loss.item(), gradient(loss, logprobs).item()


def test_without_clips_the_ratio_is_free() -> None:
    for ratio, advantage in [(0.01, -1.0), (50.0, 1.0), (50.0, -1.0)]:
        expected = pytest.approx((-ratio * advantage, -ratio * advantage), rel=1e-5)
        assert one_token(ratio, advantage, low=None, high=None, dual=None) == expected


@pytest.mark.parametrize("ratio_level", ["token", "sequence"])
def test_on_policy_the_gradient_is_that_of_reinforce(ratio_level: Any) -> None:
    batch = Batch()
    weights = token_weights(batch.mask, "token-mean")
    logprobs = batch.old.clone().requires_grad_()
    result = policy_loss(logprobs, batch.old, batch.advantages, batch.mask, weights, Clip(level=ratio_level))
    plain = gradient(-(weights * batch.advantages * logprobs).sum(), logprobs)
    close(gradient(result.loss, logprobs), plain)
    close(torch.stack([result.ratio_mean, result.ratio_max, result.approx_kl]), [1.0, 1.0, 0.0])


def test_statistics_are_over_policy_tokens_of_this_micro_batch() -> None:
    mask = torch.tensor([[1.0, 1.0, 0.0, 1.0]])
    ratio = torch.tensor([[2.0, 1.0, 100.0, 5.0]])
    advantages = torch.tensor([[1.0, 1.0, 1.0, -1.0]])
    result = policy_loss(ratio.log(), torch.zeros(1, 4), advantages, mask, mask / 300)
    assert result.tokens == 3
    close(result.clip_fraction, 1 / 3)
    close(result.ratio_mean, 8 / 3)
    close(result.ratio_max, 5.0)
    close(result.approx_kl, -torch.tensor(10.0).log() / 3)


def test_a_wildly_drifted_policy_gives_finite_numbers() -> None:
    logprobs = torch.tensor([[0.0, -3000.0]], requires_grad=True)
    ones = torch.ones(1, 2)
    result = policy_loss(logprobs, torch.tensor([[-3000.0, 0.0]]), -ones, ones, ones, Clip(None, None))
    assert torch.isfinite(result.loss)
    assert torch.isfinite(gradient(result.loss, logprobs)).all()


def test_wrong_options_and_shapes_are_named() -> None:
    x = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"dual_clip is 0.5, must be more than 1"):
        Clip(dual=0.5)
    with pytest.raises(ValueError, match="must not be negative"):
        Clip(low=-0.1)
    with pytest.raises(ValueError, match="ratio_level is 'row', must be one of token, sequence"):
        Clip(level="row")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"needs padded rows \(B, T\), got \(3,\)"):
        policy_loss(x[0], x[0], x[0], x[0], x[0], Clip(level="sequence"))
    with pytest.raises(ValueError, match=r"shapes differ: .*advantages \(2,\)"):
        policy_loss(x, x, x[:, 0], x, x)
    with pytest.raises(ValueError, match="aggregation is 'mean'"):
        token_weights(x, "mean")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs max_tokens of at least 1, got None"):
        token_weights(x, "seq-mean-token-sum-norm")
    with pytest.raises(ValueError, match="estimator is 'k4'"):
        kl_estimate(x, x, "k4")  # type: ignore[arg-type]


@pytest.mark.parametrize("ratio_level", ["token", "sequence"])
@pytest.mark.parametrize("garbage", GARBAGE)
def test_policy_and_kl_loss_read_nothing_off_the_mask(garbage: float, ratio_level: Any) -> None:
    batch = Batch()
    weights = token_weights(batch.mask, "token-mean")

    def run(fill: float | None) -> tuple[list[Tensor], Tensor]:
        def dirty(x: Tensor) -> Tensor:
            return x if fill is None else torch.where(batch.mask, x, fill)

        logprobs = dirty(batch.ref).clone().requires_grad_()
        old, ref, advantages = dirty(batch.old), dirty(batch.old - 0.1), dirty(batch.advantages)
        result = policy_loss(logprobs, old, advantages, batch.mask, weights, Clip(level=ratio_level))
        loss = result.loss
        if fill is None or abs(fill) == 1e6:  # the KL is not masked inside: for infinities weighted_sum alone is tested
            loss = loss + weighted_sum(kl_estimate(logprobs, ref, "k3"), weights)
        statistics = [result.loss, result.clip_fraction, result.ratio_mean, result.ratio_max, result.approx_kl]
        return [x.detach() for x in statistics], gradient(loss, logprobs)

    (clean, clean_gradient), (after, after_gradient) = run(None), run(garbage)
    assert all(torch.equal(a, b) for a, b in zip(clean, after, strict=True))
    if abs(garbage) == 1e6:
        assert torch.equal(clean_gradient, after_gradient)
        assert (after_gradient[~batch.mask] == 0).all()
    assert torch.isfinite(after_gradient).all()


@pytest.mark.parametrize("garbage", GARBAGE)
def test_value_loss_reads_nothing_off_the_mask(garbage: float) -> None:
    batch = Batch()
    weights = token_weights(batch.mask, "token-mean")

    def run(fill: float | None) -> tuple[Tensor, Tensor]:
        x, y, z = batch.ref, batch.old, batch.advantages
        if fill is not None:
            x, y, z = (torch.where(batch.mask, t, fill) for t in (x, y, z))
        values = x.clone().requires_grad_()
        loss = value_loss(values, y, z, weights)
        return loss.detach(), gradient(loss, values)

    assert all(torch.equal(a, b) for a, b in zip(run(None), run(garbage), strict=True))


def test_weighted_sum_reads_nothing_where_the_weight_is_zero() -> None:
    x = torch.tensor([1.0, float("nan"), 3.0, float("inf")], requires_grad=True)
    total = weighted_sum(x, torch.tensor([0.5, 0.0, 2.0, 0.0]))
    assert total == 6.5
    assert gradient(total, x).tolist() == [0.5, 0.0, 2.0, 0.0]


def test_importance_weights_are_capped_masked_and_without_gradient() -> None:
    logprobs = torch.tensor([0.0, -1.0, 0.0, 0.0], requires_grad=True)
    sampled = torch.tensor([-0.1, 0.0, -5.0, float("nan")])
    weights = truncated_importance_weights(logprobs, sampled, torch.tensor([1, 1, 1, 0]), cap=2.0)
    close(weights, [1.10517, 0.36788, 2.0, 0.0])
    assert not weights.requires_grad


def test_entropy_of_known_distributions() -> None:
    ban = -torch.inf
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [ban, 0.0, ban, 0.0], [0.0, ban, ban, ban]], requires_grad=True)
    result = entropy_from_logits(logits)
    close(result.detach(), torch.tensor([4.0, 2.0, 1.0]).log())
    assert torch.isfinite(gradient(result.sum(), logits)).all()
    close(entropy_from_logits(torch.tensor([0.0, 2.0]), 2.0), entropy_from_logits(torch.tensor([0.0, 1.0])))
