"""Policy and reference: who is frozen, what the first KL is, and what is saved."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from learning.toy import ToyEngine, adapter_formats, toy_config, toy_model, toy_questions
from tiny import give_adapter, tiny_local_model
from torch import Tensor

from zerosearch.episodes.generation import Sampling
from zerosearch.episodes.rollout import ErrorRate, roll_out
from zerosearch.episodes.trajectory import Trajectory, tries
from zerosearch.learning.batches import MicroBatch, Sequences, micro_batches
from zerosearch.learning.critic import Critic
from zerosearch.learning.learner import Learner
from zerosearch.learning.logprobs import Sampled
from zerosearch.learning.policy import POLICY, Policy
from zerosearch.models.local import LocalModel
from zerosearch.models.worker import TransformersGenerator, Worker
from zerosearch.playing import rollout_settings


def one_batch(model: LocalModel) -> MicroBatch:
    top = len(model.tokenizer)
    ids = [[i * 7 % top for i in range(1, 30)], [i * 5 % top for i in range(3, 15)]]
    mask = [[0] * 9 + [1] * 8 + [0] * 5 + [1] * 7, [0] * 4 + [1] * 8]
    (micro,) = micro_batches(Sequences(ids, mask), 10**6)
    return micro


def make(model: LocalModel, start: Path | None, kind: str = "grpo", **algorithm: Any) -> Learner:
    """A learner of a LoRA policy, with a critic on the same base where PPO needs one."""
    settings = toy_config(Path("unused"), {"name": kind, "kl_coef": 0.1, **algorithm}, steps=4)
    policy = Policy.lora(model, start, rank=4, alpha=8.0)
    critic = Critic.lora(model, rank=4, alpha=8.0) if kind == "ppo" else None
    return Learner(policy, critic, settings)


def episodes(model: LocalModel, adapter: str | None) -> list[Trajectory]:
    """What the policy says, with a reward that differs within each group."""
    settings = toy_config(Path("unused"), {"name": "grpo"}, steps=1)
    generator = TransformersGenerator(Worker(model), adapter)
    played = asyncio.run(
        roll_out(
            tries(toy_questions(4), 4),
            generator,
            ToyEngine(),
            rollout_settings(settings, model, temperature=1.0, top_k=1),
            ErrorRate(),
        )
    )
    return [replace(t, reward=float(t.rollout)) for t in played]


def everything(model: LocalModel) -> dict[str, Tensor]:
    return {key: value.detach().clone() for key, value in model.base.named_parameters()}


def changed(before: dict[str, Tensor], model: LocalModel) -> set[str]:
    return {key for key, value in model.base.named_parameters() if not torch.equal(value, before[key])}


@pytest.fixture
def adapter_folder(tmp_path: Path) -> Path:
    """An adapter that changes the toy."""
    model = toy_model()
    give_adapter(model, "trained", scale=1.0)
    model.save_adapter("trained", tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.mark.parametrize("start", ["new", "adapter"])
@pytest.mark.parametrize("kl", [("loss", "k2"), ("loss", "k3"), ("reward", "k1")])
def test_before_the_first_step_policy_and_reference_are_one_to_the_last_bit(
    start: str, kl: tuple[str, str], adapter_folder: Path
) -> None:
    model = toy_model()
    bare = toy_model()
    source = adapter_folder if start == "adapter" else None
    made = make(model, source, kl=kl[0], kl_estimator=kl[1])
    micro = one_batch(model)
    made.policy.train_mode()
    with torch.no_grad():
        own = made.policy.logprobs(micro, Sampled()).logprobs_N
        base = Policy.full_weights(bare, bare).reference_logprobs(micro, 1.0)
    assert torch.equal(made.policy.reference_logprobs(micro, 1.0), own)
    assert torch.equal(own, base) == (source is None)  # a start adapter really says something else
    found = made.update(episodes(model, POLICY), 0)["kl"]
    # in the reward it is measured with the sampler's log-probs, which differ from the trainer's in the last bits
    assert found == 0.0 if kl[0] == "loss" else abs(found) < 1e-6


@pytest.mark.parametrize("start", ["new", "adapter"])
@pytest.mark.parametrize("kind", ["grpo", "ppo"])
def test_an_update_changes_the_policys_adapter_and_nothing_else(start: str, kind: str, adapter_folder: Path) -> None:
    model = toy_model()
    give_adapter(model, "simulator", seed=5)
    made = make(
        model, adapter_folder if start == "adapter" else None, kind=kind, kl="none" if kind == "ppo" else "loss"
    )
    rows = episodes(model, POLICY)
    before = everything(model)
    micro = one_batch(model)
    reference = made.policy.reference_logprobs(micro, 1.0)
    for step in range(2):  # the first makes B other than 0, the second A too
        made.update(rows, step)
    moved = changed(before, model)
    allowed = (f".{POLICY}.", ".critic.") if kind == "ppo" else (f".{POLICY}.",)
    assert {key for key in moved if f".{POLICY}." in key} == set(made.policy.parameters())
    assert all(any(name in key for name in allowed) for key in moved)
    if kind == "ppo":
        assert any(".critic." in key for key in moved)
    assert torch.equal(made.policy.reference_logprobs(micro, 1.0), reference)
    made.policy.train_mode()
    assert not torch.equal(made.policy.logprobs(micro, Sampled()).logprobs_N, reference)


def test_the_reference_is_asked_in_between_and_the_policy_still_learns() -> None:
    """Switching adapters must give the policy its gradients back."""
    made = make(toy_model(), None)
    micro = one_batch(made.policy.model)
    made.policy.train_mode()
    made.policy.reference_logprobs(micro, 1.0)
    made.policy.logprobs(micro, Sampled()).logprobs_N.sum().backward()  # type: ignore[no-untyped-call]
    grads = [p.grad for key, p in made.policy.parameters().items() if "lora_B" in key]
    assert all(grad is not None and bool(grad.any()) for grad in grads)
    assert all(p.grad is None for key, p in made.policy.model.base.named_parameters() if "lora_" not in key)


def test_full_fine_tuning_leaves_its_reference_alone() -> None:
    settings = toy_config(Path("unused"), {"name": "grpo", "kl_coef": 0.1}, steps=1)
    model, reference = toy_model(0), toy_model(0)
    policy = Policy.full_weights(model, reference)
    made = Learner(policy, None, settings)
    before, rows = everything(reference), episodes(model, None)
    assert made.update(rows, 0)["kl"] == 0.0
    assert changed(before, model) == set(policy.parameters())  # every weight learns
    assert not changed(before, reference)
    assert made.update(rows, 1)["kl"] > 0
    assert all(p.grad is None for p in reference.base.parameters())


def test_a_temperature_shapes_the_references_log_probs_too() -> None:
    model = toy_model()
    policy, micro = Policy.lora(model, None, rank=2, alpha=4.0), one_batch(model)
    policy.train_mode()
    with torch.no_grad():
        hot = policy.logprobs(micro, Sampled(2.0)).logprobs_N
    assert torch.equal(policy.reference_logprobs(micro, 2.0), hot)
    assert not torch.allclose(policy.reference_logprobs(micro, 1.0), hot)


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_what_is_saved_is_what_was_trained(kind: str, tmp_path: Path, tiny_tokenizer: Any) -> None:
    """Loaded as a user loads it, into a fresh process's model."""
    model = tiny_local_model(tiny_tokenizer)
    policy = Policy.full_weights(model, None) if kind == "full" else Policy.lora(model, None, rank=4, alpha=8.0)
    with torch.no_grad():
        for number, parameter in enumerate(policy.parameters().values()):
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))
    policy.save(tmp_path / "policy")
    micro = one_batch(model)
    policy.train_mode()
    with torch.no_grad():
        expected = policy.logprobs(micro, Sampled()).logprobs_N
    if kind == "full":
        again = Policy.full_weights(LocalModel.load(str(tmp_path / "policy"), device="cpu"), None)
    else:
        again = Policy.lora(tiny_local_model(tiny_tokenizer), tmp_path / "policy", rank=1, alpha=1.0)
    again.train_mode()
    with torch.no_grad():
        assert torch.equal(again.logprobs(micro, Sampled()).logprobs_N, expected)
    assert not torch.allclose(expected, logprobs_of(tiny_local_model(tiny_tokenizer), micro))


