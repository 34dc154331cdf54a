"""The zerosearch arm: `Learner.update`s on canned rollouts, all but the first measured."""

from __future__ import annotations

import argparse
from typing import Any

from canned import Rollout, read_rollouts
from metering import Moment, arm_parser, peak_bytes, sketch, wait_for_turn, write_result

from zerosearch.process.runtime import prepare


def build(args: argparse.Namespace) -> Any:
    """A learner as a run would have it, with GRPO; the rollouts are taken as sampled by these very weights."""
    import torch

    from zerosearch.config import TrainConfig
    from zerosearch.learning.learner import Learner
    from zerosearch.learning.policy import Policy
    from zerosearch.models.local import LocalModel

    model = LocalModel.load(args.model, dtype=args.dtype, device=args.device)
    if args.train == "lora":
        torch.manual_seed(args.seed)
        policy = Policy.lora(model, None, rank=args.lora_rank, alpha=args.lora_alpha)
    else:
        reference = LocalModel.load(args.model, dtype=args.dtype, device=args.device) if args.kl_coef else None
        policy = Policy.full_weights(model, reference)
    config = TrainConfig.model_validate(
        {
            "seed": args.seed,
            "protocol": {"max_searches": 0, "max_turn_tokens": args.max_completion},
            "algorithm": {
                "name": "grpo",
                "kl": "loss" if args.kl_coef else "none",
                "kl_coef": args.kl_coef,
                "correct_sampler": None,
            },
            "training": {"learning_rate": args.learning_rate, "micro_batch_tokens": args.batch},
        }
    )
    return Learner(policy, None, config)


def trajectory(rollout: Rollout) -> Any:
    from zerosearch.episodes.questions import Question
    from zerosearch.episodes.scoring import Scores
    from zerosearch.episodes.trajectory import Trajectory

    start = len(rollout.prompt_ids)
    return Trajectory(
        question=Question(f"q{rollout.group}", "canned", ("canned",)),
        ids=tuple(rollout.prompt_ids + rollout.completion_ids),
        mask=(0,) * start + tuple(rollout.mask),
        logprobs=(0.0,) * start + tuple(rollout.logprobs),
        prompt_length=start,
        turns=(),
        searches=(),
        answer=None,
        scores=Scores(em=0.0, f1=rollout.reward, cover_em=0.0, format=1.0),
        reward=rollout.reward,
        stop_reason="answer",
        group=rollout.group,
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    import torch

    import zerosearch.learning.learner
    import zerosearch.models.local  # noqa: F401  as above: what takes long to import

    if args.wait:
        wait_for_turn()
    learner = build(args)
    trajectories = [trajectory(r) for r in read_rollouts(args.rollouts)]
    gradients: dict[str, float] = {}

    def keep(*_: Any) -> None:
        named = learner.policy.parameters().items()
        gradients.update(sketch((name.replace(".policy.", "."), p.grad) for name, p in named if p.grad is not None))

    handle = learner.optimizer.register_step_pre_hook(keep)
    before = peak_bytes()
    metrics, costs = [], []
    for step in range(args.steps):
        start = Moment.now()
        metrics.append(learner.update(trajectories, step))
        costs.append(start.until_now())
        handle.remove()
    return costs[-1] | {
        "step_seconds": [cost["wall_seconds"] for cost in costs],
        "bytes_before": before,
        "threads": torch.get_num_threads(),
        "sketch": gradients,
        "steps": [{key: step[key] for key in ("loss", "grad_norm", "kl") if key in step} for step in metrics],
        "sampler_gap_max": metrics[0]["sampler_gap_max"],
    }


def main() -> None:
    args = arm_parser(__doc__, "padded tokens of a micro-batch").parse_args()
    prepare()  # the malloc setting of it stands back where the environment has one
    write_result(args.out, ("torch", "transformers", "peft"), run(args))


if __name__ == "__main__":
    main()
