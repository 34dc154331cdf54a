"""Losses: what the optimizer minimises. Pure functions of tensors, with gradients.

Axis letters as in `advantages.py`: B = trajectories, T = token positions, V = vocabulary, N = any rows. Elementwise
functions take any shape, so padded (B, T) and packed (T,) batches both work; where rows matter, it is said.

**Everything is a sum.** A loss is `sum(weights * loss per token)`, and `token_weights` makes the weights once, over the
mask of the *whole* batch. Micro-batches then take their slice of the weights and their gradients simply add up to the
gradient of the whole batch, whatever the split and however unequal the token counts: no division by a micro-batch's own
count anywhere. Across processes that average gradients (DDP), multiply the weights by the number of processes.

A weight is 0 off the mask, and what stands where the weight or the mask is 0 is never read.

**Where the KL goes** (the tests enumerate it; J. Schulman, http://joschu.net/blog/kl-approx.html). P is the policy, R
the reference.

| estimator | `kl = reward` (through the advantage) | `kl = loss` (differentiated) |
|---|---|---|
| `k1` | gradient of KL(P, R): right | expected gradient 0, only noise: refused |
| `k2` | hardly any pull near R: refused | gradient of KL(P, R): right |
| `k3` | hardly any pull near R: refused | gradient of KL(R, P): pulls too |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from zerosearch.learning.advantages import check_choice

KLEstimator = Literal["k1", "k2", "k3"]
Aggregation = Literal["token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm"]
RatioLevel = Literal["token", "sequence"]

MAX_LOG_RATIO = 20.0
"""Log ratios are cut to +-20 before `exp`: a drifted policy gives a large number and not infinity (as in verl)."""


@dataclass(frozen=True)
class Clip:
    """How the ratio policy / old policy is held: above 1 - `low` for A < 0, below 1 + `high` for A > 0, and for A < 0
    it counts at most as `dual`, more than 1. None: no bound. The defaults are the configuration's.

    `level`: `token`, or `sequence`: every token of a row gets the row's geometric mean ratio (GSPO, arXiv 2507.18071,
    eq. 14; needs padded (B, T) rows, and clips about 3e-4, as ratios stay near 1).

    Raises `ValueError` for a bound out of range and a level that does not exist.
    """

    low: float | None = 0.2
    high: float | None = 0.2
    dual: float | None = None
    level: RatioLevel = "token"

    def __post_init__(self) -> None:
        check_choice("ratio_level", self.level, get_args(RatioLevel))
        if self.dual is not None and self.dual <= 1:
            raise ValueError(f"dual_clip is {self.dual}, must be more than 1 (or None)")
        if min(self.low or 0.0, self.high or 0.0) < 0:
            raise ValueError(f"clip_low and clip_high must not be negative, got {self.low} and {self.high}")


@dataclass(frozen=True)
class PolicyLoss:
    """What `policy_loss` returns: scalars, all but `loss` detached and over the policy tokens of *this* micro-batch.

    To join micro-batches, add up `loss`, average the means weighted by `tokens`, take the maximum of `ratio_max`.
    """

    loss: Tensor  # the weighted sum; has the gradient
    tokens: Tensor  # number of policy tokens
    clip_fraction: Tensor  # share of tokens whose gradient the clip (`low`, `high`) stopped
    ratio_mean: Tensor  # mean of policy / old policy; 1 when on-policy
    ratio_max: Tensor  # its maximum; 0 without tokens
    approx_kl: Tensor  # mean of log old policy - log policy: estimates KL(old policy, policy)


def token_weights(mask_BT: Tensor, aggregation: Aggregation, max_tokens: int | None = None) -> Tensor:
    """The weight of each token's loss, for the whole batch.

    | aggregation | weight of a policy token | used by |
    |---|---|---|
    | `token-mean` | 1 / tokens of the batch | DAPO (arXiv 2503.14476), TRL `dapo` and `bnpo` |
    | `seq-mean-token-mean` | 1 / (tokens of its row x rows) | GRPO (arXiv 2402.03300), TRL `grpo` |
    | `seq-mean-token-sum` | 1 / rows | plain REINFORCE |
    | `seq-mean-token-sum-norm` | 1 / (rows x max_tokens) | Dr. GRPO (arXiv 2503.20783), TRL `dr_grpo` |

    Rows are rows with at least one policy token: a failed trajectory has a mask of zeros and is no row. `max_tokens`,
    the most tokens a policy may write, is needed for `seq-mean-token-sum-norm`. Returns (B, T) float32, all zero for an
    empty mask.

    Raises `ValueError` for an aggregation that does not exist, or no `max_tokens` where it is needed.
    """
    check_choice("aggregation", aggregation, get_args(Aggregation))
    mask_BT = (mask_BT != 0).float()
    row_tokens_B1 = mask_BT.sum(1, keepdim=True)
    rows = max(float((row_tokens_B1 > 0).sum()), 1.0)
    if aggregation == "token-mean":
        return mask_BT / max(float(mask_BT.sum()), 1.0)
    if aggregation == "seq-mean-token-mean":
        return mask_BT / row_tokens_B1.clamp(min=1) / rows
    if aggregation == "seq-mean-token-sum":
        return mask_BT / rows
    if max_tokens is None or max_tokens < 1:
        raise ValueError(f"aggregation seq-mean-token-sum-norm needs max_tokens of at least 1, got {max_tokens}")
    return mask_BT / (rows * max_tokens)


def weighted_sum(x: Tensor, weights: Tensor) -> Tensor:
    """sum(weights * x) as a scalar, reading `x` only where a weight is not 0 (also backward: no NaN leaks through)."""
    return (torch.where(weights != 0, x.float(), 0.0) * weights).sum()


def policy_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, weights: Tensor, clip: Clip = Clip()
) -> PolicyLoss:
    """Policy gradient through the ratio policy / old policy, clipped as asked.

    Per token, with ratio r and advantage A: `max(-r A, -clip(r, 1 - low, 1 + high) A)`, for A < 0 at most `-dual A`
    (PPO: arXiv 1707.06347, eq. 7; asymmetric clip: DAPO, arXiv 2503.14476; dual clip: arXiv 1912.09729). On the first
    step after sampling r = 1 and the gradient is exactly that of REINFORCE, `-A * grad logprob`; with all bounds None
    it is REINFORCE with importance sampling.

    All tensors are (B, T). `logprobs`, with gradient, are those of the sampled tokens under the policy in training,
    `old_logprobs` those under the policy that sampled. `weights` come from `token_weights`: to correct for a sampler
    whose numbers differ from the trainer's, multiply them by `truncated_importance_weights`.

    Raises `ValueError` for shapes that do not agree, or no rows where the ratio is a row's.
    """
    _check_shapes(logprobs=logprobs, old_logprobs=old_logprobs, advantages=advantages, mask=mask, weights=weights)
    policy = mask != 0
    # Zeros off the mask before exp: there anything may stand, exp of it overflows, and inf * 0 is NaN.
    log_ratio = torch.where(policy, logprobs.float() - old_logprobs.float(), 0.0)
    approx_kl = _masked_mean(-log_ratio, policy)
    if clip.level == "sequence":
        log_ratio = _row_means(log_ratio, policy)
    ratio = log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
    per_token, was_clipped = _clipped(ratio, advantages.float(), clip)
    ratio = ratio.detach()
    return PolicyLoss(
        loss=weighted_sum(per_token, weights),
        tokens=policy.sum(),
        clip_fraction=_masked_mean(was_clipped, policy),
        ratio_mean=_masked_mean(ratio, policy),
        ratio_max=torch.where(policy, ratio, 0.0).max() if ratio.numel() else ratio.new_zeros(()),
        approx_kl=approx_kl,
    )


def _row_means(log_ratio_BT: Tensor, policy_BT: Tensor) -> Tensor:
    """Each row's mean log ratio, with each token's own gradient (GSPO-token)."""
    if log_ratio_BT.ndim != 2:
        raise ValueError(f"ratio_level sequence needs padded rows (B, T), got {tuple(log_ratio_BT.shape)}")
    mean_B1 = log_ratio_BT.detach().sum(1, keepdim=True) / policy_BT.sum(1, keepdim=True).clamp(min=1)
    return torch.where(policy_BT, mean_B1 + log_ratio_BT - log_ratio_BT.detach(), 0.0)


def _clipped(ratio: Tensor, advantages: Tensor, clip: Clip) -> tuple[Tensor, Tensor]:
    """The loss of each token, and where `low` and `high` stopped its gradient."""
    low = -torch.inf if clip.low is None else 1 - clip.low
    high = torch.inf if clip.high is None else 1 + clip.high
    plain = -advantages * ratio
    clipped = -advantages * ratio.clamp(low, high)
    per_token = torch.maximum(plain, clipped)
    if clip.dual is not None:
        bound = -advantages * clip.dual
        per_token = torch.where((advantages < 0) & (per_token > bound), bound, per_token)
    return per_token, clipped > plain


def value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, weights: Tensor, clip: float | None = 0.5
) -> Tensor:
    """Half the squared error of the critic, with the prediction held near its old value (PPO2's value clipping).

    Per token: `0.5 * max((v - R)^2, (clip(v, v_old - clip, v_old + clip) - R)^2)`, as in verl.

    All tensors have one shape, any: the critic's predictions, with gradient; those when the trajectories were
    collected; the targets (from `advantages.gae`); `token_weights`. `clip` is how far a prediction may move from its
    old value; None: as far as it likes. Returns the weighted sum, a scalar with gradient.
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
    return weighted_sum(0.5 * worst, weights)


def kl_estimate(logprobs: Tensor, ref_logprobs: Tensor, estimator: KLEstimator) -> Tensor:
    """Estimates KL(policy, reference) at each sampled token, from d = log policy - log reference.

    `k1` = d (unbiased, can be negative); `k2` = d^2 / 2 (biased, low variance); `k3` = exp(-d) - 1 + d (unbiased, never
    negative). See the module's table for which one belongs in the reward and which in the loss.

    In `k3` the result is not cut to 10 as in verl: the cut has no gradient just where the policy has drifted most.

    Takes log-probs of the sampled tokens in any shape, and returns nats in the same. Not masked: use `weighted_sum`.
    """
    check_choice("estimator", estimator, get_args(KLEstimator))
    _check_shapes(logprobs=logprobs, ref_logprobs=ref_logprobs)
    d = logprobs.float() - ref_logprobs.float()
    if estimator == "k1":
        return d
    if estimator == "k2":
        return 0.5 * d.square()
    return (-d).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp() - 1 + d


def truncated_importance_weights(logprobs: Tensor, sampled_logprobs: Tensor, mask: Tensor, cap: float = 2.0) -> Tensor:
    """min(trainer's probability / sampler's probability, cap) of each policy token, without gradient.

    Multiply the loss weights by it when sampler and trainer disagree on the probabilities of the *same* weights
    (bf16, another kernel), or when the sampler truncated its distribution (truncated importance sampling, TIS).
    `old_logprobs` in `policy_loss` are then the trainer's own.

    Both log-probs are of the sampled tokens, at the weights that sampled. Returns weights of the same shape, which is
    any: zero off the mask, all about 1 where the two agree.
    """
    _check_shapes(logprobs=logprobs, sampled_logprobs=sampled_logprobs, mask=mask)
    policy = mask != 0
    log_ratio = torch.where(policy, logprobs.detach().float() - sampled_logprobs.detach().float(), 0.0)
    return torch.where(policy, log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp().clamp(max=cap), 0.0)


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
