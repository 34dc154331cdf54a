"""Merged copies speak as the unmerged model does, follow the adapter when it changes, and never touch the base."""

from __future__ import annotations

import asyncio

import torch
from learning.toy import toy_model

from zerosearch.generation import Sampling
from zerosearch.generators.local import LocalModel
from zerosearch.generators.transformers import TransformersGenerator, Worker


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