def logprobs_of(model: LocalModel, micro: MicroBatch) -> Tensor:
    with torch.no_grad():
        return Policy.full_weights(model, None).logprobs(micro, Sampled()).logprobs_N


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_a_state_is_a_copy_and_goes_back_whole(kind: str, tiny_tokenizer: Any) -> None:
    model = tiny_local_model(tiny_tokenizer)
    policy = Policy.full_weights(model, None) if kind == "full" else Policy.lora(model, None, rank=4, alpha=8.0)
    state = policy.state()
    kept = {key: value.clone() for key, value in state.items()}
    with torch.no_grad():
        for parameter in policy.parameters().values():
            parameter.add_(1.0)
    assert all(torch.equal(state[key], kept[key]) for key in kept)
    policy.load_state(state)
    assert all(torch.equal(a, b) for a, b in zip(policy.state().values(), kept.values(), strict=True))


@pytest.mark.parametrize("kind", ["GPT2", "OPT"])
def test_checkpointing_switches_no_dropout_on(kind: str) -> None:
    """GPT-2 has modules for it; OPT's layers, which are what is checkpointed, call it themselves."""
    shape = {"vocab_size": 10, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 64}
    wide = {"hidden_size": 32, "ffn_dim": 64, "word_embed_proj_dim": 32} if kind == "OPT" else {"hidden_size": 32}
    config = getattr(transformers, f"{kind}Config")(**shape, **wide)
    torch.manual_seed(0)
    base = transformers.AutoModelForCausalLM.from_config(config)
    model = LocalModel(base.eval(), toy_model().tokenizer, kind, torch.device("cpu"))
    base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    policy, critic = Policy.full_weights(model, None), Critic.full_weights(model)
    micro = MicroBatch((0,), torch.tensor([[1, 2, 3, 4, 5]]), torch.tensor([[0, 1, 1, 1, 1]]))
    torch.nn.init.ones_(critic.head.weight)
    policy.train_mode()
    assert torch.equal(policy.logprobs(micro, Sampled()).logprobs_N, policy.logprobs(micro, Sampled()).logprobs_N)
    critic.train_mode()
    assert torch.equal(critic.values(micro), critic.values(micro))
    assert any(m.training for m in base.modules()), "nothing is checkpointed outside of training mode"


