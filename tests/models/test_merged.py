"""Merged copies speak as the unmerged model does, follow the adapter when it changes, and never touch the base."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest
import torch
from learning.toy import toy_model
from peft import LoraConfig, PeftModel
from peft.tuners.lora import LoraLayer
from tiny import tiny_local_model
from torch import Tensor
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

from zerosearch.episodes.generation import Sampling
from zerosearch.episodes.protocol import PROMPT
from zerosearch.models.local import LocalModel
from zerosearch.models.merged import MergedAdapters, dithered
from zerosearch.models.worker import TransformersGenerator, Worker


def _model() -> LocalModel:
    model = toy_model()
    model.add_adapter("policy", rank=4, alpha=8.0)
    _stir(model, 1)
    return model


def _stir(model: LocalModel, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.adapter_parameters("policy").values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)


def _sample(generator: TransformersGenerator) -> tuple[list[int], list[float]]:
    async def run() -> tuple[list[int], list[float]]:
        result = await generator.generate([6, 7, 8], Sampling(max_tokens=12, seed=3))
        return result.token_ids, result.logprobs

    return asyncio.run(run())


def test_a_merged_copy_samples_what_the_adapter_samples() -> None:
    model = _model()
    plain, merged = (TransformersGenerator(Worker(model, merge=merge), "policy") for merge in (False, True))
    ids, logprobs = _sample(plain)
    merged_ids, merged_logprobs = _sample(merged)
    assert merged_ids == ids
    torch.testing.assert_close(torch.tensor(merged_logprobs), torch.tensor(logprobs), atol=1e-5, rtol=0)
    base = TransformersGenerator(Worker(model, merge=True), None)
    assert _sample(base)[1] != logprobs, "the adapter changes nothing: the test would pass without merging"


def test_a_copy_follows_the_adapter_after_sync_and_leaves_the_base_alone() -> None:
    model = _model()
    before = {name: p.clone() for name, p in model.base.named_parameters() if "lora_" not in name}
    merged = TransformersGenerator(Worker(model, merge=True), "policy")
    old = _sample(merged)
    _stir(model, 2)
    assert _sample(merged) == old, "a copy changes only when it is told to"
    merged.sync()
    ids, logprobs = _sample(merged)
    expected_ids, expected = _sample(TransformersGenerator(Worker(model), "policy"))
    assert ids == expected_ids
    torch.testing.assert_close(torch.tensor(logprobs), torch.tensor(expected), atol=1e-5, rtol=0)
    for name, parameter in model.base.named_parameters():
        if "lora_" not in name:
            assert torch.equal(parameter, before[name]), name


def _speaks_alike(model: LocalModel, tolerance: float = 1e-4) -> None:
    """The merged copy's logits are the unmerged model's, and the adapter changes them."""
    ids = torch.arange(6, 12).unsqueeze(0) % model.base.config.vocab_size
    copy = MergedAdapters(model).get("policy")
    with torch.no_grad():
        with model.speaking_as("policy"):
            wanted = model.base(input_ids=ids).logits
        with model.speaking_as(None):
            bare = model.base(input_ids=ids).logits
        torch.testing.assert_close(copy(input_ids=ids).logits, wanted, atol=tolerance, rtol=0)
    assert (wanted - bare).abs().max() > 100 * tolerance


@pytest.mark.parametrize("biased_base", [False, True])
def test_an_adapter_with_biases_is_merged_with_them(biased_base: bool) -> None:
    model = toy_model(attention_bias=biased_base, mlp_bias=biased_base)
    model._peft = PeftModel(model.base, LoraConfig(r=4, target_modules="all-linear", lora_bias=True), "policy")
    model.adapters.append("policy")
    _stir(model, 1)
    _speaks_alike(model)


def test_an_adapter_on_experts_is_merged() -> None:
    toy = toy_model()
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2, "head_dim": 8}
    config = Qwen3MoeConfig(vocab_size=10, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, **shape)
    model = LocalModel(Qwen3MoeForCausalLM(config).eval(), toy.tokenizer, "moe", toy.device)
    model.add_adapter("policy", rank=4, alpha=8.0)
    assert {"Linear", "ParamWrapper"} <= {type(m).__name__ for m in model.base.modules() if isinstance(m, LoraLayer)}
    _stir(model, 1)
    _speaks_alike(model)


def _gain(model: Any, before: Tensor, ids: Tensor) -> float:
    return float((_logprobs(model, ids) - before).mean())


def _logprobs(model: Any, ids: Tensor) -> Tensor:
    with torch.no_grad():
        logits = model(input_ids=ids[:, :-1]).logits.double()
    return logits.log_softmax(-1).gather(2, ids[:, 1:].unsqueeze(2)).squeeze(2)


@pytest.mark.parametrize(("dtype", "rate"), [(torch.bfloat16, 5e-5), (torch.float16, 1e-5)], ids=str)
def test_the_sampler_hears_an_update_that_half_the_width_would_swallow(
    dtype: torch.dtype, rate: float, tiny_tokenizer: Any
) -> None:
    """One small step in one direction, as training makes it: the change in log-prob, and not the log-prob itself."""
    model = tiny_local_model(tiny_tokenizer, hidden_size=96, initializer_range=0.1)
    model.base.to(dtype)
    exact = copy.deepcopy(model.base).float()
    ids = torch.tensor([model.codec.encode(PROMPT)[:120]])
    untrained, exactly_untrained = _logprobs(model.base, ids), _logprobs(exact, ids)
    exact.requires_grad_(True)
    torch.nn.functional.cross_entropy(exact(input_ids=ids[:, :-1]).logits[0], ids[0, 1:]).backward()
    model.add_adapter("policy", rank=8, alpha=8.0)
    state = model.adapter_state("policy")
    nearest = copy.deepcopy(exact)
    with torch.no_grad():
        for name, weight in exact.named_parameters():
            if "proj" in name:  # the first step of Adam, as far as rank 8 can make it
                left, length, right = torch.linalg.svd(weight.grad.sign() * rate, full_matrices=False)
                state[name.replace("weight", "lora_B.weight")] = -left[:, :8] * length[:8]
                state[name.replace("weight", "lora_A.weight")] = right[:8]
                weight -= (left[:, :8] * length[:8]) @ right[:8]
        nearest.load_state_dict(exact.state_dict())
        nearest.to(dtype)
    model.load_adapter_state("policy", state)

    wanted = float((_logprobs(exact, ids) - exactly_untrained).mean())
    heard = float((_logprobs(MergedAdapters(model).get("policy"), ids) - untrained).mean())
    swallowed = float((_logprobs(nearest, ids) - untrained).mean())
    assert wanted > 200 * rate
    assert heard == pytest.approx(wanted, rel=0.15)
    assert swallowed < 0.5 * wanted, "rounding to the nearest would have done: the test tells nothing"


def _logprobs(model: Any, ids: Tensor) -> Tensor:
    with torch.no_grad():
        logits = model(input_ids=ids[:, :-1]).logits.double()
    return logits.log_softmax(-1).gather(2, ids[:, 1:].unsqueeze(2)).squeeze(2)


@pytest.mark.parametrize(("mantissa", "dtype"), [(7, torch.bfloat16), (10, torch.float16)])
def test_rounding_by_chance_keeps_the_mean_and_what_is_on_the_grid(mantissa: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    on_grid = (torch.randn(40_000) + 3.0).to(dtype).float()
    assert torch.equal(dithered(on_grid, mantissa, 5), on_grid)
    off = on_grid * (1 + 2.0 ** -(mantissa + 4))  # a sixteenth to an eighth of a step
    ours = dithered(off, mantissa, 5)
    assert torch.equal(ours.to(dtype).float(), ours)
    assert torch.equal(off.to(dtype).float(), on_grid), "rounding to the nearest loses all of it"
    assert float((ours - on_grid).mean()) == pytest.approx(float((off - on_grid).mean()), rel=0.1)
    assert torch.equal(dithered(off, mantissa, 5), ours)
    assert not torch.equal(dithered(off, mantissa, 6), ours)
