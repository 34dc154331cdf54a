"""vLLM as sampler: the same promises as the native one. Runs where vLLM is installed, on a GPU or with its CPU build.

python -m pytest tests/models/test_vllm.py        python tests/models/test_vllm.py   (without pytest)
"""

from __future__ import annotations

import asyncio
import sys
import time
import traceback
from collections.abc import Sequence
from functools import cache
from typing import Any

try:
    import pytest
except ImportError:  # on a GPU machine, as a script
    pytest = None  # type: ignore[assignment]
else:
    pytest.importorskip("vllm")

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from zerosearch.episodes.generation import Generation, Sampling
from zerosearch.errors import ModelError
from zerosearch.learning.batches import Sequences, micro_batches
from zerosearch.learning.logprobs import Sampled, token_logprobs
from zerosearch.models.local import LocalModel
from zerosearch.models.vllm_worker import VllmWorker
from zerosearch.models.worker import TransformersGenerator

DEVICE = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
WORDS = 500
PROMPTS = [[3, 4, 5, 6 + n, 7] * (4 + n) for n in range(4)]
NEAR = 0.04
"""Nats a token between two computations in bfloat16, on average; anything else is ten times as far."""


class Words:
    """A tokenizer whose every id is a word of its own."""

    eos_token_id = None

    def __len__(self) -> int:
        return WORDS

    def decode(self, ids: Sequence[int], **_: Any) -> str:
        return "".join(f"<{i}>" for i in ids)

    def batch_decode(self, rows: Sequence[Sequence[int]], **_: Any) -> list[str]:
        return [self.decode(row) for row in rows]


def small_model(dtype: torch.dtype) -> LocalModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=WORDS,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        initializer_range=0.1,
        eos_token_id=None,
    )
    model: Any = LlamaForCausalLM(config)
    model = model.to(DEVICE, dtype).eval().requires_grad_(False)
    model.generation_config.eos_token_id = None
    return LocalModel(model, Words(), "small", DEVICE)