@pytest.mark.parametrize("checkpointing", [False, True])
def test_beside_a_bfloat16_base_adapters_compute_in_bfloat16_and_learn_in_float32(
    checkpointing: bool, adapter_folder: Path
) -> None:
    gradients, formats = [], []
    for dtype in (torch.float32, torch.bfloat16):
        model = toy_model()
        model.base.to(torch.bfloat16).to(dtype)  # the same weights, rounded
        policy = Policy.lora(model, adapter_folder, rank=4, alpha=8.0)
        if checkpointing:
            model.base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            model.base.enable_input_require_grads()
        seen = adapter_formats(model, POLICY)
        policy.train_mode()
        policy.logprobs(one_batch(model), Sampled(), entropy="none").logprobs_N.sum().backward()  # type: ignore[no-untyped-call]
        gradients.append(torch.cat([p.grad.flatten() for p in policy.parameters().values() if p.grad is not None]))
        formats.append(set(seen))
        policy.eval_mode()
        spoken = asyncio.run(TransformersGenerator(Worker(model), POLICY).generate([5, 6, 7], Sampling(max_tokens=3)))
        assert spoken.token_ids  # without autocast: peft casts again
    assert formats[0] == {torch.float32}
    assert torch.bfloat16 in formats[1]
    assert checkpointing or formats[1] == {torch.bfloat16}
    assert gradients[1].dtype == torch.float32
    assert len(gradients[0]) == len(gradients[1])
    assert float(torch.cosine_similarity(*gradients, dim=0)) > 0.97  # float32 adapters: .992
