"""The worker: many requests at once over one model, each served with its own adapter and its own result."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
import torch
from tiny import decode_batch, give_adapter, tiny_local_model

from zerosearch.episodes.generation import Generation, Sampling
from zerosearch.errors import ModelError
from zerosearch.models.local import LocalModel
from zerosearch.models.worker import TransformersGenerator, Worker

T = TypeVar("T")
PATIENCE = 30.0  # seconds until a test that hangs is failed; never waited for in a run that passes


def run(worker: Worker, main: Coroutine[Any, Any, T]) -> T:
    async def limited() -> T:
        return await asyncio.wait_for(main, PATIENCE)

    try:
        return asyncio.run(limited())
    finally:
        worker.close()


def expected(model: LocalModel, lane: str | None, prompt: list[int], sampling: Sampling) -> Generation:
    with model.speaking_as(lane):
        return decode_batch(model.base, [prompt], [sampling], tokenizer=model.tokenizer, eos_ids=model.eos_ids)[0]


@contextmanager
def before_each_batch(model: LocalModel, call: Callable[[int, int], None]) -> Iterator[None]:
    """Calls `call(batch number, distinct prompts)` inside the decoding thread, before each prefill."""
    batches = 0

    def hook(module: Any, args: Any, kwargs: Any) -> None:
        nonlocal batches
        if not kwargs["past_key_values"].get_seq_length():
            call(batches, kwargs["input_ids"].shape[0])
            batches += 1

    handle = model.base.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@pytest.fixture
def model(tiny_model: LocalModel) -> LocalModel:
    give_adapter(tiny_model, "policy", seed=1)
    give_adapter(tiny_model, "simulator", seed=2)
    return tiny_model


def requests(model: LocalModel, count: int) -> list[tuple[str | None, list[int], Sampling]]:
    """Requests of unequal length whose lanes alternate."""
    lanes = ("policy", "simulator", None)
    prompt = model.codec.encode("Answer the question below. You may look things up before you answer.")
    return [(lanes[n % 3], prompt[: 1 + 3 * n], Sampling(max_tokens=4 + n % 7, seed=n)) for n in range(count)]


def test_requests_of_several_adapters_at_once_each_get_their_own_result(model: LocalModel) -> None:
    worker = Worker(model, continuous=False)
    wanted = requests(model, 12)
    finished: list[int] = []

    async def ask(n: int) -> Generation:
        lane, prompt, sampling = wanted[n]
        generation = await TransformersGenerator(worker, lane).generate(prompt, sampling)
        finished.append(n)
        return generation

    async def main() -> list[Generation]:
        return await asyncio.gather(*map(ask, range(12)))

    out = run(worker, main())
    assert finished != sorted(finished)  # lanes are served one after the other
    for generation, (lane, prompt, sampling) in zip(out, wanted, strict=True):
        alone = expected(model, lane, prompt, sampling)
        assert generation.token_ids == alone.token_ids
        assert generation.logprobs == pytest.approx(alone.logprobs, abs=1e-4)
    others = [expected(model, "simulator", *wanted[n][1:]).token_ids for n in range(0, 12, 3)]
    assert others != [out[n].token_ids for n in range(0, 12, 3)]  # the adapter does make a difference
    assert {lane: (t.batches, t.rows) for lane, t in worker.totals.items()} == dict.fromkeys(
        ("policy", "simulator", None), (1, 4)
    )
    assert sum(t.tokens for t in worker.totals.values()) == sum(len(g.token_ids) for g in out)


def test_requests_that_come_while_a_batch_runs_are_the_next_batch(model: LocalModel) -> None:
    worker = Worker(model, continuous=False)
    wanted = [Sampling(max_tokens=3, seed=n) for n in range(5)]
    sizes: list[int] = []
    late: list[asyncio.Task[Generation]] = []

    async def main() -> list[Generation]:
        loop = asyncio.get_running_loop()
        submitted = threading.Event()

        def submit_more() -> None:
            late.extend(loop.create_task(worker.submit("policy", [5 + s.seed, 5], s)) for s in wanted[2:])
            loop.call_soon(submitted.set)  # after the tasks have run

        def during(batch: int, rows: int) -> None:
            sizes.append(rows)
            if batch == 0:
                loop.call_soon_threadsafe(submit_more)
                assert submitted.wait(PATIENCE)

        with before_each_batch(model, during):
            first = await asyncio.gather(*(worker.submit("policy", [5 + s.seed, 5], s) for s in wanted[:2]))
            return [*first, *await asyncio.gather(*late)]

    out = run(worker, main())
    assert sizes == [2, 3]
    assert [g.token_ids for g in out] == [expected(model, "policy", [5 + s.seed, 5], s).token_ids for s in wanted]


def test_requests_a_few_turns_of_the_event_loop_apart_make_one_batch(model: LocalModel) -> None:
    worker = Worker(model, continuous=False)
    sizes: list[int] = []

    async def after(turns: int) -> Generation:
        for _ in range(turns):
            await asyncio.sleep(0)
        return await worker.submit("policy", [5 + turns, 5], Sampling(max_tokens=2))

    async def main() -> None:
        with before_each_batch(model, lambda batch, rows: sizes.append(rows)):
            await asyncio.gather(*map(after, (0, 4, 8, 12)))

    run(worker, main())
    assert sizes == [4]


def test_the_event_loop_goes_on_while_a_batch_is_decoded(model: LocalModel) -> None:
    worker = Worker(model, continuous=False)
    progressed = threading.Event()
    in_time: list[bool] = []

    async def main() -> Generation:
        loop = asyncio.get_running_loop()
        decoding = asyncio.Event()

        async def elsewhere() -> None:
            await decoding.wait()
            progressed.set()

        def during(batch: int, rows: int) -> None:
            loop.call_soon_threadsafe(decoding.set)
            in_time.append(progressed.wait(PATIENCE / 3))  # never set if the loop were held up by this very thread

        other = asyncio.create_task(elsewhere())
        with before_each_batch(model, during):
            generation = await worker.submit(None, [5], Sampling(max_tokens=2))
        await other
        return generation

    run(worker, main())
    assert in_time == [True]


@pytest.mark.parametrize("continuous", [False, True])
def test_an_error_in_a_batch_reaches_all_who_wait_for_it_and_nobody_else(model: LocalModel, continuous: bool) -> None:
    worker = Worker(model, continuous=continuous)
    good, bad = [5, 6], [len(model.tokenizer) + 7]  # the second is no token of the model
    short = Sampling(max_tokens=2)

    async def main() -> tuple[Sequence[Any], Generation]:
        asked = (("policy", good), ("policy", bad), ("simulator", good))
        first = await asyncio.gather(*(worker.submit(*one, short) for one in asked), return_exceptions=True)
        later = await worker.submit("policy", good, short)
        if continuous:
            assert worker._sampler is not None
            assert worker._sampler._pages.available == worker._sampler._pages.number - 1
        return first, later

    first, later = run(worker, main())
    assert [type(result) for result in first] == [IndexError, IndexError, Generation]
    assert later.token_ids == expected(model, "policy", good, short).token_ids


def test_a_worker_serves_one_event_loop_after_the_other(model: LocalModel) -> None:
    worker = Worker(model, continuous=False)
    results = [asyncio.run(worker.submit("policy", [5, 6], Sampling(max_tokens=3))) for _ in range(2)]
    worker.close()
    assert results[0] == results[1]


@pytest.mark.parametrize("when", ["waiting", "decoding"])
def test_who_gives_up_harms_nobody(model: LocalModel, when: str) -> None:
    worker = Worker(model, continuous=False)
    sizes: list[int] = []

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        cancelled = threading.Event()
        tasks = [
            loop.create_task(worker.submit("policy", [5 + n, 5], Sampling(max_tokens=3, seed=n))) for n in range(4, 8)
        ]

        def give_up() -> None:
            tasks[1].cancel()
            loop.call_soon(cancelled.set)

        def during(batch: int, rows: int) -> None:
            sizes.append(rows)
            if when == "decoding":
                loop.call_soon_threadsafe(give_up)
                assert cancelled.wait(PATIENCE)

        with before_each_batch(model, during):
            if when == "waiting":
                await asyncio.sleep(0)  # the tasks have run as far as their requests
                tasks[1].cancel()
            return await asyncio.gather(*tasks, return_exceptions=True)

    out = run(worker, main())
    assert sizes == [3 if when == "waiting" else 4]
    assert isinstance(out.pop(1), asyncio.CancelledError)
    for generation, n in zip(out, (4, 6, 7), strict=True):
        assert generation.token_ids == expected(model, "policy", [5 + n, 5], Sampling(max_tokens=3, seed=n)).token_ids


def test_a_lane_in_which_everybody_gave_up_does_not_stop_the_others(model: LocalModel) -> None:
    worker = Worker(model, continuous=False)

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        given_up = [loop.create_task(worker.submit("policy", [5], Sampling(max_tokens=2))) for _ in range(3)]
        kept = loop.create_task(worker.submit("simulator", [5], Sampling(max_tokens=2)))
        await asyncio.sleep(0)
        for task in given_up:
            task.cancel()
        return await asyncio.gather(kept, *given_up, return_exceptions=True)

    out = run(worker, main())
    assert isinstance(out[0], Generation)
    assert set(worker.totals) == {"simulator"}


@pytest.mark.parametrize(
    ("limits", "sizes"),
    [
        ({}, [6]),
        ({"max_batch_rows": 4}, [4, 2]),
        ({"max_batch_tokens": 60}, [3, 2, 1]),  # 3 x (10 + 6), 2 x (20 + 6), then one that is too long by itself
        ({"max_batch_tokens": 48}, [3, 1, 1, 1]),  # 3 x 16 just fits, 2 x 26 does not
        ({"max_batch_tokens": 1}, [1] * 6),
        ({"max_batch_rows": 2, "max_batch_tokens": 60}, [2, 2, 1, 1]),
    ],
)
def test_a_batch_keeps_within_rows_and_tokens(model: LocalModel, limits: dict[str, Any], sizes: list[int]) -> None:
    worker = Worker(model, **limits, continuous=False)
    seen: list[int] = []
    prompts = [[token] * length for token, length in enumerate((10, 4, 10, 20, 3, 200), start=5)]

    async def main() -> list[Generation]:
        with before_each_batch(model, lambda batch, rows: seen.append(rows)):
            return await asyncio.gather(*(worker.submit(None, p, Sampling(max_tokens=6)) for p in prompts))

    out = run(worker, main())
    assert seen == sizes
    for prompt, generation in zip(prompts, out, strict=True):
        assert generation.token_ids == expected(model, None, prompt, Sampling(max_tokens=6)).token_ids


def test_each_token_is_told_as_it_is_sampled_and_to_its_own_request_only(model: LocalModel) -> None:
    worker = Worker(model, continuous=False)
    told: list[int] = []
    forwards_at: list[int] = []
    forwards = 0

    def count(module: Any, args: Any, kwargs: Any) -> None:
        nonlocal forwards
        forwards += 1

    def hear(token: int) -> None:
        told.append(token)
        forwards_at.append(forwards)

    handle = model.base.register_forward_pre_hook(count, with_kwargs=True)
    prompt, sampling = model.codec.encode("Nepal"), Sampling(temperature=0.0, max_tokens=6)

    async def both() -> list[Generation]:
        heard, unheard = TransformersGenerator(worker, "policy", hear), TransformersGenerator(worker, "policy")
        other = unheard.generate(model.codec.encode("Peru, Nepal"), sampling)
        return list(await asyncio.gather(heard.generate(prompt, sampling), other))

    try:
        mine, other = run(worker, both())
    finally:
        handle.remove()
    assert told == mine.token_ids
    assert len(other.token_ids) > 0
    assert len(set(forwards_at)) == len(told)  # one a step, and not all at the end
    assert mine.token_ids == expected(model, "policy", prompt, sampling).token_ids


@pytest.mark.parametrize("continuous", [False, True])
def test_a_listener_that_raises_ends_its_request_and_not_the_worker(model: LocalModel, continuous: bool) -> None:
    worker = Worker(model, continuous=continuous)
    prompt, sampling = model.codec.encode("Nepal"), Sampling(temperature=0.0, max_tokens=6)
    told: list[int] = []

    def stop(token: int) -> None:
        told.append(token)
        if len(told) == 3:
            raise LookupError("enough")

    async def main() -> list[Any]:
        asked = (TransformersGenerator(worker, None, hear).generate(prompt, sampling) for hear in (None, stop))
        first = await asyncio.gather(*asked, return_exceptions=True)
        return [*first, await TransformersGenerator(worker, None).generate(prompt, sampling)]

    other, stopped, later = run(worker, main())
    assert isinstance(stopped, LookupError)
    assert len(told) == 3
    assert later.token_ids == expected(model, None, prompt, sampling).token_ids
    assert not continuous or other.token_ids == later.token_ids  # a batch ends as a whole


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("continuous", [False, True])
def test_logits_that_are_not_numbers_are_said_and_not_sampled_from(
    temperature: float, continuous: bool, tiny_tokenizer: Any
) -> None:
    model = tiny_local_model(tiny_tokenizer)
    give_adapter(model, "simulator")
    with torch.no_grad():
        [*model.adapter_parameters("simulator").values()][-1][0, 0] = torch.nan
    told: list[int] = []
    sampling = Sampling(max_tokens=4, temperature=temperature)
    worker = Worker(model, continuous=continuous)
    with pytest.raises(ModelError, match="tiny-0, adapter simulator, gives logits that are not numbers") as caught:
        run(worker, worker.submit("simulator", [5, 6, 7], sampling, told.append))
    assert "\n" not in str(caught.value)
    assert told == []
    worker = Worker(model, continuous=continuous)
    assert len(run(worker, worker.submit(None, [5, 6, 7], sampling)).token_ids) > 0  # the base is sound


def test_a_model_too_large_for_float16_is_told_of_formats_that_hold_it(tiny_tokenizer: Any) -> None:
    model = tiny_local_model(tiny_tokenizer)
    model.base.model.norm.weight.fill_(6e4)
    model.base.half()
    worker = Worker(model, continuous=False)
    with pytest.raises(ModelError, match="float16 holds no number beyond 65504, bfloat16 and float32 do"):
        run(worker, worker.submit(None, [5, 6, 7], Sampling(max_tokens=4)))
