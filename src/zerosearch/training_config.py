"""The sections `[reward]`, `[algorithm]` and `[training]` of a run's configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from zerosearch.episodes.scoring import SCORES
from zerosearch.models.config import FREE, Names, Section

ALGORITHMS = ("reinforce", "grpo", "ppo")


class RewardConfig(Section):
    name: Annotated[str, Names(SCORES)] = "f1"
    """f1 (the paper's), em, cover_em, or your own function of a trajectory (extend.md)."""
    format: float = Field(0.0, ge=0, le=1)
    """Reward of a well-formed episode with a wrong answer."""


class AlgorithmConfig(Section):
    name: Annotated[str, Names(ALGORITHMS)] = "reinforce"
    """reinforce, grpo, ppo, or your own function that estimates advantages (extend.md)."""
    baseline: Literal["none", "batch", "group"] = "group"
    """reinforce: what is subtracted from the reward; group is leave-one-out (RLOO)."""
    whiten: bool = False
    """reinforce: whiten token-level returns over the batch (REINFORCE++). ppo always whitens its advantages."""
    scale: Literal["group", "batch", "none"] = "group"
    """grpo: divide the advantage by the standard deviation of the group or the batch, or not at all (none: Dr.
    GRPO)."""
    clip_low: float = Field(0.2, gt=0, lt=1)
    """Lower bound of the ratio is 1 - clip_low."""
    clip_high: float = Field(0.2, gt=0)
    """Upper bound of the ratio is 1 + clip_high. DAPO uses .28."""
    dual_clip: float | None = Field(None, gt=1)
    """For negative advantages: the ratio counts at most this much."""
    ratio_level: Literal["token", "sequence"] = "token"
    """The ratio of each token, or one ratio for each episode (GSPO)."""
    aggregation: Literal["token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm"] = (
        "token-mean"
    )
    """How token losses are averaged. seq-mean-token-sum-norm divides by `max_turn_tokens` x turns (Dr. GRPO)."""
    updates_per_batch: int = Field(1, ge=1)
    """Optimizer steps for each batch of rollouts."""
    epochs: int = Field(1, ge=1)
    """Passes over each batch of rollouts."""
    kl: Literal["none", "reward", "loss"] = "loss"
    """Where the KL to the reference is added. See algorithms.md."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k3"
    """loss: k2 or k3. reward: k1."""
    kl_coef: float = Field(0.001, ge=0)
    """Weight of the KL."""
    entropy_coef: float = Field(0.0, ge=0)
    """Weight of an entropy bonus."""
    gamma: float = Field(1.0, ge=0, le=1)
    """ppo: discount from policy token to policy token."""
    lam: float = Field(1.0, ge=0, le=1)
    """ppo: lambda of GAE."""
    critic_learning_rate: float | None = Field(None, gt=0)
    """ppo: learning rate of the critic. none: 1e-4 for an adapter; 1e-5 for all weights, as in the paper."""
    critic_warmup_steps: int = Field(0, ge=0)
    """ppo: number of first steps in which only the critic learns."""
    value_clip: float | None = Field(0.5, gt=0)
    """ppo: how far the critic's value may move from its old value."""
    correct_sampler: float | None = Field(2.0, gt=0)
    """Largest importance weight when sampler and trainer have different log-probs: below float32, with a
    `matmul_precision` below highest, or with top_p or top_k. Otherwise they agree to 1e-4 and nothing is corrected."""


class TrainingConfig(Section):
    steps: int = Field(200, ge=1)
    """Number of training steps."""
    questions_per_step: int = Field(64, ge=1)
    """Number of questions in a step."""
    rollouts: int = Field(5, ge=1)
    """Episodes for each question of a step."""
    learning_rate: float | None = Field(None, gt=0)
    """none: 1e-4 for an adapter; 1e-6 for all weights, as in the paper. An adapter hardly learns at 1e-6."""
    warmup_steps: int = Field(0, ge=0)
    """Steps in which the learning rate grows to its value."""
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    """Gradients are clipped to this norm."""
    temperature: float = Field(1.0, gt=0)
    """Sampling temperature of the policy. The trainer's log-probs use it too."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Nucleus sampling of the policy. The trainer uses the same truncated distribution."""
    top_k: int = Field(0, ge=0)
    """Sample from this number of tokens; 0: from all."""
    micro_batch_tokens: int = Field(16384, ge=64, json_schema_extra=FREE)
    """Maximal tokens of one forward and backward pass. A shared prompt counts once; with padded rows pads count too.
    Lower it if memory is short."""
    max_batch_rows: int = Field(256, ge=1, json_schema_extra=FREE)
    """Maximal number of sequences decoded at once."""
    max_batch_tokens: int = Field(262_144, ge=64, json_schema_extra=FREE)
    """Maximal tokens in the KV cache."""
    merge_adapters: bool | None = None
    """Sample from copies of the weights with merged adapters: faster on a GPU, more memory. none: on a GPU yes, on a
    CPU no."""
    max_sampler_gap: float | None = Field(0.5, gt=0, json_schema_extra=FREE)
    """Stop the run if sampler and trainer differ by more than this, in nats a token on average over a step: it would
    then train another policy than it samples. Sound runs have less than .03. none: never stop."""
    stop_on_collapse: bool = Field(True, json_schema_extra=FREE)
    """Stop the run if for three steps in a row valid actions are below half of those of the first steps, or hardly any
    episode has an answer. false: only warn."""
    shard: bool = Field(False, json_schema_extra=FREE)
    """Divide full weights, gradients and the optimizer's state among the processes (FSDP2), for a model that is too
    large for one GPU. Each process keeps a whole copy in `model.dtype` for sampling. Not with ppo."""
    checkpoint_every: int = Field(25, ge=0, json_schema_extra=FREE)
    """Steps between checkpoints; 0: only at the end."""
    keep_checkpoints: int = Field(2, ge=1, json_schema_extra=FREE)
    """Newest checkpoints to keep."""
    max_minutes: float | None = Field(None, gt=0, json_schema_extra=FREE)
    """Stop with a checkpoint after the step that passes this time. The same command resumes."""


def default_rates(*, full: bool) -> tuple[float, float]:
    """Learning rates of policy and critic: for all weights the paper's, for an adapter higher ones.

    An adapter wants at least ten times the rate of full fine-tuning ("LoRA Without Regret", Schulman et al. 2025,
    https://thinkingmachines.ai/blog/lora/). For the policy it is a hundred times here: of our two runs with
    Qwen2.5-1.5B the one at 1e-4 learned faster than that at 5e-5 (docs/results.md).
    """
    return (1e-6, 1e-5) if full else (1e-4, 1e-4)
