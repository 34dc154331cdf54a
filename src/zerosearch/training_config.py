"""What is learned, and how: the sections `[reward]`, `[algorithm]` and `[training]` of a run's configuration."""

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
    """What a well-formed episode with a wrong answer still earns."""


class AlgorithmConfig(Section):
    name: Annotated[str, Names(ALGORITHMS)] = "reinforce"
    """reinforce, grpo, ppo, or your own function that estimates advantages (extend.md)."""
    baseline: Literal["none", "batch", "group"] = "group"
    """reinforce: what is subtracted from the reward; group is leave-one-out (RLOO)."""
    whiten: bool = False
    """reinforce: whiten token-level returns over the batch (REINFORCE++). ppo whitens its advantages always."""
    scale: Literal["group", "batch", "none"] = "group"
    """grpo: whose standard deviation divides the advantage; none is Dr. GRPO."""
    clip_low: float = Field(0.2, gt=0, lt=1)
    clip_high: float = Field(0.2, gt=0)
    """The ratio is clipped to [1 - clip_low, 1 + clip_high]; DAPO uses .28 above."""
    dual_clip: float | None = Field(None, gt=1)
    ratio_level: Literal["token", "sequence"] = "token"
    aggregation: Literal["token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm"] = (
        "token-mean"
    )
    """How token losses become one number; seq-mean-token-sum-norm divides by `max_turn_tokens` x turns (Dr. GRPO)."""
    updates_per_batch: int = Field(1, ge=1)
    """Optimizer steps a batch of rollouts is cut into."""
    epochs: int = Field(1, ge=1)
    """Times a batch of rollouts is gone through."""
    kl: Literal["none", "reward", "loss"] = "loss"
    """Where the KL to the reference goes."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k3"
    kl_coef: float = Field(0.001, ge=0)
    entropy_coef: float = Field(0.0, ge=0)
    gamma: float = Field(1.0, ge=0, le=1)
    """ppo: discount from policy token to policy token."""
    lam: float = Field(1.0, ge=0, le=1)
    """ppo: lambda of GAE."""
    critic_learning_rate: float | None = Field(None, gt=0)
    """ppo. none: 1e-4 for an adapter, 1e-5 for all weights, which is the paper's."""
    critic_warmup_steps: int = Field(0, ge=0)
    """ppo: first steps in which only the critic learns."""
    value_clip: float | None = Field(0.5, gt=0)
    correct_sampler: float | None = Field(2.0, gt=0)
    """Cap of the truncated importance weight that corrects a sampler whose log-probs differ from the trainer's: below
    float32, with a `matmul_precision` below highest, or with top_p or top_k. Otherwise the two agree to 1e-4 and
    nothing is corrected."""


class TrainingConfig(Section):
    steps: int = Field(200, ge=1)
    questions_per_step: int = Field(64, ge=1)
    rollouts: int = Field(5, ge=1)
    """Episodes a question."""
    learning_rate: float | None = Field(None, gt=0)
    """none: 1e-4 for an adapter; 1e-6 for all weights, which is the paper's. An adapter at 1e-6 hardly learns."""
    warmup_steps: int = Field(0, ge=0)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    temperature: float = Field(1.0, gt=0)
    """Of the policy's sampling; the trainer's log-probs use it too."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Of the policy's sampling, with `top_k`: the trainer's distribution is over the tokens that they keep, too."""
    top_k: int = Field(0, ge=0)
    micro_batch_tokens: int = Field(16384, ge=64, json_schema_extra=FREE)
    """Tokens of a forward and backward pass, as computed: a shared prompt once, or pads too."""
    max_batch_rows: int = Field(256, ge=1, json_schema_extra=FREE)
    """Sequences decoded at once."""
    max_batch_tokens: int = Field(262_144, ge=64, json_schema_extra=FREE)
    """Bound on the tokens of the KV cache."""
    merge_adapters: bool | None = None
    """Sample from copies with the adapters merged in: faster on a GPU, more memory. none: on a GPU yes, on a CPU no."""
    max_sampler_gap: float | None = Field(0.5, gt=0, json_schema_extra=FREE)
    """The run stops where sampler and trainer differ by more nats a token, on average over a step: what is sampled is
    then not what is trained. Sound runs have less than .03. none: never."""
    stop_on_collapse: bool = Field(True, json_schema_extra=FREE)
    """The run stops once valid actions have stayed below half of what its first steps had, or hardly an episode is
    answered any more, for three steps in a row. false: it is only said."""
    shard: bool = Field(False, json_schema_extra=FREE)
    """Divide full weights, gradients and the optimizer's state among the processes (FSDP2): for a model that one GPU
    cannot train whole. Each process keeps a whole copy in `model.dtype` to sample from. Not with ppo."""
    checkpoint_every: int = Field(25, ge=0, json_schema_extra=FREE)
    """Steps between checkpoints; 0: only at the end."""
    keep_checkpoints: int = Field(2, ge=1, json_schema_extra=FREE)
    max_minutes: float | None = Field(None, gt=0, json_schema_extra=FREE)
    """Stop with a checkpoint once a step ends after so many minutes; the same command resumes."""


def default_rates(*, full: bool) -> tuple[float, float]:
    """Learning rates of policy and critic: for all weights the paper's, for an adapter higher ones.

    An adapter wants at least ten times the rate of full fine-tuning ("LoRA Without Regret", Schulman et al. 2025,
    https://thinkingmachines.ai/blog/lora/). For the policy it is a hundred times here: of our two runs with
    Qwen2.5-1.5B the one at 1e-4 learned faster than that at 5e-5 (docs/results.md).
    """
    return (1e-6, 1e-5) if full else (1e-4, 1e-4)
