"""A cache of fixed size: the same tokens and log-probs as the growing one, whatever leaves the batch and when."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny import give_adapter, tiny_local_model
from transformers import DynamicCache

from zerosearch.episodes.generation import Generation, Sampling
from zerosearch.models.decoding import decode_batch
from zerosearch.models.fixed import FixedDecoder, Storage, grouped_attention, length_for, rows_for
from zerosearch.models.local import LocalModel

TEXTS = (
    "Nepal",
    "<think> I need to search for this. </think>\n<search>",
    "Question: Which country has the capital Kathmandu?\n" * 3,
    "x",
    "Nepal",
)


def decode(
    model: LocalModel, sampling: list[Sampling], fixed: FixedDecoder | None, eos: frozenset[int] = frozenset()
) -> list[Generation]:
    prompts = [model.codec.encode(TEXTS[i % len(TEXTS)]) for i in range(len(sampling))]
    return decode_batch(model.base, prompts, sampling, tokenizer=model.tokenizer, eos_ids=eos, fixed=fixed)


def samplings(count: int, lengths: tuple[int, ...] = (40,)) -> list[Sampling]:
    return [Sampling(temperature=1.0, max_tokens=lengths[i % len(lengths)], seed=i) for i in range(count)]


def assert_alike(ours: list[Generation], theirs: list[Generation]) -> None:
    assert [g.token_ids for g in ours] == [g.token_ids for g in theirs]
    assert [g.stop_reason for g in ours] == [g.stop_reason for g in theirs]
    for a, b in zip(ours, theirs, strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)


@pytest.mark.parametrize("count", [1, 4, 5, 13])
def test_tokens_are_those_of_the_growing_cache(tiny_model: LocalModel, count: int) -> None:
    fixed = FixedDecoder(tiny_model.base, Storage(), record=False)
    assert_alike(decode(tiny_model, samplings(count), fixed), decode(tiny_model, samplings(count), None))


def test_rows_that_leave_take_nothing_from_those_that_stay(tiny_model: LocalModel) -> None:
    mixed = samplings(13, lengths=(3, 9, 30, 60, 5))
    fixed = FixedDecoder(tiny_model.base, Storage(), record=False)
    assert_alike(decode(tiny_model, mixed, fixed), decode(tiny_model, mixed, None))


def test_memory_that_was_used_before_leaves_no_trace(tiny_model: LocalModel) -> None:
    """Other sizes, longer and shorter, over the same memory, and memory that grew in between."""
    tiny_model.base.double()  # over so many tokens float32 would round one of them elsewhere
    storage = Storage()
    fixed = FixedDecoder(tiny_model.base, storage, record=False)
    for count, length in ((3, 300), (13, 20), (2, 20), (16, 300), (3, 300)):
        wanted = samplings(count, (length,))
        assert_alike(decode(tiny_model, wanted, fixed), decode(tiny_model, wanted, None))
    assert storage.epoch > 1


def test_two_models_share_one_memory(tiny_model: LocalModel, tiny_tokenizer: Any) -> None:
    storage = Storage()
    other = tiny_local_model(tiny_tokenizer, seed=1)
    pair = [(m, FixedDecoder(m.base, storage, record=False)) for m in (tiny_model, other)]
    for model, fixed in (*pair, *reversed(pair)):
        assert_alike(decode(model, samplings(6), fixed), decode(model, samplings(6), None))


def test_an_adapter_that_speaks_is_heard(tiny_model: LocalModel) -> None:
    give_adapter(tiny_model, "other")
    with tiny_model.speaking_as(None):
        bare = decode(tiny_model, samplings(3), None)
    with tiny_model.speaking_as("other"):
        fixed = FixedDecoder(tiny_model.base, Storage(), record=False)
        spoken = decode(tiny_model, samplings(3), fixed)
        assert_alike(spoken, decode(tiny_model, samplings(3), None))
    assert [g.token_ids for g in spoken] != [g.token_ids for g in bare]


def test_models_with_another_attention_keep_the_growing_cache(tiny_model: LocalModel) -> None:
    cache = DynamicCache(config=tiny_model.base.config)
    tiny_model.base(input_ids=torch.tensor([[1, 2]]), past_key_values=cache, use_cache=True)
    assert FixedDecoder.suits(tiny_model.base, cache)
    tiny_model.base.config._attn_implementation = "eager"
    assert not FixedDecoder.suits(tiny_model.base, cache)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="records CUDA graphs")
def test_recorded_steps_are_the_steps(tiny_model: LocalModel, caplog: pytest.LogCaptureFixture) -> None:
    """Also after the weights have changed in place, and after the memory has grown."""
    tiny_model.base.cuda()
    tiny_model.device = torch.device("cuda")
    caplog.set_level("WARNING")
    fixed = FixedDecoder(tiny_model.base, Storage(), record=True)
    for count in (3, 13, 40, 3):
        mixed = samplings(count, lengths=(3, 9, 30, 60, 5))
        assert_alike(decode(tiny_model, mixed, fixed), decode(tiny_model, mixed, None))
        with torch.no_grad():
            for parameter in tiny_model.base.parameters():
                parameter.mul_(1.01)
    assert not caplog.messages


@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (4, 2), (6, 1)])
def test_grouped_attention_is_attention(heads: int, groups: int) -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, heads, 1, 8), torch.randn(3, groups, 7, 8), torch.randn(3, groups, 7, 8)
    seen = torch.rand(3, 1, 1, 7) > 0.3
    seen[..., 0] = True
    bias = torch.zeros(3, 1, 1, 7).masked_fill(~seen, torch.finfo(torch.float32).min)
    module = torch.nn.Module()
    ours, _ = grouped_attention(module, query, key, value, bias, scaling=0.5)
    repeated = (x.repeat_interleave(heads // groups, dim=1) for x in (key, value))
    theirs = torch.nn.functional.scaled_dot_product_attention(query, *repeated, attn_mask=seen, scale=0.5)
    torch.testing.assert_close(ours, theirs.transpose(1, 2), atol=1e-6, rtol=0)


def test_buffers_are_large_enough_and_of_few_sizes() -> None:
    assert all(rows_for(n) >= n for n in range(1, 600))
    assert sorted({rows_for(n) for n in range(1, 257)}) == [4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256]
    assert all(length_for(n) > n for n in range(1, 2000))  # one place stays free