def stir(model: LocalModel, adapter: str, seed: int) -> None:
    """Give the adapter random weights that change what the model says."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.adapter_parameters(adapter).values():
            values = 0.4 * torch.randn(parameter.shape, generator=generator) / parameter.shape[1] ** 0.5
            parameter.copy_(values)


@cache
def shared() -> tuple[LocalModel, VllmWorker]:
    """One engine for most tests: it takes half a minute to open."""
    model = small_model(torch.bfloat16)
    model.add_adapter("policy", rank=4, alpha=12, trainable=True)
    stir(model, "policy", 1)
    return model, VllmWorker(model, 16, 8192)


def ask(worker: VllmWorker, *requests: tuple[str | None, list[int], Sampling]) -> list[Generation]:
    async def all_of_them() -> list[Generation]:
        return await asyncio.gather(*(TransformersGenerator(worker, s).generate(ids, how) for s, ids, how in requests))

    return asyncio.run(all_of_them())


def gap(
    model: LocalModel, speaker: str | None, prompts: Sequence[list[int]], said: Sequence[Generation], how: Sampled
) -> float:
    """The mean difference of the trainer's log-probs from the sampler's, in nats a token."""
    sequences = Sequences(
        [p + g.token_ids for p, g in zip(prompts, said, strict=True)],
        [[0] * len(p) + [1] * len(g.token_ids) for p, g in zip(prompts, said, strict=True)],
    )
    differences: list[torch.Tensor] = []
    with torch.no_grad(), model.speaking_as(speaker):
        for micro in micro_batches(sequences, 4096, device=DEVICE):
            found = token_logprobs(model.base, micro, how).logprobs_N.cpu()
            sampled = torch.tensor([x for row in micro.rows for x in said[row].logprobs])
            differences.append((found - sampled).abs())
    return float(torch.cat(differences).mean())


def close(said: Sequence[float], others: Sequence[float]) -> bool:
    return all(abs(a - b) < 0.25 for a, b in zip(said, others, strict=True))


def test_the_trainers_logprobs_are_vllms_at_any_temperature_with_and_without_an_adapter() -> None:
    model, worker = shared()
    for temperature in (1.0, 0.7):
        how = Sampling(temperature, max_tokens=40, seed=5)
        for speaker, other in (("policy", None), (None, "policy")):
            said = ask(worker, *((speaker, prompt, how) for prompt in PROMPTS))
            assert [len(g.token_ids) for g in said] == [40] * 4
            assert {g.stop_reason for g in said} == {"length"}
            assert gap(model, speaker, PROMPTS, said, Sampled(temperature)) < NEAR / temperature**2
            assert gap(model, other, PROMPTS, said, Sampled(temperature)) > 10 * NEAR
            assert gap(model, speaker, PROMPTS, said, Sampled(1.7 - temperature)) > 5 * NEAR


def test_a_truncated_distribution_has_its_own_logprobs() -> None:
    model, worker = shared()
    said = ask(worker, *(("policy", p, Sampling(1.0, top_k=5, max_tokens=30, seed=2)) for p in PROMPTS))
    assert gap(model, "policy", PROMPTS, said, Sampled(1.0, top_k=5)) < 2 * NEAR
    assert gap(model, "policy", PROMPTS, said, Sampled(1.0)) > 10 * NEAR


def test_greedy_takes_the_likeliest_token_and_its_logprob_at_temperature_1() -> None:
    model, worker = shared()
    said = ask(worker, *(("policy", p, Sampling(0.0, max_tokens=20)) for p in PROMPTS))
    assert gap(model, "policy", PROMPTS, said, Sampled(1.0)) < NEAR
    with torch.no_grad(), model.speaking_as("policy"):
        first = [int(model.base(torch.tensor([p], device=DEVICE)).logits[0, -1].argmax()) for p in PROMPTS]
    assert sum(g.token_ids[0] == token for g, token in zip(said, first, strict=True)) >= 3  # one may be a tie


def test_a_seed_gives_the_same_tokens_whatever_is_beside_it() -> None:
    _, worker = shared()
    wanted = ("policy", PROMPTS[0], Sampling(1.0, max_tokens=24, seed=11))
    others = [(s, p, Sampling(1.0, max_tokens=30, seed=n)) for n, p in enumerate(PROMPTS) for s in ("policy", None)]
    alone, beside, again = ask(worker, wanted), ask(worker, *others, wanted), ask(worker, wanted)
    # what is computed beside others is rounded otherwise: the first tokens agree, and alone all do
    assert alone[0].token_ids == again[0].token_ids
    assert alone[0].token_ids[:6] == beside[-1].token_ids[:6]
    other = ask(worker, ("policy", PROMPTS[0], Sampling(1.0, max_tokens=24, seed=12)))
    assert other[0].token_ids[:6] != alone[0].token_ids[:6]


def test_a_stop_string_ends_a_turn_with_the_token_that_completes_it() -> None:
    _, worker = shared()
    whole = ask(worker, ("policy", PROMPTS[1], Sampling(1.0, max_tokens=24, seed=3)))[0]
    place = next(i for i in range(4, 24) if whole.token_ids[i] not in whole.token_ids[:i])
    stop = (f"{whole.token_ids[place]}>", "<never>")
    said = ask(worker, ("policy", PROMPTS[1], Sampling(1.0, max_tokens=24, seed=3, stop=stop)))[0]
    shown = Words().decode(said.token_ids)
    assert said.stop_reason == "stop"
    assert shown.endswith(stop[0])
    assert len(said.token_ids) == len(said.logprobs) <= place + 1
    assert said.token_ids == whole.token_ids[: len(said.token_ids)]
    assert close(said.logprobs, whole.logprobs[: len(said.token_ids)])


def test_an_id_that_ends_a_text_ends_it_and_is_kept() -> None:
    model, worker = shared()
    whole = ask(worker, (None, PROMPTS[2], Sampling(1.0, max_tokens=24, seed=4)))[0]
    place = next(i for i in range(5, 24) if whole.token_ids[i] not in whole.token_ids[:i])
    model.tokenizer.eos_token_id = whole.token_ids[place]
    try:
        said = ask(worker, (None, PROMPTS[2], Sampling(1.0, max_tokens=24, seed=4)))[0]
    finally:
        model.tokenizer.eos_token_id = None
    assert (said.stop_reason, said.token_ids) == ("eos", whole.token_ids[: place + 1])


def test_who_gives_up_harms_nobody_and_frees_its_place() -> None:
    _, worker = shared()

    async def play() -> Generation:
        generator = TransformersGenerator(worker, "policy")
        given_up = asyncio.create_task(generator.generate(PROMPTS[0], Sampling(max_tokens=400, seed=1)))
        goes_on = asyncio.create_task(generator.generate(PROMPTS[1], Sampling(max_tokens=60, seed=1)))
        while not worker._rows:
            await asyncio.sleep(0.001)
        given_up.cancel()
        return await goes_on

    assert len(asyncio.run(play()).token_ids) == 60
    assert not worker._rows
    engine: Any = worker._engine
    assert not engine._core.scheduler.requests


def test_each_token_is_told_and_a_listener_that_raises_ends_its_own_request() -> None:
    _, worker = shared()
    heard: list[int] = []

    class GivenUp(Exception):
        pass

    def tire(token: int) -> None:
        raise GivenUp

    async def play() -> tuple[Any, ...]:
        how = Sampling(max_tokens=12, seed=9)
        listening = TransformersGenerator(worker, "policy", heard.append)
        return tuple(
            await asyncio.gather(
                listening.generate(PROMPTS[0], how),
                TransformersGenerator(worker, "policy", tire).generate(PROMPTS[1], how),
                return_exceptions=True,
            )
        )

    said, failed = asyncio.run(play())
    assert said.token_ids == heard
    assert isinstance(failed, GivenUp)


def test_an_adapter_that_has_learned_is_heard_and_nobody_else_changes() -> None:
    model, worker = shared()
    how = Sampling(1.0, max_tokens=30, seed=6)
    base = ask(worker, *((None, p, how) for p in PROMPTS))
    for seed in (2, 3):
        stir(model, "policy", seed)
        TransformersGenerator(worker, "policy").sync()
        said = ask(worker, *(("policy", p, how) for p in PROMPTS))
        assert gap(model, "policy", PROMPTS, said, Sampled()) < NEAR
    assert [g.token_ids for g in ask(worker, *((None, p, how) for p in PROMPTS))] == [g.token_ids for g in base]


def test_a_text_beyond_what_there_is_room_for_is_refused_and_the_others_go_on() -> None:
    _, worker = shared()

    async def play() -> list[Any]:
        generator = TransformersGenerator(worker, None)
        long, short = Sampling(max_tokens=600), Sampling(max_tokens=5)
        return await asyncio.gather(
            generator.generate([5] * 20, long), generator.generate([5], short), return_exceptions=True
        )

    refused, said = asyncio.run(play())
    assert isinstance(refused, ModelError)
    assert "beyond the" in str(refused)
    assert len(said.token_ids) == 5


def test_what_was_decoded_is_counted_by_speaker() -> None:
    _, worker = shared()
    before = {s: worker.totals[s].tokens if s in worker.totals else 0 for s in ("policy", None)}
    ask(worker, ("policy", PROMPTS[0], Sampling(max_tokens=7)), (None, PROMPTS[0], Sampling(max_tokens=9)))
    assert worker.totals["policy"].tokens - before["policy"] == 7
    assert worker.totals[None].tokens - before[None] == 9
    assert all(total.seconds > 0 for total in worker.totals.values())


def test_opening_draws_no_random_number_and_a_larger_adapter_that_comes_later_is_taken() -> None:
    """The engine of the tests before is opened anew, with room for it."""
    model, worker = shared()
    ask(worker, (None, PROMPTS[0], Sampling(max_tokens=2)))
    if "later" not in model.adapters:
        model.add_adapter("later", rank=12)
        stir(model, "later", 7)
    torch.manual_seed(4)
    before = torch.get_rng_state().clone()
    how = Sampling(1.0, max_tokens=30, seed=8)
    said = ask(worker, *(("later", p, how) for p in PROMPTS), ("policy", PROMPTS[0], how))
    if DEVICE.type == "cuda":  # on a CPU vLLM draws its tokens from there
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_float32_matmul_precision() == "highest"
    assert gap(model, "later", PROMPTS, said[:4], Sampled()) < NEAR
    assert gap(model, "policy", PROMPTS[:1], said[4:], Sampled()) < NEAR


def test_all_weights_that_have_learned_are_heard() -> None:
    if DEVICE.type != "cuda":
        return  # vLLM for CPUs packs weights anew when it has loaded them: they have no place to be copied to
    shared()[1].close()
    shared.cache_clear()
    model = small_model(torch.float32)  # trained whole: in float32, sampled in bfloat16
    worker, how = VllmWorker(model, 16, 8192), Sampling(1.0, max_tokens=30, seed=6)
    said = ask(worker, *((None, p, how) for p in PROMPTS))
    assert gap(model, None, PROMPTS, said, Sampled()) < NEAR
    with torch.no_grad():
        generator = torch.Generator().manual_seed(9)
        for parameter in model.base.parameters():
            if parameter.dim() == 2:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator).to(DEVICE))
    assert gap(model, None, PROMPTS, said, Sampled()) > 10 * NEAR
    TransformersGenerator(worker, None).sync()
    again = ask(worker, *((None, p, how) for p in PROMPTS))
    assert gap(model, None, PROMPTS, again, Sampled()) < NEAR
    worker.close()


def main() -> int:
    failed = 0
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            started = time.perf_counter()
            try:
                test()
                said = "ok"
            except Exception:
                failed, said = failed + 1, f"FAILED\n{traceback.format_exc()}"
            print(f"{time.perf_counter() - started:6.1f} s  {name}: {said}", flush=True)
    print(f"{failed} failed")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
