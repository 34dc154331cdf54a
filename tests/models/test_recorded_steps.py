"""Recorded steps, on a CPU with graphs that remember as real ones do: prompts end to end, blocks, and new weights."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
import torch
from recorded import recorded_sampler, recording
from test_continuous import assert_as_alone, rows_of, run
from tiny import give_adapter, tiny_local_model

from zerosearch.episodes.generation import Sampling
from zerosearch.models import decode_steps
from zerosearch.models.continuous import Row
from zerosearch.models.local import LocalModel
from zerosearch.models.worker import TransformersGenerator, Worker


@pytest.fixture
def tiny_model(tiny_model: LocalModel) -> LocalModel:
    """In float64: float32 would draw a neighbour now and then."""
    tiny_model.base.double()
    return tiny_model


@pytest.mark.parametrize(("count", "rows"), [(1, 64), (13, 64), (13, 3)])
def test_tokens_are_those_of_each_prompt_alone(
    tiny_model: LocalModel, monkeypatch: pytest.MonkeyPatch, count: int, rows: int
) -> None:
    """Prompts are cut where a step is full, and at most three of them end in one; blocks run on beyond a row's end."""
    recording(monkeypatch)
    sampler, asked = recorded_sampler(Worker(tiny_model, max_batch_rows=rows)), rows_of(tiny_model, count)
    for row in asked:
        sampler.add(row)
        sampler.advance()
    run(sampler)
    assert_as_alone(tiny_model, asked)
    assert sampler._pages.available == sampler._pages.number - 1


def test_an_adapter_that_has_learned_is_heard_by_steps_recorded_before(
    tiny_model: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph asks for no model; seen on a GPU: the sampler spoke with old weights, .04 nats further off each step."""
    recording(monkeypatch)
    give_adapter(tiny_model, "policy")
    tiny_model.base.double()
    worker = Worker(tiny_model, merge=True)
    sampler = recorded_sampler(worker)
    generator = TransformersGenerator(worker, "policy")
    for _ in range(3):
        generator.sync()
        rows = rows_of(tiny_model, 4, "policy")
        for row in rows:
            sampler.add(row)
        run(sampler)
        assert_as_alone(tiny_model, rows)
        with torch.no_grad():
            for parameter in tiny_model.adapter_parameters("policy").values():
                parameter.mul_(1.5)
    worker.close()


def test_what_is_dropped_while_it_decodes_leaves_the_others_alone(
    tiny_model: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording(monkeypatch)
    sampler = recorded_sampler(Worker(tiny_model))
    rows = rows_of(tiny_model, 6)
    gone = Row(None, rows[0].prompt, Sampling(max_tokens=100, seed=99))
    for row in (*rows, gone):
        sampler.add(row)
    sampler.advance()
    sampler.advance()
    sampler.drop(gone)
    ended = run(sampler)
    assert gone not in ended
    assert_as_alone(tiny_model, rows)
    assert sampler._pages.available == sampler._pages.number - 1


def test_a_worker_serves_policy_and_simulator_with_them(
    tiny_model: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording(monkeypatch)
    give_adapter(tiny_model, "policy")
    tiny_model.base.double()
    worker = Worker(tiny_model, merge=True)
    recorded_sampler(worker)

    async def both() -> list[list[int]]:
        asked = [
            TransformersGenerator(worker, speaker).generate([5, 6, 7], Sampling(max_tokens=20, seed=seed))
            for seed in range(3)
            for speaker in ("policy", None)
        ]
        return [generation.token_ids for generation in await asyncio.gather(*asked)]

    found = asyncio.run(both())
    plain = Worker(tiny_model, continuous=False)
    for place, ids in enumerate(found):
        speaker = ("policy", None)[place % 2]
        alone = TransformersGenerator(plain, speaker).generate([5, 6, 7], Sampling(max_tokens=20, seed=place // 2))
        assert ids == asyncio.run(alone).token_ids
    for made in (worker, plain):
        made.close()


def test_two_models_record_one_after_the_other(
    tiny_model: LocalModel, tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has a thread. Seen on a GPU: both recorded at once, CUDA refused, and neither had graphs."""
    recording(monkeypatch)
    record, inside, found = decode_steps._Step.record, [0], [0]

    def slowly(step: Any, pool: Any, *, prompts: bool) -> None:
        inside[0] += 1
        found.append(inside[0])
        time.sleep(0.05)
        record(step, pool, prompts=prompts)
        inside[0] -= 1

    monkeypatch.setattr(decode_steps._Step, "record", slowly)
    other = tiny_local_model(tiny_tokenizer)
    workers = [Worker(model) for model in (tiny_model, other)]

    async def both() -> None:
        for worker in workers:
            recorded_sampler(worker)
        asked = [TransformersGenerator(worker, None).generate([5, 6, 7], Sampling(max_tokens=9)) for worker in workers]
        await asyncio.gather(*asked)

    asyncio.run(both())
    for worker in workers:
        worker.close()
    assert len(found) > 4
    assert max(found) == 1
