"""Decoding a batch: the same tokens as one row at a time, as transformers' own, and log-probs that agree (rule 4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest
import torch
from tiny import END, chain_model, decode_batch, give_adapter
from transformers import GPT2Config, GPT2LMHeadModel, MistralConfig, MistralForCausalLM

from zerosearch.episodes.generation import Generation, Sampling
from zerosearch.learning.batches import Sequences, micro_batches
from zerosearch.learning.logprobs import Sampled, token_logprobs
from zerosearch.models import decoding
from zerosearch.models.local import LocalModel

TEXTS = (
    "Nepal",
    "<think> I need to search for this. </think>\n<search>",
    "Question: Which country has the capital Kathmandu?\n" * 3,
    "x",
    "Answer the question below. You may look things up",
    "</search>\n<information>\n[1] Nepal: Kathmandu",
)


def decode(
    model: LocalModel, prompts: Sequence[list[int]], sampling: Sampling | Sequence[Sampling], **options: Any
) -> list[Generation]:
    each = [sampling] * len(prompts) if isinstance(sampling, Sampling) else list(sampling)
    return decode_batch(
        model.base, prompts, each, tokenizer=model.tokenizer, eos_ids=options.pop("eos_ids", model.eos_ids), **options
    )


@contextmanager
def watched(model: LocalModel) -> Iterator[list[tuple[int, int]]]:
    """The shapes (rows, columns) of what the model is fed."""
    shapes: list[tuple[int, int]] = []
    handle = model.base.register_forward_pre_hook(
        lambda module, args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    try:
        yield shapes
    finally:
        handle.remove()


def prompts_of(model: LocalModel) -> list[list[int]]:
    prompts = [model.codec.encode(text) for text in TEXTS]
    assert min(map(len, prompts)) == 1  # a prompt of one token is left-padded most
    assert max(map(len, prompts)) > 60
    return prompts


@pytest.mark.parametrize("prefill_tokens", [1, 8192])
def test_greedy_tokens_are_those_of_transformers(
    tiny_model: LocalModel, prefill_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "PREFILL_TOKENS", prefill_tokens)
    prompts = prompts_of(tiny_model)
    greedy = Sampling(temperature=0.0, max_tokens=24)
    with watched(tiny_model) as shapes:
        ours = decode(tiny_model, prompts, greedy)
    assert (shapes[1][1] > 1) == (prefill_tokens == 1)  # the slices really were several
    for prompt, generation in zip(prompts, ours, strict=True):
        ids = torch.tensor([prompt])
        theirs = tiny_model.base.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=24, use_cache=False
        )
        assert generation.token_ids == theirs[0, len(prompt) :].tolist()


def mistral(vocabulary: int, **settings: Any) -> Any:
    shape = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    return MistralForCausalLM(
        MistralConfig(vocab_size=vocabulary, num_key_value_heads=2, initializer_range=0.2, **(shape | settings))
    )


def gpt2(vocabulary: int) -> Any:
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=vocabulary, n_embd=48, n_layer=2, n_head=4, n_positions=256, initializer_range=0.2)
    )


@pytest.mark.parametrize(
    "make",
    [lambda v: mistral(v, sliding_window=None), lambda v: mistral(v, sliding_window=16), gpt2],
    ids=["mistral", "mistral with a sliding window", "gpt-2 with absolute positions"],
)
def test_greedy_tokens_are_those_of_transformers_for_other_models(tiny_tokenizer: Any, make: Any) -> None:
    torch.manual_seed(3)
    base = make(len(tiny_tokenizer)).eval()
    model = LocalModel(base, tiny_tokenizer, "other", torch.device("cpu"))
    prompts = prompts_of(model)
    ends = sorted(model.eos_ids)
    for prompt, generation in zip(prompts, decode(model, prompts, Sampling(0.0, max_tokens=24)), strict=True):
        ids = torch.tensor([prompt])
        theirs = base.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=24, use_cache=False,
            eos_token_id=ends, pad_token_id=2,
        )  # fmt: skip
        assert generation.token_ids == theirs[0, len(prompt) :].tolist()


def assert_same(one: Generation, other: Generation) -> None:
    assert one.token_ids == other.token_ids
    assert one.stop_reason == other.stop_reason
    assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def test_a_row_is_the_same_while_others_finish_and_leave(tiny_model: LocalModel) -> None:
    prompts = [*prompts_of(tiny_model), [7, 8, 9], [9, 8]]
    tokens = [2, 20, 3, 3, 9, 2, 30, 6]  # rows in the middle leave first
    settings = [Sampling(max_tokens=count, seed=n) for n, count in enumerate(tokens)]
    with watched(tiny_model) as shapes:
        together = decode(tiny_model, prompts, settings, eos_ids=frozenset())
    assert [len(g.token_ids) for g in together] == tokens
    assert [rows for rows, _ in shapes] == [8] * 3 + [4] * 6 + [2] * 11 + [1] * 10
    for prompt, one, generation in zip(prompts, settings, together, strict=True):
        assert_same(decode(tiny_model, [prompt], [one], eos_ids=frozenset())[0], generation)


def test_equal_prompts_are_read_once_and_every_row_is_still_itself(tiny_model: LocalModel) -> None:
    distinct = prompts_of(tiny_model)[:3]
    prompts = [distinct[n] for n in (1, 0, 1, 2, 0, 1)]
    settings = [Sampling(max_tokens=6 + n, seed=n) for n in range(len(prompts))]
    with watched(tiny_model) as shapes:
        together = decode(tiny_model, prompts, settings, eos_ids=frozenset())
    assert [rows for rows, _ in shapes[:2]] == [3, 6]
    assert len({tuple(g.token_ids) for g in together}) == 6
    for prompt, one, generation in zip(prompts, settings, together, strict=True):
        assert_same(decode(tiny_model, [prompt], [one], eos_ids=frozenset())[0], generation)


def test_any_of_the_ids_that_end_a_text_ends_it_and_is_kept(tiny_model: LocalModel) -> None:
    prompts = prompts_of(tiny_model)
    free = decode(tiny_model, prompts, Sampling(temperature=0.0, max_tokens=12), eos_ids=frozenset())
    ends = frozenset({free[0].token_ids[4], free[1].token_ids[7]})
    bound = decode(tiny_model, prompts, Sampling(temperature=0.0, max_tokens=12), eos_ids=ends)
    for one, other in zip(free, bound, strict=True):
        places = [n for n, i in enumerate(one.token_ids) if i in ends]
        expected = one.token_ids[: places[0] + 1] if places else one.token_ids
        assert other.token_ids == expected
        assert other.stop_reason == ("eos" if places else "length")
    assert {g.stop_reason for g in bound} == {"eos", "length"}


STOP = ("</search>", "</answer>")


def token(tokenizer: Any, text: str) -> int:
    (found,) = tokenizer.encode(text)
    return int(found)


def follow(tokenizer: Any, *texts: str) -> dict[int, int]:
    ids = [token(tokenizer, text) for text in texts]
    return dict(pairwise(ids))


@pytest.mark.parametrize("closing", [">", ">.", ">></"])
@pytest.mark.parametrize("tag", ["search", "answer"])
def test_a_stop_string_ends_a_row_at_the_token_that_completes_it(tiny_tokenizer: Any, tag: str, closing: str) -> None:
    chain = ["x", "y", "</", tag, closing, "z"]
    model = chain_model(tiny_tokenizer, follow(tiny_tokenizer, *chain))
    ids = [token(tiny_tokenizer, text) for text in chain]
    sampling = Sampling(temperature=0.0, max_tokens=9, stop=STOP)
    (out,) = decode(model, [ids[:1]], sampling)
    assert out.token_ids == ids[1:5]
    assert out.stop_reason == "stop"
    (free,) = decode(model, [ids[:1]], Sampling(temperature=0.0, max_tokens=9))
    assert free.token_ids[:5] == ids[1:]  # it would have gone on


@pytest.mark.parametrize("chain", [["x", "</", "search", " ", ">", "z"], ["x", "<", "/", "think", ">", "z"]])
def test_part_of_a_stop_string_ends_nothing(tiny_tokenizer: Any, chain: list[str]) -> None:
    model = chain_model(tiny_tokenizer, follow(tiny_tokenizer, *chain))
    ids = [token(tiny_tokenizer, text) for text in chain]
    (out,) = decode(model, [ids[:1]], Sampling(temperature=0.0, max_tokens=5, stop=STOP))
    assert out.token_ids == ids[1:]
    assert out.stop_reason == "length"


def test_a_stop_string_that_the_prompt_began_is_not_the_rows_own(tiny_tokenizer: Any) -> None:
    model = chain_model(tiny_tokenizer, follow(tiny_tokenizer, "</", "search", ">", "z"))
    prompt = [token(tiny_tokenizer, text) for text in ("</", "search")]
    (out,) = decode(model, [prompt], Sampling(temperature=0.0, max_tokens=2, stop=STOP))
    assert out.stop_reason == "length"


def test_rows_of_one_batch_stop_for_their_own_reasons(tiny_tokenizer: Any) -> None:
    t = tiny_tokenizer
    following = follow(t, "x", "</", "search", ">", "z") | follow(t, "y", "w", "v")
    following |= {token(t, "v"): t.convert_tokens_to_ids(END), token(t, "z"): token(t, "x")}
    model = chain_model(t, following)
    settings = [
        Sampling(0.0, max_tokens=8, stop=STOP),
        Sampling(0.0, max_tokens=8, stop=("</answer>",)),
        Sampling(0.0, max_tokens=8, stop=STOP),
        Sampling(0.0, max_tokens=3, stop=STOP),
    ]
    prompts = [[token(t, "x")], [token(t, "x")], [token(t, "y")] * 3, [token(t, "x")]]
    out = decode(model, prompts, settings)
    assert [g.stop_reason for g in out] == ["stop", "length", "eos", "stop"]
    assert [len(g.token_ids) for g in out] == [3, 8, 3, 3]
    assert out[2].token_ids[-1] == t.eos_token_id


def agreement(
    model: LocalModel, prompts: Sequence[list[int]], generations: Sequence[Generation], temperature: float
) -> float:
    """The largest difference between what the generator said of its tokens and what the trainer finds for them."""
    sequences = Sequences(
        [p + g.token_ids for p, g in zip(prompts, generations, strict=True)],
        [[0] * len(p) + [1] * len(g.token_ids) for p, g in zip(prompts, generations, strict=True)],
    )
    worst = 0.0
    for micro in micro_batches(sequences, 200):
        found = token_logprobs(model.base, micro, sampled=Sampled(temperature)).logprobs_N
        said = torch.tensor([x for row in micro.rows for x in generations[row].logprobs])
        worst = max(worst, float((found - said).abs().max()))
    return worst


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_trainers_logprobs_are_the_generators(tiny_model: LocalModel, temperature: float) -> None:
    give_adapter(tiny_model, "policy")
    prompts = prompts_of(tiny_model)
    settings = [Sampling(temperature, max_tokens=8 + 5 * n, seed=n) for n in range(len(prompts))]
    generations = decode(tiny_model, prompts, settings)
    assert agreement(tiny_model, prompts, generations, temperature) < 1e-4
    other = 0.7 if temperature == 1.0 else 1.0
    assert agreement(tiny_model, prompts, generations, other) > 0.1  # the temperature matters
    with tiny_model.speaking_as(None):
        assert agreement(tiny_model, prompts, generations, temperature) > 0.1  # and so does the adapter


@pytest.mark.model
def test_the_trainers_logprobs_are_the_generators_with_the_real_model() -> None:
    temperature = 0.7
    model = LocalModel.load("smollm2-135m", dtype="float32", device="cpu")
    give_adapter(model, "policy", scale=0.1)
    questions = ("Which country has the capital Kathmandu?", "Name a port of Peru.", "Who?", "What is " * 12)
    prompts = [
        model.codec.encode(
            model.tokenizer.apply_chat_template(
                [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
            )
        )
        for text in questions
    ]
    settings = [Sampling(temperature, max_tokens=12, seed=n, stop=STOP) for n in range(4)]
    generations = decode(model, prompts, settings)
    assert agreement(model, prompts, generations, temperature) < 1e-4
    with model.speaking_as(None):
        assert agreement(model, prompts, generations, temperature) > 0.1
