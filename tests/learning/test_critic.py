"""The critic: what a value may know, where it starts, and what goes into a checkpoint."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from learning.toy import adapter_formats, toy_model
from tiny import tiny_local_model

from zerosearch.learning.batches import MicroBatch
from zerosearch.learning.critic import CRITIC, Critic
from zerosearch.learning.logprobs import Sampled
from zerosearch.learning.policy import Policy
from zerosearch.models.local import LocalModel

IDS = torch.tensor([[3, 7, 1, 8, 2, 9, 4, 6, 5, 7]])
MASK = torch.tensor([[0, 0, 0, 1, 1, 0, 0, 1, 0, 1]])
BATCH = MicroBatch((0,), IDS, MASK)


def critic(kind: str, model: LocalModel | None = None) -> Critic:
    """Of a toy, with a head that is not 0."""
    model = model or toy_model()
    made = Critic.full_weights(model) if kind == "full" else Critic.lora(model, rank=4, alpha=8.0)
    with torch.no_grad():
        made.head.weight.copy_(torch.randn(made.head.weight.shape, generator=torch.Generator().manual_seed(3)))
    return made


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_the_first_values_are_0(kind: str) -> None:
    model = toy_model()
    made = Critic.full_weights(model) if kind == "full" else Critic.lora(model, rank=4, alpha=8.0)
    made.train_mode()
    assert torch.equal(made.values(BATCH), torch.zeros(4))


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_a_value_knows_what_was_written_before_its_token_and_nothing_more(kind: str) -> None:
    made = critic(kind)
    made.train_mode()
    before = made.values(BATCH)
    assert len(before) == int(MASK.sum())
    for number, position in enumerate(MASK[0].nonzero().flatten().tolist()):
        own, earlier = IDS.clone(), IDS.clone()
        own[0, position:] = 1  # the token itself and all that follow
        earlier[0, position - 1] = (earlier[0, position - 1] + 1) % 10
        assert made.values(MicroBatch((0,), own, MASK))[number] == before[number]
        assert made.values(MicroBatch((0,), earlier, MASK))[number] != before[number]


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_body_and_head_both_learn(kind: str) -> None:
    made = critic(kind)
    made.train_mode()
    made.values(BATCH).square().sum().backward()  # type: ignore[no-untyped-call]
    learning = {key for key, p in made.parameters().items() if p.grad is not None and bool(p.grad.any())}
    assert {"head.weight", "head.bias"} < learning
    assert any("lora_B" in key if kind == "lora" else "layers.0" in key for key in learning)


def test_on_one_base_policy_and_critic_have_adapters_of_their_own(tiny_tokenizer: Any) -> None:
    model = tiny_local_model(tiny_tokenizer)
    policy = Policy.lora(model, None, rank=4, alpha=8.0)
    made = critic("lora", model)
    assert not set(policy.parameters()) & set(made.parameters())
    made.train_mode()
    made.values(BATCH).sum().backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is None for p in policy.parameters().values())
    assert any(p.grad is not None and bool(p.grad.any()) for p in model.adapter_parameters(CRITIC).values())
    policy.train_mode()
    policy.logprobs(BATCH, Sampled()).logprobs_N.sum().backward()  # type: ignore[no-untyped-call]
    assert any(p.grad is not None for p in policy.parameters().values())


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_a_state_brings_the_values_back(kind: str) -> None:
    made = critic(kind)
    with torch.no_grad():
        for parameter in made.parameters().values():
            parameter.add_(0.01)
    made.train_mode()
    values, state = made.values(BATCH), made.state()
    other = critic(kind, toy_model(0))
    other.train_mode()
    assert not torch.equal(other.values(BATCH), values)
    other.load_state(state)
    assert torch.equal(other.values(BATCH), values)


def test_beside_a_bfloat16_base_a_critic_computes_in_bfloat16_with_a_head_in_float32() -> None:
    model = toy_model()
    model.base.to(torch.bfloat16)
    made = critic("lora", model)
    seen = adapter_formats(model, CRITIC)
    made.train_mode()
    values = made.values(BATCH)
    values.sum().backward()  # type: ignore[no-untyped-call]
    assert seen == {torch.bfloat16}
    assert values.dtype == torch.float32
    assert {p.grad.dtype for p in made.parameters().values() if p.grad is not None} == {torch.float32}
