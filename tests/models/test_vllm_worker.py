"""The worker over vLLM, with an engine that decodes a small model on a CPU: what is vLLM's own is in test_vllm.py."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from tiny import decode_batch, give_adapter

from zerosearch.episodes.generation import Generation, Sampling
from zerosearch.errors import ModelError
from zerosearch.models.continuous import Speaker
from zerosearch.models.local import LocalModel
from zerosearch.models.sampling import next_tokens
from zerosearch.models.vllm_weights import adapter_rank
from zerosearch.models.vllm_worker import Stepped, VllmWorker
from zerosearch.models.worker import TransformersGenerator


@dataclass
class Decoding:
    speaker: Speaker
    prompt: list[int]
    sampling: Sampling
    eos_ids: frozenset[int]
    ids: list[int] = field(default_factory=list)


class SmallEngine:
    """One token a request and step, computed anew; like vLLM, it is a step behind what it is told."""

    max_length = 120

    def __init__(self, model: LocalModel) -> None:
        self.model = model
        self.max_rank = max((adapter_rank(model, name) for name in model.adapters), default=0)
        self.running: dict[str, Decoding] = {}
        self.aborted: list[str] = []
        self.refreshed: list[set[Speaker]] = []
        self.closed = False
        self.fails_at: int | None = None
        self.steps = 0

    def add(
        self, request: str, speaker: Speaker, prompt: list[int], sampling: Sampling, eos_ids: frozenset[int]
    ) -> None:
        self.running[request] = Decoding(speaker, prompt, sampling, eos_ids)

    @torch.inference_mode()
    def step(self) -> Iterator[Stepped]:
        self.steps += 1
        if self.steps == self.fails_at:
            raise RuntimeError("the GPU is gone")
        for request, one in list(self.running.items()):
            with self.model.speaking_as(one.speaker):
                logits = self.model.base(torch.tensor([one.prompt + one.ids])).logits[:, -1]
            token, logprob = next_tokens(logits, [one.sampling], len(one.ids))
            one.ids.append(int(token))
            finished = one.ids[-1] in one.eos_ids or len(one.ids) >= one.sampling.max_tokens
            if finished:
                del self.running[request]
            yield Stepped(request, [int(token)], [float(logprob)], finished)

    def abort(self, requests: list[str]) -> None:
        self.aborted += requests
        for request in requests:
            self.running.pop(request, None)

    def refresh(self, speakers: Iterable[Speaker]) -> None:
        assert not self.running
        self.refreshed.append(set(speakers))

    def close(self) -> None:
        self.closed = True


@dataclass
class Opened:
    """A worker, and the engines that it has opened."""

    worker: VllmWorker
    engines: list[SmallEngine]


def opened(model: LocalModel) -> Opened:
    engines: list[SmallEngine] = []

    def open_engine(model: LocalModel, rows: int, tokens: int) -> SmallEngine:
        engines.append(SmallEngine(model))
        return engines[-1]

    return Opened(VllmWorker(model, 8, 4096, open=open_engine), engines)


@pytest.fixture
def model(tiny_model: LocalModel) -> LocalModel:
    give_adapter(tiny_model, "policy")
    return tiny_model


def ask(worker: VllmWorker, *requests: tuple[Speaker, list[int], Sampling]) -> list[Any]:
    async def all_of_them() -> list[Any]:
        asked = (TransformersGenerator(worker, s).generate(ids, how) for s, ids, how in requests)
        return await asyncio.gather(*asked, return_exceptions=True)

    return asyncio.run(all_of_them())


def alone(model: LocalModel, speaker: Speaker, prompt: list[int], how: Sampling) -> Generation:
    with torch.inference_mode(), model.speaking_as(speaker):
        return decode_batch(model.base, [prompt], [how], tokenizer=model.tokenizer, eos_ids=model.eos_ids)[0]


def test_a_generation_is_what_the_native_samplers_would_give_for_the_same_tokens(model: LocalModel) -> None:
    """The same draws: stop strings, ends and log-probs are then the same, cut at the same token."""
    stop = ("e", "</search>", "er")
    requests = [
        (
            ("policy", None)[n % 2],
            [5 + n, 6, 7],
            Sampling(1.0, max_tokens=6 + 4 * n, seed=n, stop=stop if n % 3 else ()),
        )
        for n in range(9)
    ]
    house = opened(model)
    for said, (speaker, prompt, how) in zip(ask(house.worker, *requests), requests, strict=True):
        wanted = alone(model, speaker, prompt, how)
        assert (said.token_ids, said.stop_reason) == (wanted.token_ids, wanted.stop_reason)
        assert said.logprobs == pytest.approx(wanted.logprobs, abs=1e-4)
    assert {alone(model, *request).stop_reason for request in requests} >= {"stop", "length"}
    assert house.engines[0].aborted  # those that a stop string ended
    assert not house.engines[0].running
    house.worker.close()
    assert house.engines[0].closed


def test_tokens_are_counted_by_speaker(model: LocalModel) -> None:
    house = opened(model)
    ask(house.worker, ("policy", [5], Sampling(max_tokens=7)), (None, [6], Sampling(max_tokens=9)))
    totals = house.worker.totals
    assert {s: (t.rows, t.tokens) for s, t in totals.items()} == {"policy": (1, 7), None: (1, 9)}
    assert all(t.seconds > 0 for t in totals.values())


def test_who_gives_up_is_aborted_and_the_others_go_on(model: LocalModel) -> None:
    house = opened(model)

    async def play() -> Generation:
        generator = TransformersGenerator(house.worker, "policy")
        given_up = asyncio.create_task(generator.generate([5], Sampling(max_tokens=100)))
        goes_on = asyncio.create_task(generator.generate([6], Sampling(max_tokens=60)))
        while not house.engines or not house.engines[0].steps:
            await asyncio.sleep(0)
        given_up.cancel()
        return await goes_on

    assert asyncio.run(play()).token_ids == alone(model, "policy", [6], Sampling(max_tokens=60)).token_ids
    assert house.engines[0].aborted == ["1"]


def test_a_listener_that_raises_ends_its_request_alone(model: LocalModel) -> None:
    house, heard = opened(model), list[int]()

    def tire(token: int) -> None:
        raise InterruptedError

    async def play() -> list[Any]:
        how = Sampling(max_tokens=9)
        one, two = (TransformersGenerator(house.worker, None, listener) for listener in (heard.append, tire))
        return await asyncio.gather(one.generate([5], how), two.generate([6], how), return_exceptions=True)

    said, failed = asyncio.run(play())
    assert said.token_ids == heard
    assert isinstance(failed, InterruptedError)
    assert house.engines[0].aborted == ["2"]


def test_weights_that_have_changed_are_taken_before_the_next_token(model: LocalModel) -> None:
    house = opened(model)
    policy = TransformersGenerator(house.worker, "policy")
    policy.sync()
    ask(house.worker, ("policy", [5], Sampling(max_tokens=3)))
    assert house.engines[0].refreshed == []  # it was opened with the weights of now
    policy.sync()
    ask(house.worker, ("policy", [5], Sampling(max_tokens=3)), (None, [5], Sampling(max_tokens=3)))
    assert house.engines[0].refreshed == [{"policy"}]


def test_an_adapter_that_is_too_large_for_the_engine_gets_a_new_one_when_nothing_is_decoded(model: LocalModel) -> None:
    house = opened(model)

    async def play() -> tuple[Generation, Generation]:
        first = asyncio.create_task(
            TransformersGenerator(house.worker, "policy").generate([5], Sampling(max_tokens=40, seed=1))
        )
        while not house.engines or not house.engines[0].steps:
            await asyncio.sleep(0)
        return await first, await TransformersGenerator(house.worker, "large").generate([5], Sampling(max_tokens=5))

    give_adapter(model, "small", seed=3, rank=2)
    ask(house.worker, ("policy", [5], Sampling(max_tokens=2)))
    give_adapter(model, "large", seed=4, rank=16)
    first, second = asyncio.run(play())
    assert first.token_ids == alone(model, "policy", [5], Sampling(max_tokens=40, seed=1)).token_ids
    assert second.token_ids == alone(model, "large", [5], Sampling(max_tokens=5)).token_ids
    assert [engine.max_rank for engine in house.engines] == [4, 16]
    assert house.engines[0].closed


def test_a_text_without_room_is_refused_and_the_others_go_on(model: LocalModel) -> None:
    refused, said = ask(
        opened(model).worker, (None, [5] * 30, Sampling(max_tokens=91)), (None, [5], Sampling(max_tokens=3))
    )
    assert isinstance(refused, ModelError)
    assert "a prompt of 30 tokens and 91 more are beyond the 120" in str(refused)
    assert len(said.token_ids) == 3


def test_an_engine_that_fails_ends_all_who_wait_and_those_who_come_later(model: LocalModel) -> None:
    house = opened(model)
    ask(house.worker, (None, [5], Sampling(max_tokens=2)))
    house.engines[0].fails_at = house.engines[0].steps + 3
    for errors in (
        ask(house.worker, (None, [5], Sampling(max_tokens=20)), ("policy", [6], Sampling(max_tokens=20))),
        ask(house.worker, (None, [5], Sampling(max_tokens=20))),
    ):
        assert all(isinstance(error, ModelError) for error in errors)
        assert "vLLM stopped (RuntimeError: the GPU is gone)" in str(errors[0])


def test_logits_that_are_not_numbers_are_said_and_no_token_of_them_is_taken(model: LocalModel) -> None:
    with torch.no_grad():
        model.base.get_output_embeddings().weight.fill_(float("nan"))
    house = opened(model)
    (error,) = ask(house.worker, (None, [5], Sampling(max_tokens=4)))
    assert isinstance(error, ModelError)
    assert "logits that are not numbers (token 1" in str(error)
