"""Records what verl and TRL compute on fixed random inputs, for `tests/learning/test_oracles.py` to compare with.

The tests only read the records, so neither package is a dependency. To record again (each in its own environment,
because the two want different transformers):

    python3.11 -m venv verl-env && verl-env/bin/pip install 'torch==2.13.*' && verl-env/bin/pip install verl==0.9.1
    verl-env/bin/python scripts/record_oracles.py verl

    python3.11 -m venv trl-env && trl-env/bin/pip install 'torch==2.13.*' && trl-env/bin/pip install trl==1.16.0
    trl-env/bin/python scripts/record_oracles.py trl

Every recorded output comes from calling the package's own code; no formula of theirs is typed again here. verl's are
functions (`verl.trainer.ppo.core_algos`). TRL's sit inside its trainers: real `GRPOTrainer`s and `RLOOTrainer`s are
built around a tiny random model, and their `_compute_loss` and `_generate_and_score_completions` are called. In the
former the forward pass is replaced by the recorded log-probs; in the latter the reward function returns the recorded
rewards.

Axis letters: B = trajectories, T = token positions, V = vocabulary. Inputs have four decimals: JSON holds them exactly.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SEED = 20250504
B, T, V = 8, 12, 7
FOLDER = Path(__file__).resolve().parent.parent / "tests" / "learning" / "oracles"


def make_inputs() -> dict[str, Tensor]:
    """Rows with observations inside, a row of one token, equal rewards in group 1 and a wide spread of ratios."""
    random = torch.Generator().manual_seed(SEED)

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return (scale * torch.randn(*shape, generator=random)).mul(1e4).round().div(1e4)

    mask = torch.tensor(
        [
            [1, 1, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1],
            [1, 1, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0],
            [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
            [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            [1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0],
            [1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0],
            [1, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0],
            [1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 0],
        ],
        dtype=torch.float32,
    )
    mask_failed = mask.clone()
    mask_failed[5] = 0
    old = -2 - normal(B, T).abs()
    return {
        "mask": mask,
        "mask_failed": mask_failed,
        "rewards": torch.tensor([0.0, 1.0, 0.4, 0.25, 0.25, 0.25, 0.6667, 0.1]),
        "groups": torch.tensor([0, 0, 0, 1, 1, 1, 2, 2]),
        "groups_with_one": torch.tensor([0, 0, 0, 1, 1, 3, 2, 2]),
        "old_logprobs": old,
        # Wide enough that both sides of the clip, the dual clip (ratio above 3) and no clip all occur.
        "logprobs": (old + normal(B, T, scale=0.7)).mul(1e4).round().div(1e4),
        "ref_logprobs": (old + normal(B, T, scale=0.5)).mul(1e4).round().div(1e4),
        "advantages": normal(B, T),
        "row_advantages": torch.tensor([1.2, -0.8, 0.5, -1.5, 0.9, -0.3, 0.7, -1.1]),
        "token_rewards": normal(B, T, scale=0.3),
        "values": normal(B, T, scale=0.5),
        "new_values": normal(B, T, scale=0.5),
        "returns": normal(B, T),
        "logits": normal(B, V, scale=2.0),
        "ids": torch.randint(V, (B,), generator=random),
    }


def plain(value: Any) -> Any:
    """Tensors and numbers as JSON; eight significant digits, more than float32 has."""
    if isinstance(value, Tensor):
        return plain(value.tolist())
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.8g}")
    return value


class Record:
    """Cases in the order they were recorded: what was called, with which arguments, and what came out."""

    def __init__(self, package: str, version: str) -> None:
        self.content: dict[str, Any] = {
            "package": package,
            "version": version,
            "torch": torch.__version__,
            "seed": SEED,
            "inputs": {name: plain(value) for name, value in make_inputs().items()},
            "cases": [],
        }

    def add(self, function: str, arguments: dict[str, Any], **outputs: Any) -> None:
        outputs = {
            name: plain(value.detach() if isinstance(value, Tensor) else value) for name, value in outputs.items()
        }
        self.content["cases"].append({"function": function, "arguments": arguments, "outputs": outputs})

    def write(self) -> None:
        FOLDER.mkdir(parents=True, exist_ok=True)
        path = FOLDER / f"{self.content['package']}-{self.content['version']}.json"
        cases = ",\n".join(json.dumps(case, separators=(",", ":")) for case in self.content["cases"])
        head = json.dumps(self.content | {"cases": []}, separators=(",", ":"))
        path.write_text(head.replace('"cases":[]', f'"cases":[\n{cases}\n]') + "\n")
        print(f"{path.name}: {len(self.content['cases'])} cases, {path.stat().st_size:,} bytes")


def record_verl() -> None:
    import verl

    record, x = Record("verl", verl.__version__), make_inputs()
    verl_advantages(record, x)
    verl_policy_losses(record, x)
    verl_other_terms(record, x)
    record.write()


def verl_advantages(record: Record, x: dict[str, Tensor]) -> None:
    from verl.trainer.config import AlgoConfig
    from verl.trainer.ppo import core_algos

    mask, per_row = x["mask"], x["rewards"][:, None] * torch.eye(T)[0]  # verl sums token rewards to rewards

    for gamma, lam in [(1.0, 1.0), (0.99, 0.95), (0.9, 0.0)]:
        arguments = {"gamma": gamma, "lam": lam}
        advantages, returns = core_algos.compute_gae_advantage_return(x["token_rewards"], x["values"], mask, gamma, lam)
        # verl whitens inside; its returns are advantages + values before whitening.
        record.add("compute_gae_advantage_return", arguments, whitened=advantages, returns=returns)
    for gamma in [1.0, 0.9]:
        advantages, returns = core_algos.compute_reinforce_plus_plus_outcome_advantage(
            x["token_rewards"], mask, config=AlgoConfig(gamma=gamma)
        )
        arguments = {"gamma": gamma}
        record.add("compute_reinforce_plus_plus_outcome_advantage", arguments, advantages=advantages, returns=returns)
    for groups in ["groups", "groups_with_one"]:
        index = x[groups].numpy()
        for norm in [True, False]:
            out, _ = core_algos.compute_grpo_outcome_advantage(per_row, mask, index, norm_adv_by_std_in_grpo=norm)
            record.add("compute_grpo_outcome_advantage", {"groups": groups, "norm": norm}, advantages=out)
        out, _ = core_algos.compute_rloo_outcome_advantage(per_row, mask, index)
        record.add("compute_rloo_outcome_advantage", {"groups": groups}, advantages=out)
    out = core_algos.compute_rewards(x["token_rewards"], x["logprobs"], x["ref_logprobs"], 0.05)
    record.add("compute_rewards", {"kl_ratio": 0.05}, rewards=out)


MODES = ["token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm"]


def verl_policy_losses(record: Record, x: dict[str, Tensor]) -> None:
    from verl.trainer.ppo import core_algos, rollout_corr_helper
    from verl.workers.config import ActorConfig

    for mask_name in ["mask", "mask_failed"]:
        for mode in MODES:
            out = core_algos.agg_loss(x["advantages"], x[mask_name], mode)
            record.add("agg_loss", {"mask": mask_name, "mode": mode, "max_tokens": T}, loss=out)

    def policy_case(function: str, clip: tuple[float, float, float], mode: str, mask_name: str, tis: bool) -> None:
        low, high, dual = clip
        config = ActorConfig(
            strategy="fsdp",
            rollout_n=1,
            use_dynamic_bsz=True,
            clip_ratio=low,
            clip_ratio_low=low,
            clip_ratio_high=high,
            clip_ratio_c=dual,
        )
        logprobs = x["logprobs"].clone().requires_grad_()
        weights = None
        if tis:
            weights, _ = rollout_corr_helper.compute_rollout_correction_weights(
                x["old_logprobs"] - x["ref_logprobs"], x[mask_name], "token", 1.5
            )
        loss, metrics = getattr(core_algos, function)(
            x["old_logprobs"], logprobs, x["advantages"], x[mask_name], mode, config, weights
        )
        loss.backward()
        arguments = {"low": low, "high": high, "dual": dual, "mode": mode, "mask": mask_name, "tis_cap": tis and 1.5}
        outputs = {name.removeprefix("actor/"): value for name, value in metrics.items()}
        record.add(function, arguments, loss=loss, gradient=logprobs.grad, **outputs)

    vanilla, gspo = "compute_policy_loss_vanilla", "compute_policy_loss_gspo"
    for mode in MODES:
        policy_case(vanilla, (0.2, 0.2, 3.0), mode, "mask", False)
    policy_case(vanilla, (0.2, 0.28, 3.0), "token-mean", "mask", False)
    policy_case(vanilla, (0.2, 0.2, 1.5), "token-mean", "mask", False)
    policy_case(vanilla, (0.2, 0.2, 3.0), "seq-mean-token-mean", "mask_failed", False)
    policy_case(vanilla, (0.2, 0.2, 3.0), "token-mean", "mask", True)
    policy_case(gspo, (0.2, 0.2, 3.0), "seq-mean-token-mean", "mask", False)
    policy_case(gspo, (0.0003, 0.0004, 3.0), "seq-mean-token-mean", "mask", False)


def verl_other_terms(record: Record, x: dict[str, Tensor]) -> None:
    """The critic's loss, the KL, importance weights, whitening and entropy."""
    from verl.trainer.ppo import core_algos, rollout_corr_helper
    from verl.utils import torch_functional

    mask = x["mask"]
    for clip in [0.2, 0.5]:
        for mode in MODES[:2]:
            values = x["new_values"].clone().requires_grad_()
            loss, fraction = core_algos.compute_value_loss(values, x["returns"], x["values"], mask, clip, mode)
            loss.backward()
            arguments = {"clip": clip, "mode": mode}
            record.add("compute_value_loss", arguments, loss=loss, clip_fraction=fraction, gradient=values.grad)
    for estimator in ["k1", "k2", "k3"]:
        logprobs = x["logprobs"].clone().requires_grad_()
        out = core_algos.kl_penalty(logprobs, x["ref_logprobs"], estimator)
        out.sum().backward()
        record.add("kl_penalty", {"estimator": estimator}, kl=out, gradient=logprobs.grad)

    out, _ = rollout_corr_helper.compute_rollout_correction_weights(
        x["logprobs"] - x["old_logprobs"], mask, "token", 1.5
    )
    record.add("compute_rollout_correction_weights", {"cap": 1.5}, weights=out)
    record.add("masked_whiten", {}, whitened=torch_functional.masked_whiten(x["returns"], mask))
    record.add("entropy_from_logits", {}, entropy=torch_functional.entropy_from_logits(x["logits"]))


