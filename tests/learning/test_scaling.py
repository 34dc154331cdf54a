"""Training beside weights in float16: gradients that it cannot hold unscaled, overflows, and what a resume needs."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from learning.toy import ToyEngine, adapter_formats, toy_config, toy_model, toy_questions
from tiny import give_adapter
from torch import Tensor

from zerosearch.episodes.examples import Example
from zerosearch.episodes.rollout import ErrorRate, roll_out
from zerosearch.episodes.trajectory import Trajectory, tries
from zerosearch.learning.batches import Sequences, micro_batches
from zerosearch.learning.checkpoints import list_checkpoints, load_checkpoint, save_checkpoint
from zerosearch.learning.critic import Critic
from zerosearch.learning.learner import Learner
from zerosearch.learning.logprobs import Sampled
from zerosearch.learning.policy import POLICY, Policy
from zerosearch.learning.scaling import FIRST, GROWS_AFTER, LARGEST, LossScale, NotFinite, descend
from zerosearch.learning.sft import SFTSettings, train_sft
from zerosearch.models.local import LocalModel
from zerosearch.models.worker import TransformersGenerator, Worker
from zerosearch.playing import rollout_settings

HALF, FULL = torch.float16, torch.float32
TOO_LARGE = 2.0**22  # for the losses of these episodes
(MICRO,) = micro_batches(Sequences([[i % 10 for i in range(1, 30)]], [[0] * 9 + [1] * 20]), 10**6)


def policy_of(dtype: torch.dtype) -> Policy:
    """An adapter that changes the toy, whose weights lie on float16's grid whatever their format."""
    model = toy_model()
    model.base.half().to(dtype)
    give_adapter(model, POLICY, scale=1.0)
    policy = Policy(model)
    policy.train_mode()
    return policy


def stepped(policy: Policy, weight: float, scale: LossScale) -> tuple[dict[str, Tensor], list[float]]:
    """The gradient by which `descend` moves the adapter, over `weight`; and the scales that were tried."""
    tried = []

    def losses() -> Iterator[Tensor]:
        tried.append(scale.value)
        yield -weight * policy.logprobs(MICRO, Sampled()).logprobs_N.sum()

    before = policy.state()
    descent = torch.optim.SGD(policy.parameters().values(), lr=1 / weight)
    descend(descent, losses, scale, max_norm=math.inf, what="toy")
    return {key: before[key] - value for key, value in policy.state().items()}, tried


def apart(left: dict[str, Tensor], right: dict[str, Tensor]) -> float:
    """The difference's norm, relative to the second."""
    squares = [(float((left[key] - right[key]).square().sum()), float(right[key].square().sum())) for key in right]
    return math.sqrt(sum(d for d, _ in squares) / sum(s for _, s in squares))


def test_gradients_that_float16_cannot_hold_are_float32s_to_two_percent() -> None:
    scale = LossScale(HALF)
    scale.value = TOO_LARGE  # and not for this loss
    wanted, _ = stepped(policy_of(FULL), 1e-8, LossScale(FULL))
    unscaled, _ = stepped(policy_of(HALF), 1e-8, LossScale(FULL))
    found, tried = stepped(policy_of(HALF), 1e-8, scale)
    assert tried == [TOO_LARGE]
    assert apart(found, wanted) < 0.02
    assert not any(value.any() for value in unscaled.values()), "nothing was lost: the test tells nothing"


def test_an_overflow_halves_the_scale_and_loses_no_step() -> None:
    scale = LossScale(HALF)
    scale.value = LARGEST
    found, tried = stepped(policy_of(HALF), 1.0, scale)
    assert len(tried) > 1
    assert tried == [LARGEST / 2**i for i in range(len(tried))]
    assert scale.value == tried[-1] < LARGEST
    assert apart(found, stepped(policy_of(FULL), 1.0, LossScale(FULL))[0]) < 0.02


@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_what_is_no_overflow_ends_the_run_and_leaves_the_weights(kind: str) -> None:
    policy, scale = policy_of(HALF), LossScale(HALF)
    parameter = policy.parameters()[next(iter(policy.parameters()))]
    before, tries = policy.state(), 0

    def losses() -> Iterator[Tensor]:
        nonlocal tries
        tries += 1
        yield parameter.sum() * math.nan if kind == "loss" else (parameter.sum() * 0).sqrt()

    optimizer = torch.optim.SGD(policy.parameters().values(), lr=1.0)
    with pytest.raises(NotFinite, match=r"^toy: the loss is (nan|0.0) and its gradient's norm nan.*float16") as caught:
        descend(optimizer, losses, scale, max_norm=1.0, what="toy")
    assert "\n" not in str(caught.value)
    assert tries == (1 if kind == "loss" else 1 + math.log2(FIRST))
    assert all(torch.equal(value, before[key]) for key, value in policy.state().items())


