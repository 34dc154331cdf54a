"""Losses: what the optimizer minimises. Pure functions of tensors, with gradients.

Axis letters as in `advantages.py`: B = trajectories, T = token positions, V = vocabulary, N = any rows. Elementwise
functions take any shape, so padded (B, T) and packed (T,) batches both work; where rows matter, it is said.

**Everything is a sum.** A loss is `sum(weights * loss per token)`, and `token_weights` makes the weights once, over the
mask of the *whole* batch. Micro-batches then take their slice of the weights and their gradients simply add up to the
gradient of the whole batch, whatever the split and however unequal the token counts: no division by a micro-batch's own
count anywhere. Across processes that average gradients (DDP), multiply the weights by the number of processes.

A weight is 0 off the mask, and what stands where the weight or the mask is 0 is never read.

**Where the KL goes** (the tests enumerate it; J. Schulman, http://joschu.net/blog/kl-approx.html). P is the policy, R
the reference; *weighted*: `kl_estimate` was given `old_logprobs` (DeepSeek-V3.2, arXiv 2512.02556).

| estimator | `kl = reward` (through the advantage) | `kl = loss` (differentiated) | `kl = loss`, weighted |
|---|---|---|---|
| `k1` | gradient of KL(P, R): right | expected gradient 0, only noise: refused | gradient of KL(P, R): right |
| `k2` | hardly any pull near R: warned against | gradient of KL(P, R): right | nearly so |
| `k3` | hardly any pull near R: warned against | gradient of KL(R, P): pulls too | gradient of KL(P, R): right |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from zerosearch.errors import ConfigError
from zerosearch.learning.advantages import check_choice

KLPlacement = Literal["none", "reward", "loss"]
KLEstimator = Literal["k1", "k2", "k3"]
Aggregation = Literal["token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm"]
RatioLevel = Literal["token", "sequence"]

MAX_LOG_RATIO = 20.0
"""Log ratios are cut to +-20 before `exp`: a drifted policy gives a large number and not infinity (as in verl)."""


@dataclass(frozen=True)
class PolicyLoss:
    """What `policy_loss` returns: scalars, all but `loss` detached and over the policy tokens of *this* micro-batch.

    To join micro-batches, add up `loss`, average the means weighted by `tokens`, take the maximum of `ratio_max`.
    """

    loss: Tensor  # the weighted sum; has the gradient
    tokens: Tensor  # number of policy tokens
    clip_fraction: Tensor  # share of tokens whose gradient the clip (`clip_low`, `clip_high`) stopped
    dual_clip_fraction: Tensor  # share of tokens whose gradient the dual clip stopped
    ratio_mean: Tensor  # mean of policy / old policy; 1 when on-policy
    ratio_max: Tensor  # its maximum; 0 without tokens
    approx_kl: Tensor  # mean of log old policy - log policy: estimates KL(old policy, policy)


@dataclass(frozen=True)
class ValueLoss:
    """What `value_loss` returns; the same rules as for `PolicyLoss`."""

    loss: Tensor  # the weighted sum; has the gradient
    tokens: Tensor  # number of tokens with a weight
    clip_fraction: Tensor  # share of tokens where the clipped prediction has the larger error: no gradient flows
    error_mean: Tensor  # mean squared error of the unclipped prediction


def token_weights(
    mask_BT: Tensor,
    aggregation: Aggregation,
    max_tokens: int | None = None,
    total_tokens: int | None = None,
    total_sequences: int | None = None,
) -> Tensor:
    """The weight of each token's loss, for the whole batch.

    | aggregation | weight of a policy token | used by |
    |---|---|---|
    | `token-mean` | 1 / tokens of the batch | DAPO (arXiv 2503.14476), TRL `dapo` and `bnpo` |
    | `seq-mean-token-mean` | 1 / (tokens of its row x rows) | GRPO (arXiv 2402.03300), TRL `grpo` |
    | `seq-mean-token-sum` | 1 / rows | plain REINFORCE |
    | `seq-mean-token-sum-norm` | 1 / (rows x max_tokens) | Dr. GRPO (arXiv 2503.20783), TRL `dr_grpo` |

    Rows are rows with at least one policy token: a failed trajectory has a mask of zeros and is no row.

    Args:
        mask_BT: (B, T) policy tokens of the whole batch; or of a part of it, with the totals of the whole.
        aggregation: see the table.
        max_tokens: the constant of `seq-mean-token-sum-norm`: the most tokens a policy may write. Required there.
        total_tokens: policy tokens of the whole batch; None counts them in `mask_BT`.
        total_sequences: rows of the whole batch; None counts them in `mask_BT`.

    Returns:
        (B, T) float32, zero off the mask (all zero for an empty mask).

    Raises:
        ValueError: an aggregation that does not exist, or no `max_tokens` where it is needed.
    """
    check_choice("aggregation", aggregation, get_args(Aggregation))
    mask_BT = (mask_BT != 0).float()
    row_tokens_B1 = mask_BT.sum(1, keepdim=True)
    tokens = float(mask_BT.sum()) if total_tokens is None else float(total_tokens)
    rows = float((row_tokens_B1 > 0).sum()) if total_sequences is None else float(total_sequences)
    if aggregation == "token-mean":
        return mask_BT / max(tokens, 1.0)
    if aggregation == "seq-mean-token-mean":
        return mask_BT / row_tokens_B1.clamp(min=1) / max(rows, 1.0)
    if aggregation == "seq-mean-token-sum":
        return mask_BT / max(rows, 1.0)
    if max_tokens is None or max_tokens < 1:
        raise ValueError(f"aggregation seq-mean-token-sum-norm needs max_tokens of at least 1, got {max_tokens}")
    return mask_BT / (max(rows, 1.0) * max_tokens)


def weighted_sum(x: Tensor, weights: Tensor) -> Tensor:
    """sum(weights * x) as a scalar, reading `x` only where a weight is not 0 (also backward: no NaN leaks through)."""
    return (torch.where(weights != 0, x.float(), 0.0) * weights).sum()


def policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    weights: Tensor,
    clip_low: float | None = 0.2,
    clip_high: float | None = 0.2,
    dual_clip: float | None = 3.0,
    ratio_level: RatioLevel = "token",
) -> PolicyLoss:
    """Policy gradient through the ratio policy / old policy, clipped as asked.

    Per token, with ratio r and advantage A: `max(-r A, -clip(r, 1 - clip_low, 1 + clip_high) A)`, for A < 0 at most
    `-dual_clip A` (PPO: arXiv 1707.06347, eq. 7; asymmetric clip: DAPO, arXiv 2503.14476; dual clip: arXiv 1912.09729).
    On the first step after sampling r = 1 and the gradient is exactly that of REINFORCE, `-A * grad logprob`; with
    `clip_low = clip_high = dual_clip = None` it is REINFORCE with importance sampling.

    Args:
        logprobs: (B, T) log-probs of the sampled tokens under the policy being trained; with gradient.
        old_logprobs: (B, T) the same under the policy that sampled.
        advantages: (B, T).
        mask: (B, T) policy tokens.
        weights: (B, T) from `token_weights`. To correct for a sampler whose numbers differ from the trainer's, multiply
            them by `truncated_importance_weights`.
        clip_low: the ratio is held above 1 - clip_low for A < 0; None: no lower bound.
        clip_high: the ratio is held below 1 + clip_high for A > 0; None: no upper bound.
        dual_clip: the most the ratio counts for A < 0, more than 1; None: no bound.
        ratio_level: `token`, or `sequence`: every token of a row gets the row's geometric mean ratio (GSPO, arXiv
            2507.18071, eq. 14; needs padded (B, T) rows, and clips about 3e-4, as ratios stay near 1).

    Raises:
        ValueError: a bound out of range, a level that does not exist, or shapes that do not agree.
    """
    check_choice("ratio_level", ratio_level, get_args(RatioLevel))
    _check_shapes(logprobs=logprobs, old_logprobs=old_logprobs, advantages=advantages, mask=mask, weights=weights)
    if dual_clip is not None and dual_clip <= 1:
        raise ValueError(f"dual_clip is {dual_clip}, must be more than 1 (or None)")
    if min(clip_low or 0.0, clip_high or 0.0) < 0:
        raise ValueError(f"clip_low and clip_high must not be negative, got {clip_low} and {clip_high}")
    policy = mask != 0
    # Zeros off the mask before exp: there anything may stand, exp of it overflows, and inf * 0 is NaN.
    log_ratio = torch.where(policy, logprobs.float() - old_logprobs.float(), 0.0)
    advantages = advantages.float()
    approx_kl = _masked_mean(-log_ratio, policy)
    if ratio_level == "sequence":
        if log_ratio.ndim != 2:
            raise ValueError(f"ratio_level sequence needs padded rows (B, T), got {tuple(log_ratio.shape)}")
        row_mean_B1 = log_ratio.detach().sum(1, keepdim=True) / policy.sum(1, keepdim=True).clamp(min=1)
        # The row's value with each token's own gradient (GSPO-token).
        log_ratio = torch.where(policy, row_mean_B1 + log_ratio - log_ratio.detach(), 0.0)
    ratio = log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()

    low = -torch.inf if clip_low is None else 1 - clip_low
    high = torch.inf if clip_high is None else 1 + clip_high
    plain = -advantages * ratio
    clipped = -advantages * ratio.clamp(low, high)
    per_token = torch.maximum(plain, clipped)
    was_clipped = clipped > plain
    was_dual_clipped = torch.zeros_like(policy)
    if dual_clip is not None:
        bound = -advantages * dual_clip
        was_dual_clipped = (advantages < 0) & (per_token > bound)
        per_token = torch.where(was_dual_clipped, bound, per_token)

    ratio = ratio.detach()
    return PolicyLoss(
        loss=weighted_sum(per_token, weights),
        tokens=policy.sum(),
        clip_fraction=_masked_mean(was_clipped, policy),
        dual_clip_fraction=_masked_mean(was_dual_clipped, policy),
        ratio_mean=_masked_mean(ratio, policy),
        ratio_max=torch.where(policy, ratio, 0.0).max() if ratio.numel() else ratio.new_zeros(()),
        approx_kl=approx_kl,
    )


def value_loss(
    values: Tensor,
    old_values: Tensor,
    returns: Tensor,
    weights: Tensor,
    clip: float | None = 0.2,
) -> ValueLoss:
    """Half the squared error of the critic, with the prediction held near its old value (PPO2's value clipping).

    Per token: `0.5 * max((v - R)^2, (clip(v, v_old - clip, v_old + clip) - R)^2)`, as in verl.

    Args:
        values: any shape, the critic's predictions; with gradient.
        old_values: same shape, its predictions when the trajectories were collected.
        returns: same shape, the targets (from `advantages.gae`).
        weights: same shape, from `token_weights`.
        clip: how far a prediction may move from its old value; None: as far as it likes.

    """
    _check_shapes(values=values, old_values=old_values, returns=returns, weights=weights)
    counted = weights != 0
    # Zeros off the mask before the square: a huge masked value must not overflow on its way to being ignored.
    values, old_values, returns = (torch.where(counted, x.float(), 0.0) for x in (values, old_values, returns))
    error = (values - returns).square()
    worst = error
    if clip is not None:
        clipped = torch.clamp(values, old_values - clip, old_values + clip)
        worst = torch.maximum(error, (clipped - returns).square())
    return ValueLoss(
        loss=weighted_sum(0.5 * worst, weights),
        tokens=counted.sum(),
        clip_fraction=_masked_mean(worst > error, counted),
        error_mean=_masked_mean(error, counted),
    )


def kl_estimate(
    logprobs: Tensor,
    ref_logprobs: Tensor,
    estimator: KLEstimator,
    old_logprobs: Tensor | None = None,
) -> Tensor:
    """Estimates KL(policy, reference) at each sampled token, from d = log policy - log reference.

    `k1` = d (unbiased, can be negative); `k2` = d^2 / 2 (biased, low variance); `k3` = exp(-d) - 1 + d (unbiased, never
    negative). See the module's table for which one belongs in the reward and which in the loss.

    In `k3` the result is not cut to 10 as in verl: the cut has no gradient just where the policy has drifted most.

    Args:
        logprobs: any shape, log-probs of the sampled tokens under the policy.
        ref_logprobs: same shape, under the reference.
        estimator: `k1`, `k2` or `k3`.
        old_logprobs: same shape, under the policy that sampled. With it the estimate is multiplied by the ratio
            policy / old policy: 1 in value when on-policy, but its gradient is what `k1` and `k3` lack in a loss, and
            off-policy it keeps them unbiased. TRL does so by default, verl does not. None: no ratio.

    Returns:
        same shape, in nats. Not masked: use `weighted_sum`.
    """
    check_choice("estimator", estimator, get_args(KLEstimator))
    _check_shapes(logprobs=logprobs, ref_logprobs=ref_logprobs)
    d = logprobs.float() - ref_logprobs.float()
    if estimator == "k1":
        kl = d
    elif estimator == "k2":
        kl = 0.5 * d.square()
    else:
        kl = (-d).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp() - 1 + d
    if old_logprobs is None:
        return kl
    _check_shapes(logprobs=logprobs, old_logprobs=old_logprobs)
    return kl * (logprobs.float() - old_logprobs.float()).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()


def check_kl(kl: KLPlacement, estimator: KLEstimator, weighted: bool = False) -> str | None:
    """Whether the estimator pulls toward the reference in that place (see the module's table).

    Returns None where it does, and a sentence of warning where it hardly does near the reference (`reward` with `k2`,
    `k3`). Raises ConfigError where it never does: `loss` with `k1` and no weighting.
    """
    if kl == "loss" and estimator == "k1" and not weighted:
        raise ConfigError("kl = loss with estimator k1 has an expected gradient of zero: use k2 or k3, or kl = reward")
    if kl == "reward" and estimator != "k1":
        return f"kl = reward with estimator {estimator} hardly pulls toward the reference: use k1, or kl = loss"
    return None


def truncated_importance_weights(logprobs: Tensor, sampled_logprobs: Tensor, mask: Tensor, cap: float = 2.0) -> Tensor:
    """min(trainer's probability / sampler's probability, cap) of each policy token, without gradient.

    Multiply the loss weights by it when sampler and trainer disagree on the probabilities of the *same* weights
    (bf16, another kernel), or when the sampler truncated its distribution (truncated importance sampling, TIS).
    `old_logprobs` in `policy_loss` are then the trainer's own.

    Args:
        logprobs: any shape, log-probs of the sampled tokens by the trainer, at the weights that sampled.
        sampled_logprobs: same shape, by the sampler.
        mask: same shape, policy tokens.
        cap: the largest weight.

    Returns:
        same shape, zero off the mask; all about 1 where the two agree.
    """
    _check_shapes(logprobs=logprobs, sampled_logprobs=sampled_logprobs, mask=mask)
    policy = mask != 0
    log_ratio = torch.where(policy, logprobs.detach().float() - sampled_logprobs.detach().float(), 0.0)
    return torch.where(policy, log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp().clamp(max=cap), 0.0)


def selected_logprobs(logits_NV: Tensor, ids_N: Tensor, temperature: float = 1.0) -> Tensor:
    """Log-probs of the given ids in float32, at the temperature they were sampled with.

    Makes float32 copies of the logits it is given: call it on chunks of rows, and on policy tokens only.

    Args:
        logits_NV: (..., V) in any float type; the logits that predict `ids_N`, so already shifted by one.
        ids_N: (...) the sampled ids.
        temperature: above 0; the generator's.

    Returns:
        (...) float32.
    """
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}, must be above 0 (greedy samples have no log-prob to train on)")
    logits_NV = logits_NV.float() if temperature == 1.0 else logits_NV.float() / temperature
    flat = cross_entropy(logits_NV.reshape(-1, logits_NV.shape[-1]), ids_N.reshape(-1), reduction="none")
    return -flat.reshape(ids_N.shape)


def entropy_from_logits(logits_NV: Tensor, temperature: float = 1.0) -> Tensor:
    """Entropy in nats of the distribution each row of logits stands for: (..., V) -> (...) float32.

    Costs memory: call it for an entropy bonus, or without gradient as a metric, on chunks of policy tokens.
    """
    logprobs_NV = torch.log_softmax(logits_NV.float() / temperature, dim=-1)
    # A banned token has log-prob -inf and probability 0; its share is 0, not 0 * inf.
    return -(logprobs_NV.exp() * logprobs_NV.clamp(min=torch.finfo(torch.float32).min)).sum(-1)


def _masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Detached mean of `x` where `mask`; 0 without any."""
    return torch.where(mask, x.detach().float(), 0.0).sum() / mask.sum().clamp(min=1)


def _check_shapes(**tensors: Tensor) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError("shapes differ: " + ", ".join(f"{name} {shape}" for name, shape in shapes.items()))
