"""Advantages and losses equal verl's and TRL's on fixed random inputs. `scripts/record_oracles.py` made the records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from zerosearch.learning.advantages import (
    Scale,
    gae,
    grpo_advantages,
    reinforce_advantages,
    returns_to_go,
    spread,
    token_rewards,
    whiten,
)
from zerosearch.learning.losses import (
    Clip,
    PolicyLoss,
    entropy_from_logits,
    kl_estimate,
    policy_loss,
    token_weights,
    truncated_importance_weights,
    value_loss,
    weighted_sum,
)

FOLDER = Path(__file__).parent / "oracles"
VERL = json.loads((FOLDER / "verl-0.9.1.json").read_text())
TRL = json.loads((FOLDER / "trl-1.16.0.json").read_text())
TRL_AGGREGATION = {
    "grpo": "seq-mean-token-mean",
    "bnpo": "token-mean",
    "dapo": "token-mean",
    "dr_grpo": "seq-mean-token-sum-norm",
}

Case = dict[str, Any]


def cases(record: dict[str, Any], function: str) -> Any:
    """The recorded calls of one function, as test parameters."""
    found = [case for case in record["cases"] if case["function"] == function]
    assert found, f"{record['package']} has no record of {function}"
    name = record["package"]
    return pytest.mark.parametrize(
        "case", found, ids=[name + " " + " ".join(map(str, c["arguments"].values())) for c in found]
    )


def inputs(record: dict[str, Any]) -> dict[str, Tensor]:
    return {name: torch.tensor(value) for name, value in record["inputs"].items()}


def same(actual: Tensor, recorded: Any) -> None:
    torch.testing.assert_close(actual.detach(), torch.tensor(recorded), rtol=1e-5, atol=1e-5)


X = inputs(VERL)
MASK = X["mask"]


def test_both_packages_were_recorded_on_the_same_inputs() -> None:
    assert VERL["inputs"] == TRL["inputs"]


@cases(VERL, "compute_gae_advantage_return")
def test_gae(case: Case) -> None:
    advantages, returns = gae(X["token_rewards"], X["values"], MASK, **case["arguments"])
    recorded_returns = torch.tensor(case["outputs"]["returns"])
    same(returns, (recorded_returns * MASK).tolist())
    same(advantages, ((recorded_returns - X["values"]) * MASK).tolist())
    same(whiten(advantages, MASK), (torch.tensor(case["outputs"]["whitened"]) * MASK).tolist())


@cases(VERL, "compute_reinforce_plus_plus_outcome_advantage")
def test_reinforce_plus_plus(case: Case) -> None:
    returns = returns_to_go(X["token_rewards"], MASK, **case["arguments"])
    same(returns, case["outputs"]["returns"])
    same(whiten(returns, MASK), case["outputs"]["advantages"])


@cases(VERL, "compute_grpo_outcome_advantage")
def test_verl_grpo(case: Case) -> None:
    scale: Scale = "group" if case["arguments"]["norm"] else "none"
    advantages = grpo_advantages(X["rewards"], X[case["arguments"]["groups"]], scale, eps=1e-6)
    compare_with_verl_groups(advantages, case)


@cases(VERL, "compute_rloo_outcome_advantage")
def test_verl_rloo(case: Case) -> None:
    compare_with_verl_groups(reinforce_advantages(X["rewards"], X[case["arguments"]["groups"]], "group"), case)


def compare_with_verl_groups(advantages: Tensor, case: Case) -> None:
    recorded = torch.tensor(case["outputs"]["advantages"])
    if case["arguments"]["groups"] == "groups_with_one":
        # The one difference, on purpose: verl leaves the bare reward to a row alone in its group (row 5), we give it 0.
        same(recorded[5], (X["rewards"][5] * MASK[5]).tolist())
        assert advantages[5] == 0
        recorded[5] = 0
    same(spread(advantages, MASK), recorded.tolist())


@cases(VERL, "compute_rewards")
def test_token_rewards_with_kl(case: Case) -> None:
    kl = kl_estimate(X["logprobs"], X["ref_logprobs"], "k1")
    penalties = token_rewards(torch.zeros(len(MASK)), MASK, kl, case["arguments"]["kl_ratio"])
    same(penalties + X["token_rewards"] * MASK, (torch.tensor(case["outputs"]["rewards"]) * MASK).tolist())


@cases(VERL, "agg_loss")
def test_aggregation(case: Case) -> None:
    arguments = case["arguments"]
    weights = token_weights(X[arguments["mask"]], arguments["mode"], arguments["max_tokens"])
    same(weighted_sum(X["advantages"], weights), case["outputs"]["loss"])


def run_policy_loss(case: Case, ratio_level: Any, dual_clip: float | None) -> tuple[PolicyLoss, Tensor]:
    arguments = case["arguments"]
    mask = X[arguments["mask"]]
    weights = token_weights(mask, arguments["mode"], MASK.shape[1])
    if arguments["tis_cap"]:
        cap = arguments["tis_cap"]
        weights = weights * truncated_importance_weights(X["old_logprobs"], X["ref_logprobs"], mask, cap)
    logprobs = X["logprobs"].clone().requires_grad_()
    low, high = arguments["low"], arguments["high"]
    clip = Clip(low, high, dual_clip, ratio_level)
    result = policy_loss(logprobs, X["old_logprobs"], X["advantages"], mask, weights, clip)
    result.loss.backward()
    assert logprobs.grad is not None
    return result, logprobs.grad


@cases(VERL, "compute_policy_loss_vanilla")
def test_verl_policy_loss(case: Case) -> None:
    result, gradient = run_policy_loss(case, "token", case["arguments"]["dual"])
    same(result.loss, case["outputs"]["loss"])
    same(gradient, case["outputs"]["gradient"])
    same(result.clip_fraction, case["outputs"]["pg_clipfrac"])
    same(result.approx_kl, case["outputs"]["ppo_kl"])


@cases(VERL, "compute_policy_loss_gspo")
def test_verl_sequence_ratio(case: Case) -> None:
    result, gradient = run_policy_loss(case, "sequence", None)
    same(result.loss, case["outputs"]["loss"])
    same(gradient, case["outputs"]["gradient"])
    same(result.clip_fraction, case["outputs"]["pg_clipfrac"])
    same(result.approx_kl, case["outputs"]["ppo_kl"])


@cases(VERL, "compute_value_loss")
def test_value_loss(case: Case) -> None:
    values = X["new_values"].clone().requires_grad_()
    weights = token_weights(MASK, case["arguments"]["mode"])
    loss = value_loss(values, X["values"], X["returns"], weights, case["arguments"]["clip"])
    loss.backward()  # type: ignore[no-untyped-call]
    same(loss, case["outputs"]["loss"])
    assert values.grad is not None
    same(values.grad, case["outputs"]["gradient"])


@cases(VERL, "kl_penalty")
def test_verl_kl(case: Case) -> None:
    logprobs = X["logprobs"].clone().requires_grad_()
    kl = kl_estimate(logprobs, X["ref_logprobs"], case["arguments"]["estimator"])
    kl.sum().backward()
    same(kl, case["outputs"]["kl"])
    assert logprobs.grad is not None
    same(logprobs.grad, case["outputs"]["gradient"])


@cases(VERL, "compute_rollout_correction_weights")
def test_truncated_importance_weights(case: Case) -> None:
    weights = truncated_importance_weights(X["logprobs"], X["old_logprobs"], MASK, case["arguments"]["cap"])
    same(weights, case["outputs"]["weights"])


@cases(VERL, "masked_whiten")
def test_whiten(case: Case) -> None:
    same(whiten(X["returns"], MASK), (torch.tensor(case["outputs"]["whitened"]) * MASK).tolist())


@cases(VERL, "entropy_from_logits")
def test_entropy(case: Case) -> None:
    same(entropy_from_logits(X["logits"]), case["outputs"]["entropy"])


def trl_rewards(case: Case) -> tuple[Tensor, Tensor, Tensor]:
    """Rewards, groups and validity of a recorded call; TRL's None is our trajectory whose search failed."""
    rewards = case["arguments"]["rewards"]
    groups = torch.arange(len(rewards)) // case["arguments"]["group_size"]
    return torch.tensor([r or 0.0 for r in rewards]), groups, torch.tensor([r is not None for r in rewards])