def record_trl() -> None:
    import trl

    record = Record("trl", trl.__version__)
    with tempfile.TemporaryDirectory() as folder:
        trainer = trl_trainers(folder)
        trl_advantages(record, trainer)
        trl_losses(record, make_inputs(), trainer)
    record.write()


def trl_trainers(folder: str) -> Callable[..., Any]:
    """What builds a trainer around a tiny random model, which is kept in `folder`."""
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<pad>": 0, "<eos>": 1, "<unk>": 2, "a": 3, "b": 4, "c": 5}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", padding_side="left"
    )
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 1, "num_hidden_layers": 1}
    torch.manual_seed(SEED)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=6, bos_token_id=1, eos_token_id=1, pad_token_id=0, **sizes))
    model.save_pretrained(folder)  # because with a KL term the trainers load the reference by name

    def trainer(kind: Any, settings: Any, rewards: list[float | None], group: int, **options: Any) -> Any:
        def reward(prompts: list[str], **_: Any) -> list[float | None]:
            return rewards

        arguments = settings(
            output_dir=folder,
            per_device_train_batch_size=len(rewards),
            num_generations=group,
            max_completion_length=T,
            use_cpu=True,
            report_to=[],
            bf16=False,
            gradient_checkpointing=False,
            **options,
        )
        data = Dataset.from_list([{"prompt": "a b"}] * len(rewards))
        built = kind(model=folder, reward_funcs=reward, args=arguments, train_dataset=data, processing_class=tokenizer)
        built.model.train()
        built.current_gradient_accumulation_steps = 1  # set by the training loop, which does not run here
        return built

    return trainer


