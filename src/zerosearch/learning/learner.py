"""From trajectories to an optimizer step: advantages once for each batch, then losses over micro-batches."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from zerosearch.config import TrainConfig
from zerosearch.episodes.seeds import derive_seed
from zerosearch.episodes.trajectory import Trajectory
from zerosearch.learning.algorithms import RewardBatch, estimate, find_algorithm
from zerosearch.learning.batches import MicroBatch, Sequences, micro_batches, pad, weights_of
from zerosearch.learning.critic import Critic, explained_variance
from zerosearch.learning.logprobs import EntropyUse, Sampled, scatter
from zerosearch.learning.losses import (
    Clip,
    kl_estimate,
    policy_loss,
    truncated_importance_weights,
    value_loss,
    weighted_sum,
)
from zerosearch.learning.metrics import weighted_mean
from zerosearch.learning.parallel import ALONE, Processes
from zerosearch.learning.policy import Policy
from zerosearch.learning.scaling import LossScale, NotFinite, descend
from zerosearch.models.devices import repeatable
from zerosearch.models.phases import phase
from zerosearch.training_config import default_rates

Metrics = dict[str, float]
Tally = dict[str, list[tuple[float, float]]]
"""Values of each metric, with their weights in its mean."""


@dataclass(frozen=True)
class _Batch:
    """One batch of rollouts, padded to (B, T), with everything that stays fixed while the policy is updated."""

    sequences: Sequences
    mask_BT: Tensor
    old_logprobs_BT: Tensor
    recomputed: bool
    """Whether these are the trainer's own, and not the sampler's."""
    correction_BT: Tensor | None
    reference_BT: Tensor | None
    advantages_BT: Tensor
    values_BT: Tensor | None
    returns_BT: Tensor | None


class Learner:
    """Owns policy, critic and their optimizers; `update` turns a batch of trajectories into optimizer steps."""

    def __init__(
        self, policy: Policy, critic: Critic | None, config: TrainConfig, processes: Processes = ALONE
    ) -> None:
        """Raises `ConfigError` for an algorithm that cannot be found."""
        algorithm, training = config.algorithm, config.training
        if (algorithm.name == "ppo") != (critic is not None):
            raise ValueError("ppo needs a critic, and nothing else does")
        find_algorithm(algorithm.name)
        self.policy, self.critic, self.processes = policy, critic, processes
        self.algorithm, self.training, self.seed = algorithm, training, config.seed
        self.sampler = config.model.sampler
        self.max_policy_tokens = config.protocol.max_policy_tokens
        self.sampled = Sampled(training.temperature, training.top_k, training.top_p)
        self.device = policy.model.device
        self.rate = training.learning_rate or default_rates(full=policy.full)[0]
        self.optimizer = _adam(policy.parameters(), self.rate, training.weight_decay)
        self.scale = LossScale(policy.model.dtype)
        self.critic_scale = LossScale((critic or policy).model.dtype)
        critic_rate = algorithm.critic_learning_rate or default_rates(full=policy.full)[1]
        self.critic_optimizer = _adam(critic.parameters(), critic_rate, training.weight_decay) if critic else None

    def update(self, trajectories: Sequence[Trajectory], step: int) -> Metrics:
        """Learn from one batch; `step` counts from 0.

        Trajectories whose search failed, and those without a policy token, take no part. Raises `NotFinite`.
        """
        with repeatable(self.device):
            return self._update(trajectories, step)

    def _update(self, trajectories: Sequence[Trajectory], step: int) -> Metrics:
        rows = [t for t in trajectories if t.valid and t.policy_tokens]
        if not rows:
            return {"trained_rows": 0.0}
        _check_finite(rows)
        metrics: Tally = defaultdict(list)
        batch = self._prepare(rows, metrics)
        self._set_learning_rates(step)
        own: Tally = defaultdict(list)
        first = True
        for epoch in range(self.algorithm.epochs):
            for part in self._parts(len(rows), step, epoch):
                self._update_part(batch, part, step, own, compare=first)
                first = False
        self.policy.eval_mode()
        for key, value, weight in self.processes.gather([(k, v, w) for k, pairs in own.items() for v, w in pairs]):
            metrics[key].append((value, weight))
        out = {key: weighted_mean(pairs) for key, pairs in metrics.items()}
        for key in ("ratio_max", "sampler_gap_max"):
            if key in metrics:
                out[key] = max(v for v, _ in metrics[key])
        return out | {"trained_rows": float(len(rows))}

    def _prepare(self, rows: Sequence[Trajectory], metrics: Tally) -> _Batch:
        algorithm = self.algorithm
        sequences = Sequences([list(t.ids) for t in rows], [list(t.mask) for t in rows])
        mask = pad(sequences.mask, self.device)
        sampled = pad([t.logprobs for t in rows], self.device, torch.float32)
        rewards = torch.tensor([t.reward for t in rows], device=self.device)
        groups = torch.tensor([t.group for t in rows], device=self.device)
        old, correction = sampled, None
        self.policy.train_mode()
        pulled = algorithm.kl != "none" and algorithm.kl_coef > 0
        # with one update the log-probs of the update itself are those of the weights that sampled
        recomputed = self._sampler_differs() and (not self._one_update or (pulled and algorithm.kl == "reward"))
        needed = recomputed or pulled or self.critic is not None
        micros = self._cut(sequences) if needed else []
        if recomputed:
            old = self._fill(mask, micros, lambda m: self.policy.logprobs(m, self.sampled).logprobs_N)
            gap = (old - sampled)[mask.bool()].abs()
            metrics["sampler_gap_max"].append((float(gap.max()), 1.0))
            metrics["sampler_gap"].append((float(gap.mean()), 1.0))
            if algorithm.correct_sampler is not None:
                correction = truncated_importance_weights(old, sampled, mask.bool(), cap=algorithm.correct_sampler)
        reference = None
        if pulled:
            temperature = self.training.temperature
            reference = self._fill(mask, micros, lambda m: self.policy.reference_logprobs(m, temperature))
        kl = None
        if reference is not None and algorithm.kl == "reward":
            kl = kl_estimate(old, reference, algorithm.kl_estimator) * mask
            metrics["kl"].append((float(kl.sum() / mask.sum()), 1.0))
        values = None
        if self.critic is not None:
            self.critic.train_mode()
            values = self._fill(mask, micros, self.critic.values)
        out = estimate(algorithm, RewardBatch(rewards, groups, mask, kl, values))
        if values is not None and out.returns_BT is not None:
            explained = explained_variance(out.returns_BT[mask.bool()], values[mask.bool()])
            if explained is not None:
                metrics["explained_variance"].append((explained, 1.0))
        return _Batch(
            sequences, mask, old, recomputed, correction, reference, out.advantages_BT, values, out.returns_BT
        )

    def _update_part(self, batch: _Batch, part: Sequence[int], step: int, metrics: Tally, *, compare: bool) -> None:
        """One optimizer step of the policy (and the critic) on the rows `part`."""
        index = torch.tensor(part, device=self.device)
        weights = weights_of(index, batch.mask_BT, self.algorithm.aggregation, self.max_policy_tokens)
        if batch.correction_BT is not None:
            weights = weights * batch.correction_BT
        if self.critic is not None:
            self._critic_step(batch, part, weights_of(index, batch.mask_BT, "token-mean"), metrics)
            if step < self.algorithm.critic_warmup_steps:
                return
        self.policy.train_mode()
        learned = [i for i in part if self._has_gradient(batch, i)]
        with torch.no_grad():  # the others teach nothing, but entropy and ratios are those of all policy tokens
            for micro in self._micros(batch, [i for i in part if i not in learned]):
                self._policy_loss(batch, micro, weights, metrics, compare=compare)
        micros = self._micros(batch, learned)
        told: Tally = defaultdict(list)

        def losses() -> Iterator[Tensor]:
            told.clear()
            for micro in micros:
                yield self._policy_loss(batch, micro, weights, told, compare=compare)

        total, norm = self._descend(self.optimizer, losses, self.scale, f"policy, step {step}")
        for key, pairs in told.items():
            metrics[key] += pairs
        metrics["loss"].append((total, 1.0))
        metrics["grad_norm"].append((norm, 1.0))
        if self.scale.used:
            metrics["loss_scale"].append((self.scale.value, 1.0))

    @phase("forward", gpu=True)
    def _policy_loss(
        self, batch: _Batch, micro: MicroBatch, weights_BT: Tensor, metrics: Tally, *, compare: bool
    ) -> Tensor:
        algorithm = self.algorithm
        rows, width = list(micro.rows), micro.ids_BT.shape[1]
        use: EntropyUse = "loss" if algorithm.entropy_coef > 0 else "metric"
        out = self.policy.logprobs(micro, self.sampled, entropy=use)
        if not rows:
            return 0.0 * out.logprobs_N.sum()
        logprobs = scatter(out.logprobs_N, micro.mask_BT)
        weights, old = weights_BT[rows, :width], batch.old_logprobs_BT[rows, :width]
        if compare and not batch.recomputed:
            gap = (logprobs.detach() - old)[micro.mask_BT.bool()].abs()
            metrics["sampler_gap_max"].append((float(gap.max()), float(len(gap))))
            metrics["sampler_gap"].append((float(gap.mean()), float(len(gap))))
        if self._one_update:  # the weights are still those that sampled: the ratio is 1, and no rounding of it
            if self._sampler_differs() and not batch.recomputed and (cap := algorithm.correct_sampler) is not None:
                weights = weights * truncated_importance_weights(logprobs, old, micro.mask_BT, cap=cap)
            old = logprobs.detach()
        result = policy_loss(
            logprobs,
            old,
            batch.advantages_BT[rows, :width],
            micro.mask_BT,
            weights,
            Clip(algorithm.clip_low, algorithm.clip_high, algorithm.dual_clip, algorithm.ratio_level),
        )
        loss, tokens = result.loss, float(result.tokens)
        if batch.reference_BT is not None and algorithm.kl == "loss":
            kl = kl_estimate(logprobs, batch.reference_BT[rows, :width], algorithm.kl_estimator)
            loss = loss + algorithm.kl_coef * weighted_sum(kl, weights)
            metrics["kl"].append((float((kl.detach() * micro.mask_BT).sum()) / max(tokens, 1.0), tokens))
        assert out.entropy_N is not None
        entropy = out.entropy_N
        if algorithm.entropy_coef > 0:
            loss = loss - algorithm.entropy_coef * weighted_sum(scatter(entropy, micro.mask_BT), weights)
        metrics["entropy"].append((float(entropy.detach().mean()) if len(entropy) else 0.0, tokens))
        for key in ("clip_fraction", "ratio_mean", "ratio_max", "approx_kl"):
            metrics[key].append((float(getattr(result, key)), tokens))
        return loss

    def _critic_step(self, batch: _Batch, part: Sequence[int], weights_BT: Tensor, metrics: Tally) -> None:
        assert self.critic is not None
        assert self.critic_optimizer is not None
        assert batch.values_BT is not None
        assert batch.returns_BT is not None
        critic, values_BT, returns_BT = self.critic, batch.values_BT, batch.returns_BT
        critic.train_mode()
        micros = self._micros(batch, part)

        def losses() -> Iterator[Tensor]:
            for micro in micros:
                rows, width = list(micro.rows), micro.ids_BT.shape[1]
                values = scatter(critic.values(micro), micro.mask_BT)
                old, returns, weights = (x[rows, :width] for x in (values_BT, returns_BT, weights_BT))
                yield value_loss(values, old, returns, weights, clip=self.algorithm.value_clip)

        total, norm = self._descend(self.critic_optimizer, losses, self.critic_scale, "critic")
        metrics["critic_loss"].append((total, 1.0))
        metrics["critic_grad_norm"].append((norm, 1.0))

    def _descend(
        self, optimizer: torch.optim.Optimizer, losses: Callable[[], Iterable[Tensor]], scale: LossScale, what: str
    ) -> tuple[float, float]:
        norm = self.training.max_grad_norm
        return descend(optimizer, losses, scale, max_norm=norm, what=what, processes=self.processes)

    def _has_gradient(self, batch: _Batch, row: int) -> bool:
        """False where a row's every loss term is 0 (a group without spread): it need not be run through the model."""
        if self.algorithm.entropy_coef > 0 or (batch.reference_BT is not None and self.algorithm.kl == "loss"):
            return True
        return bool(batch.advantages_BT[row].any())

    @property
    def _one_update(self) -> bool:
        return self.algorithm.epochs == self.algorithm.updates_per_batch == 1

    def _sampler_differs(self) -> bool:
        """Whether the sampler's log-probs are not the trainer's: rounding, or a truncated distribution."""
        model, training = self.policy.model, self.training
        rounded = self.sampler == "vllm"  # it samples in 16 bits, whatever the model's format
        rounded = rounded or model.dtype != torch.float32 or (self.policy.full and model.device.type == "cuda")
        rounded = rounded or torch.get_float32_matmul_precision() != "highest"
        return rounded or training.top_p < 1 or training.top_k > 0

    def _micros(self, batch: _Batch, rows: Sequence[int]) -> list[MicroBatch]:
        """This process's part of `rows`."""
        if not rows:
            return []
        return [replace(m, rows=tuple(rows[i] for i in m.rows)) for m in self._cut(batch.sequences.only(rows))]

    def _cut(self, sequences: Sequences) -> list[MicroBatch]:
        policy, budget = self.policy, self.training.micro_batch_tokens
        processes, even = self.processes, policy.sharded
        return micro_batches(sequences, budget, self.device, packed=policy.packs, processes=processes, even=even)

    @phase("log-probs", gpu=True)
    @torch.no_grad()
    def _fill(self, mask_BT: Tensor, micros: Sequence[MicroBatch], compute: Callable[[MicroBatch], Tensor]) -> Tensor:
        """Run `compute` over the micro-batches without gradients and put its (N,) results in place: (B, T)."""
        out = torch.zeros_like(mask_BT, dtype=torch.float32)
        for micro in micros:
            computed = scatter(compute(micro).float(), micro.mask_BT)
            if micro.rows:
                out[list(micro.rows), : micro.ids_BT.shape[1]] = computed
        return self.processes.add_up(out)

    def _parts(self, rows: int, step: int, epoch: int) -> list[list[int]]:
        """The rows of each optimizer step. One update a batch keeps the order; several deal the rows out by seed."""
        updates = min(self.algorithm.updates_per_batch, rows)
        if updates == 1:
            return [list(range(rows))]
        order = np.random.default_rng(derive_seed(self.seed, "parts", step, epoch)).permutation(rows)
        return [sorted(part.tolist()) for part in np.array_split(order, updates)]

    def _set_learning_rates(self, step: int) -> None:
        warmup = self.training.warmup_steps
        factor = min(1.0, (step + 1) / (warmup + 1)) if warmup else 1.0
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * factor


def _adam(parameters: dict[str, torch.nn.Parameter], rate: float, decay: float) -> torch.optim.AdamW:
    return torch.optim.AdamW(list(parameters.values()), lr=rate, weight_decay=decay, betas=(0.9, 0.999))


def _check_finite(rows: Sequence[Trajectory]) -> None:
    """Raises `NotFinite`. The loss alone does not tell: rewards of 0 everywhere make a loss of 0."""
    for row in rows:
        if not (math.isfinite(row.reward) and all(map(math.isfinite, row.logprobs))):
            what = "reward" if not math.isfinite(row.reward) else "log-prob of a sampled token"
            raise NotFinite(f"question {row.question.id}, rollout {row.rollout}: a {what} is not a number")