@cases(TRL, "GRPOTrainer._generate_and_score_completions")
def test_trl_grpo_advantages(case: Case) -> None:
    rewards, groups, valid = trl_rewards(case)
    advantages = grpo_advantages(rewards, groups, case["arguments"]["scale_rewards"], valid, eps=1e-4)
    same(advantages, case["outputs"]["advantages"])


@cases(TRL, "RLOOTrainer._generate_and_score_completions")
def test_trl_rloo_advantages(case: Case) -> None:
    rewards, groups, valid = trl_rewards(case)
    same(reinforce_advantages(rewards, groups, "group", valid), case["outputs"]["advantages"])


@cases(TRL, "GRPOTrainer._compute_loss")
def test_trl_loss(case: Case) -> None:
    arguments = case["arguments"]
    weights = token_weights(MASK, TRL_AGGREGATION[arguments["loss_type"]], arguments["max_tokens"])  # type: ignore[arg-type]
    logprobs = X["logprobs"].clone().requires_grad_()
    result = policy_loss(
        logprobs,
        X["old_logprobs"],
        spread(X["row_advantages"], MASK),
        MASK,
        weights,
        Clip(
            high=arguments.get("epsilon_high", 0.2),
            dual=arguments.get("delta"),
            level=arguments.get("importance_sampling_level", "token"),
        ),
    )
    loss = result.loss
    if arguments["beta"]:
        kl = kl_estimate(logprobs, X["ref_logprobs"], "k3")
        loss = loss + arguments["beta"] * weighted_sum(kl, weights)
        same(weighted_sum(kl, token_weights(MASK, "token-mean")), case["outputs"]["kl"])
    loss.backward()
    same(loss, case["outputs"]["loss"])
    assert logprobs.grad is not None
    same(logprobs.grad, case["outputs"]["gradient"])
    if "importance_sampling_level" not in arguments:  # there TRL counts rows, and we count tokens
        same(result.clip_fraction, case["outputs"]["clip_fraction"])
