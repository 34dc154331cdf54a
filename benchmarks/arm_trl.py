"""The TRL arm: two steps of `GRPOTrainer` on canned rollouts, the second one measured. Started by `training_step.py`.

Runs in an environment of its own that has TRL and no zerosearch. The rollouts come in through `rollout_func`, whose
`env_mask` says which tokens are the policy's; TRL is set to the objective that zerosearch has.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from typing import Any

from canned import Rollout, read_rollouts
from metering import Moment, arm_parser, peak_bytes, sketch, write_result

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


def run(args: argparse.Namespace) -> dict[str, Any]:
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    class Watch(TrainerCallback):
        """Keeps the first step's gradients, and what the second one cost up to the end of the optimizer's step."""

        def __init__(self) -> None:
            self.sketch: dict[str, float] = {}
            self.cost: dict[str, float] = {}
            self.before = 0
            self.start = Moment.now()

        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 0:
                self.before = peak_bytes()
            self.start = Moment.now()

        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 0:
                named = ((n, p) for n, p in kwargs["model"].named_parameters() if p.grad is not None)
                plain = ((n.removeprefix("base_model.model.").replace(".default.", "."), p.grad) for n, p in named)
                self.sketch = sketch(plain)

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.cost = self.start.until_now()

    rollouts = read_rollouts(args.rollouts)
    groups = sorted({r.group for r in rollouts})
    watch = Watch()
    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            output_dir=folder,
            use_cpu=True,
            bf16=False,  # True is TRL's default
            gradient_checkpointing=False,  # True is TRL's default
            per_device_train_batch_size=args.batch,
            gradient_accumulation_steps=len(rollouts) // args.batch,
            num_generations=len(rollouts) // len(groups),
            max_completion_length=args.max_completion,
            max_steps=2,
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
        peft_config = None
        if args.train == "lora":
            from peft import LoraConfig

            peft_config = LoraConfig(
                r=args.lora_rank, lora_alpha=args.lora_alpha, target_modules="all-linear", task_type="CAUSAL_LM"
            )
        trainer = GRPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32),
            processing_class=AutoTokenizer.from_pretrained(args.model),
            args=config,
            reward_funcs=reward,
            train_dataset=Dataset.from_dict({"prompt": [str(g) for g in groups]}),
            rollout_func=rollout_func(rollouts),
            peft_config=peft_config,
            callbacks=[watch],
        )
        trainer.train()
    logged = [row for row in trainer.state.log_history if "grad_norm" in row]
    return watch.cost | {
        "bytes_before": watch.before,
        "threads": torch.get_num_threads(),
        "sketch": watch.sketch,
        "optimizer": str(config.optim),
        "steps": [{key: float(row[key]) for key in ("loss", "grad_norm", "kl") if key in row} for row in logged],
    }


def main() -> None:
    args = arm_parser(__doc__, "sequences of a micro-batch").parse_args()
    packages = ("torch", "transformers", "trl") + (("peft",) if args.train == "lora" else ())
    write_result(args.out, packages, run(args))


if __name__ == "__main__":
    main()
