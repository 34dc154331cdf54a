"""Which sampler decodes, and what vLLM is given: decided and made without vLLM, so tested everywhere."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import torch
from tiny import decode_batch, give_adapter, tiny_local_model

from zerosearch.episodes.generation import Generation, Sampling
from zerosearch.errors import ConfigError, ModelError
from zerosearch.learning.batches import Sequences, micro_batches
from zerosearch.learning.logprobs import Sampled, token_logprobs
from zerosearch.models.local import LocalModel
from zerosearch.models.merged import MergedAdapters
from zerosearch.models.samplers import choose_sampler, open_worker
from zerosearch.models.vllm_weights import (
    adapter_rank,
    adapter_tensors,
    base_weights,
    cache_token_bytes,
    fitting_rank,
    memory_for,
)
from zerosearch.models.worker import TransformersGenerator, Worker

SMALL, LARGE, GIB = 1_500_000_000, 7_600_000_000, 2**30


@pytest.mark.parametrize(
    ("changed", "chosen"),
    [
        ({}, "vllm"),
        ({"parameters": SMALL}, "native"),
        ({"cuda": False}, "native"),
        ({"exact": True}, "native"),
        ({"installed": False}, "native"),
        ({"setting": "native"}, "native"),
        ({"setting": "plain"}, "plain"),
        ({"setting": "vllm", "parameters": SMALL}, "vllm"),
    ],
)
def test_auto_takes_vllm_for_large_models_on_a_gpu_only(changed: dict[str, Any], chosen: str) -> None:
    given: dict[str, Any] = {"setting": "auto", "parameters": LARGE, "cuda": True, "exact": False, "installed": True}
    assert choose_sampler(**given | changed) == chosen


def test_vllm_that_cannot_be_had_is_refused_with_a_way_out() -> None:
    with pytest.raises(ConfigError, match=r"needs an NVIDIA GPU.*'native' decodes anywhere"):
        choose_sampler("vllm", parameters=SMALL, cuda=False, exact=False, installed=True)
    with pytest.raises(ConfigError, match=r"pip install 'zerosearch-rl\[vllm\]'.*environment of its own"):
        choose_sampler("vllm", parameters=SMALL, cuda=True, exact=False, installed=False)


@pytest.mark.parametrize(("setting", "continuous"), [("auto", True), ("native", True), ("plain", False)])
def test_the_worker_is_that_of_the_setting(tiny_model: LocalModel, setting: Any, continuous: bool) -> None:
    worker = open_worker(tiny_model, setting, max_batch_rows=3, max_batch_tokens=77, merge=None)
    assert isinstance(worker, Worker)
    assert (worker.continuous, worker.max_batch_rows, worker.max_batch_tokens, worker.merge) == (
        continuous,
        3,
        77,
        False,
    )


@pytest.mark.parametrize("sampler", ["native", "plain"])
def test_ids_masks_and_logprobs_are_the_trainers_and_a_seed_draws_the_same_tokens(
    tiny_model: LocalModel, sampler: Any
) -> None:
    """Over every sampler that computes in float32 here; over vLLM the same is in test_vllm.py."""
    give_adapter(tiny_model, "policy")
    prompts = [[5 + n, 6, 7] * (n + 1) for n in range(6)]
    asked = [Sampling((1.0, 0.7)[n % 2], max_tokens=8 + 3 * n, seed=n) for n in range(6)]
    worker = open_worker(tiny_model, sampler, max_batch_rows=4, max_batch_tokens=4096, merge=None)
    generator = TransformersGenerator(worker, "policy")

    async def all_of_them() -> list[Generation]:
        return await asyncio.gather(*map(generator.generate, prompts, asked))

    said, again = asyncio.run(all_of_them()), asyncio.run(all_of_them())
    assert [g.token_ids for g in said] == [g.token_ids for g in again]
    for prompt, how, one in zip(prompts, asked, said, strict=True):
        sequence = Sequences([prompt + one.token_ids], [[0] * len(prompt) + [1] * len(one.token_ids)])
        (micro,) = micro_batches(sequence, 1000)
        with tiny_model.speaking_as("policy"):
            found = token_logprobs(tiny_model.base, micro, Sampled(how.temperature)).logprobs_N
        assert one.logprobs == pytest.approx(found.tolist(), abs=1e-4)
        drawn = _alone(tiny_model, prompt, how)
        assert drawn.token_ids == one.token_ids  # what every sampler draws for this seed


def _alone(model: LocalModel, prompt: list[int], how: Sampling) -> Generation:
    with torch.inference_mode(), model.speaking_as("policy"):
        return decode_batch(model.base, [prompt], [how], tokenizer=model.tokenizer, eos_ids=model.eos_ids)[0]


def test_an_adapters_tensors_are_its_update_whatever_its_scale(tiny_model: LocalModel) -> None:
    give_adapter(tiny_model, "other", seed=2, rank=2)
    give_adapter(tiny_model, "policy", seed=1, rank=4)  # alpha 16: a scale of 4
    given = adapter_tensors(tiny_model, "policy")
    assert given.rank == adapter_rank(tiny_model, "policy") == 4
    merged = dict(MergedAdapters(tiny_model).get("policy").named_parameters())
    bare = dict(base_weights(tiny_model))
    layers = {name.removesuffix(".lora_A.weight") for name in given.tensors if name.endswith("A.weight")}
    assert len(given.tensors) == 2 * len(layers) == 2 * 7 * tiny_model.base.config.num_hidden_layers
    for layer in layers:
        a, b = given.tensors[f"{layer}.lora_A.weight"], given.tensors[f"{layer}.lora_B.weight"]
        name = layer.removeprefix("base_model.model.") + ".weight"
        torch.testing.assert_close(b @ a, merged[name] - dict(_whole(tiny_model))[name], atol=1e-5, rtol=1e-4)
        assert bare[name].dtype == torch.bfloat16


def _whole(model: LocalModel) -> list[tuple[str, torch.Tensor]]:
    return [(n.replace(".base_layer", ""), p) for n, p in model.base.named_parameters() if "lora_" not in n]


def test_an_adapter_with_a_bias_is_refused_by_name(tiny_model: LocalModel) -> None:
    give_adapter(tiny_model, "policy")
    layer: Any = tiny_model.base.model.layers[0].self_attn.q_proj
    layer.lora_bias["policy"] = True
    with pytest.raises(
        ModelError, match=r"adapter policy: vLLM takes no such LoRA layer as .*q_proj; use model.sampler"
    ):
        adapter_tensors(tiny_model, "policy")


def test_ranks_without_a_kernel_take_the_next_one() -> None:
    assert [fitting_rank(rank) for rank in (0, 1, 8, 9, 300, 512)] == [0, 8, 8, 16, 320, 512]
    with pytest.raises(ModelError, match="up to rank 512, not 513"):
        fitting_rank(513)


def test_weights_trained_in_float32_are_rounded_by_chance_and_not_to_the_nearest(tiny_tokenizer: Any) -> None:
    model = tiny_local_model(tiny_tokenizer)
    name = "model.layers.0.mlp.up_proj.weight"
    weight = model.base.get_parameter(name)
    with torch.no_grad():
        weight.copy_(weight.bfloat16().float() + 0.1 * torch.finfo(torch.bfloat16).eps * weight.abs())
    given = dict(base_weights(model))[name].float()
    moved = (given - weight.bfloat16().float()).ne(0).float().mean()
    assert 0.03 < float(moved) < 0.3  # to the nearest none would be
    assert torch.equal(given, dict(base_weights(model))[name].float())  # and always the same ones


def test_every_weight_is_given_by_its_checkpoint_name(tiny_model: LocalModel) -> None:
    names = set(tiny_model.base.state_dict())
    give_adapter(tiny_model, "policy")
    assert {name for name, _ in base_weights(tiny_model)} == names


def test_the_cache_is_what_is_asked_for_or_a_part_of_what_is_free() -> None:
    asked = {"total": 80 * GIB, "weights": 3 * GIB, "token_bytes": 28_672, "cache_share": 0.4}
    enough = memory_for(free=70 * GIB, max_tokens=262_144, **asked)
    assert (enough.cache_tokens, enough.cache_bytes) == (262_144, 262_144 * 28_672)
    assert enough.share == pytest.approx((3 * GIB + enough.cache_bytes) / (80 * GIB))
    less = memory_for(free=10 * GIB, max_tokens=262_144, **asked)
    assert less.cache_bytes <= 0.4 * 7 * GIB < less.cache_bytes + 16 * 28_672
    assert less.cache_tokens % 16 == 0
    with pytest.raises(ModelError, match=r"3.0 GiB for its copy of the weights.*3.1 GiB free; use model.sampler"):
        memory_for(free=int(3.1 * GIB), max_tokens=262_144, **asked)


def test_a_tokens_cache_is_counted_by_its_heads(tiny_model: LocalModel) -> None:
    config = tiny_model.base.config
    width = config.hidden_size // config.num_attention_heads
    assert cache_token_bytes(config) == 4 * config.num_hidden_layers * config.num_key_value_heads * width
