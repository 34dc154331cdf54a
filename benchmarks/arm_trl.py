"""The TRL arm: steps of `GRPOTrainer` on canned rollouts, all but the first measured.

Runs in an environment of its own that has TRL and no zerosearch. The rollouts come in through `rollout_func`, whose
`env_mask` says which tokens are the policy's; TRL is set to the objective that zerosearch has.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from typing import Any

from canned import Rollout, read_rollouts
from metering import Moment, arm_parser, peak_bytes, sketch, wait_for_turn, write_result

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")


def rollout_func(rollouts: list[Rollout]) -> Any:
    """Hands out the canned rollouts: a prompt is the number of its group, repeated once a rollout."""

    def canned(prompts: list[str], trainer: Any) -> dict[str, list[Any]]:
        waiting: dict[str, list[Rollout]] = {}
        for rollout in rollouts:
            waiting.setdefault(str(rollout.group), []).append(rollout)
        chosen = [waiting[prompt].pop(0) for prompt in prompts]
        return {
            "prompt_ids": [r.prompt_ids for r in chosen],
            "completion_ids": [r.completion_ids for r in chosen],
            "logprobs": [r.logprobs for r in chosen],
            "env_mask": [r.mask for r in chosen],
            "canned_reward": [r.reward for r in chosen],
        }

    return canned


def reward(completions: list[str], canned_reward: list[float], **_: Any) -> list[float]:
    return canned_reward


class Watch:
    """The first step's gradients, and what the others cost: from the first forward pass to the end of the optimizer's.

    What comes before the first forward pass (the canned rollouts, their texts, rewards and advantages) is not counted.
    """

    def __init__(self) -> None:
        self.sketch: dict[str, float] = {}
        self.costs: list[dict[str, float]] = []
        self.before = 0
        self.start = Moment.now()

    def gradients(self, model: Any) -> None:
        named = ((n, p) for n, p in model.named_parameters() if p.grad is not None)
        plain = ((n.removeprefix("base_model.model.").replace(".default.", "."), p.grad) for n, p in named)
        self.sketch = sketch(plain)


def callback(watch: Watch) -> Any:
    from transformers import TrainerCallback

    class Callback(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 0:
                watch.before = peak_bytes()

        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 0:
                watch.gradients(kwargs["model"])

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            watch.costs.append(watch.start.until_now())

    return Callback()


def settings(args: argparse.Namespace, folder: str, rows: int, groups: int) -> Any:
    """The objective that zerosearch has, and what makes TRL fast: no checkpointing, bfloat16, Liger's layers."""
    from trl import GRPOConfig

    return GRPOConfig(
        output_dir=folder,
        use_cpu=args.device == "cpu",
        bf16=args.dtype == "bfloat16",
        use_liger_kernel=args.liger,
        gradient_checkpointing=False,  # True is TRL's default
        per_device_train_batch_size=args.batch,
        gradient_accumulation_steps=rows // args.batch,
        num_generations=rows // groups,
        max_completion_length=args.max_completion,
        max_steps=args.steps,
        shuffle_dataset=False,
        learning_rate=args.learning_rate,
        lr_scheduler_type="constant",
        max_grad_norm=1.0,
        beta=args.kl_coef,
        use_bias_correction_kl=False,  # True is TRL's default; zerosearch's k3 in the loss has no ratio
        loss_type="dapo",  # token-mean
        scale_rewards="group",
        logging_steps=1,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        seed=args.seed,
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOTrainer

    if args.wait:
        wait_for_turn()
    rollouts = read_rollouts(args.rollouts)
    groups = sorted({r.group for r in rollouts})
    watch = Watch()

    class Trainer(GRPOTrainer):  # type: ignore[misc]
        def _generate_and_score_completions(self, inputs: Any) -> Any:
            out = super()._generate_and_score_completions(inputs)
            watch.start = Moment.now()
            return out

    peft_config = None
    if args.train == "lora":
        rank, alpha = args.lora_rank, args.lora_alpha
        peft_config = LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=getattr(torch, args.dtype)).to(args.device)
    torch.manual_seed(args.seed)  # the adapter that zerosearch begins with
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=model,
            processing_class=AutoTokenizer.from_pretrained(args.model),
            args=settings(args, folder, len(rollouts), len(groups)),
            reward_funcs=reward,
            train_dataset=Dataset.from_dict({"prompt": [str(g) for g in groups]}),
            rollout_func=rollout_func(rollouts),
            peft_config=peft_config,
            callbacks=[callback(watch)],
        )
        trainer.train()
    logged = [row for row in trainer.state.log_history if "grad_norm" in row]
    return watch.costs[-1] | {
        "step_seconds": [cost["wall_seconds"] for cost in watch.costs],
        "bytes_before": watch.before,
        "threads": torch.get_num_threads(),
        "sketch": watch.sketch,
        "optimizer": str(trainer.args.optim),
        "attention": str(model.config._attn_implementation),
        "steps": [{key: float(row[key]) for key in ("loss", "grad_norm", "kl") if key in row} for row in logged],
    }


def main() -> None:
    parser = arm_parser(__doc__, "sequences of a micro-batch")
    parser.add_argument("--liger", action="store_true", help="the layers of liger-kernel")
    args = parser.parse_args()
    packages = ("torch", "transformers", "trl") + (("peft",) if args.train == "lora" else ())
    write_result(args.out, packages, run(args))


if __name__ == "__main__":
    main()