def test_the_scale_grows_back_to_a_bound_and_is_1_outside_of_float16() -> None:
    scale = LossScale(HALF)
    assert scale.lower()
    for _ in range(GROWS_AFTER):
        assert scale.value == FIRST / 2
        scale.stepped()
    assert scale.value == FIRST
    for _ in range(20 * GROWS_AFTER):
        scale.stepped()
    assert scale.value == LARGEST
    for dtype in (FULL, torch.bfloat16):
        scale = LossScale(dtype)
        for _ in range(2 * GROWS_AFTER):
            scale.stepped()
        assert scale.value == 1
        assert not scale.lower()


def learner_of(dtype: torch.dtype, kind: str = "grpo") -> Learner:
    settings = toy_config(Path("unused"), {"name": kind, "kl": "none"}, steps=4)
    model = toy_model()
    model.base.half().to(dtype)
    policy = Policy.lora(model, None, rank=4, alpha=8.0)
    critic = Critic.lora(model, rank=4, alpha=8.0) if kind == "ppo" else None
    return Learner(policy, critic, settings)


def episodes(model: LocalModel) -> list[Trajectory]:
    """What the policy says, with a reward that differs within each group."""
    playing = rollout_settings(toy_config(Path("unused"), {"name": "grpo"}, steps=1), model, temperature=1.0, top_k=1)
    generator = TransformersGenerator(Worker(model), POLICY)
    played = asyncio.run(roll_out(tries(toy_questions(4), 4), generator, ToyEngine(), playing, ErrorRate()))
    return [replace(t, reward=float(t.rollout)) for t in played]


@pytest.mark.parametrize("kind", ["grpo", "ppo"])
def test_a_step_done_again_is_told_of_once(kind: str) -> None:
    """And adapters compute in float16, as their base does."""
    told = []
    for start in (FIRST, TOO_LARGE):
        made = learner_of(HALF, kind)
        seen = adapter_formats(made.policy.model, POLICY)
        rows = episodes(made.policy.model)
        seen.clear()
        made.scale.value = made.critic_scale.value = start
        told.append(made.update(rows, 0))
        assert seen == {HALF}
        assert told[-1]["loss_scale"] == made.scale.value < TOO_LARGE
        assert {p.dtype for p in made.policy.parameters().values()} == {FULL}
    for key in ("loss", "grad_norm", "entropy", "ratio_mean", *(("critic_loss",) if kind == "ppo" else ())):
        assert told[1][key] == pytest.approx(told[0][key], rel=1e-2, abs=1e-4), key
    made = learner_of(FULL)
    assert "loss_scale" not in made.update(episodes(made.policy.model), 0)


def test_a_resumed_run_goes_on_with_the_same_scale_and_numbers(tmp_path: Path) -> None:
    settings = toy_config(tmp_path, {"name": "ppo", "kl": "none"}, steps=4)
    through = learner_of(HALF, "ppo")
    through.scale.value = through.critic_scale.value = TOO_LARGE
    rows = episodes(through.policy.model)
    for step in range(2):
        through.update(rows, step)
    save_checkpoint(tmp_path, 2, through, settings, keep=1)
    resumed = learner_of(HALF, "ppo")
    load_checkpoint(list_checkpoints(tmp_path)[0], resumed, settings)
    told = [made.update(rows, 2) for made in (through, resumed)]
    assert told[0] == told[1]
    assert resumed.scale.state() == through.scale.state() != LossScale(HALF).state()
    assert resumed.critic_scale.state() == through.critic_scale.state() != LossScale(HALF).state()
    assert all(torch.equal(value, through.policy.state()[key]) for key, value in resumed.policy.state().items())


def test_supervised_training_learns_in_float16_too() -> None:
    losses = {}
    for dtype in (FULL, HALF):
        told: list[float] = []
        examples = [Example([i % 4 + 6] * 8, [0, 0] + [1] * 6, key=str(i)) for i in range(12)]
        settings = SFTSettings(epochs=8, batch_size=4, learning_rate=2e-2, validation_share=0.2, evaluations=1)
        train_sft(policy_of(dtype), examples, settings, lambda row, told=told: told.append(row["loss"]))  # type: ignore[misc]
        losses[dtype] = told
    assert losses[HALF] == pytest.approx(losses[FULL], rel=0.05, abs=0.01)
    assert losses[HALF][-1] < losses[HALF][0] - 0.1