def trl_advantages(record: Record, trainer: Callable[..., Any]) -> None:
    from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

    def advantage_case(kind: Any, settings: Any, rewards: list[float | None], group: int, **options: Any) -> None:
        built = trainer(kind, settings, rewards, group, **options)
        out = built._generate_and_score_completions([{"prompt": "a b"}] * len(rewards))["advantages"]
        arguments = {"rewards": rewards, "group_size": group, **options}
        record.add(f"{kind.__name__}._generate_and_score_completions", arguments, advantages=out)

    spread = [0.0, 1.0, 0.4, 0.6667, 0.25, 0.25, 0.25, 0.25]
    # None marks a completion that could not be scored, TRL's counterpart of a trajectory whose search failed.
    failed = [0.0, None, 0.4, 0.6667, None, 0.5, None, None]
    for rewards in [spread, failed]:
        for scale in ["group", "batch", "none"]:
            advantage_case(GRPOTrainer, GRPOConfig, rewards, 4, scale_rewards=scale)
        advantage_case(RLOOTrainer, RLOOConfig, rewards, 4, normalize_advantages=False, beta=0.0)


def trl_losses(record: Record, x: dict[str, Tensor], trainer: Callable[..., Any]) -> None:
    from trl import GRPOConfig, GRPOTrainer

    def loss_case(mask: Tensor, **options: Any) -> None:
        built = trainer(GRPOTrainer, GRPOConfig, [0.0] * B, B, **options)
        logprobs = x["logprobs"].clone().requires_grad_()
        built._get_per_token_logps_and_entropies = lambda *_, **__: (logprobs, torch.zeros(B, T), None)
        inputs = {
            "prompt_ids": torch.full((B, 2), 3),
            "prompt_mask": torch.ones(B, 2),
            "completion_ids": torch.full((B, T), 3),
            "completion_mask": torch.ones(B, T),
            "tool_mask": mask,
            "advantages": x["row_advantages"],
            "old_per_token_logps": x["old_logprobs"],
            "ref_per_token_logps": x["ref_logprobs"],
            "num_items_in_batch": mask.sum(),
        }
        loss = built._compute_loss(built.model, inputs)
        loss.backward()
        metrics = built._metrics["train"]
        outputs = {"loss": loss, "gradient": logprobs.grad, "clip_fraction": metrics["clip_ratio/region_mean"][0]}
        if options["beta"]:
            outputs["kl"] = metrics["kl"][0]
        record.add("GRPOTrainer._compute_loss", {"max_tokens": T, **options}, **outputs)

    for loss_type in ["grpo", "bnpo", "dr_grpo", "dapo"]:
        loss_case(x["mask"], loss_type=loss_type, beta=0.0)
    loss_case(x["mask"], loss_type="dapo", beta=0.0, epsilon=0.2, epsilon_high=0.28)
    loss_case(x["mask"], loss_type="dapo", beta=0.0, delta=1.5)
    loss_case(x["mask"], loss_type="grpo", beta=0.04, use_bias_correction_kl=False)
    loss_case(x["mask"], loss_type="grpo", beta=0.0, importance_sampling_level="sequence")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Record verl's or TRL's results for tests/learning/test_oracles.py.")
    parser.add_argument("package", choices=["verl", "trl"])
    {"verl": record_verl, "trl": record_trl}[parser.parse_args().package]()
