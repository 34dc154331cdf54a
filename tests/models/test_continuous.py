"""The continuous sampler: the same tokens as each prompt alone, whatever decodes beside it, comes later or leaves."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import decode_batch, give_adapter, tiny_local_model

from zerosearch.episodes.generation import Generation, Sampling
from zerosearch.models.continuous import ContinuousSampler, Row
from zerosearch.models.decode_steps import rows_for
from zerosearch.models.local import LocalModel
from zerosearch.models.paged import Layout
from zerosearch.models.worker import Worker

TEXTS = (
    "Nepal",
    "<think> I need to search for this. </think>\n<search>",
    "Question: Which country has the capital Kathmandu?\n" * 3,
    "Question: Which country has the capital Kathmandu?\n" * 3 + "Nepal",
    "x",
)
LENGTHS = (3, 9, 30, 60, 5)


@pytest.fixture
def tiny_model(tiny_model: LocalModel) -> LocalModel:
    """In float64: float32 would draw a neighbour now and then."""
    tiny_model.base.double()
    return tiny_model


def sampler_of(model: LocalModel, *, rows: int = 64, tokens: int = 8192) -> ContinuousSampler:
    worker = Worker(model, max_batch_rows=rows, max_batch_tokens=tokens, continuous=True)
    sampler = worker._open_sampler()
    assert sampler is not None
    return sampler


def rows_of(model: LocalModel, count: int, speaker: str | None = None, **sampling: Any) -> list[Row]:
    return [
        Row(
            speaker,
            model.codec.encode(TEXTS[i % len(TEXTS)]),
            Sampling(**{"max_tokens": LENGTHS[i % len(LENGTHS)], "seed": i} | sampling),
        )
        for i in range(count)
    ]


def alone(model: LocalModel, row: Row) -> Generation:
    with model.speaking_as(row.speaker):
        return decode_batch(model.base, [row.prompt], [row.sampling], tokenizer=model.tokenizer, eos_ids=model.eos_ids)[
            0
        ]


def run(sampler: ContinuousSampler) -> list[Row]:
    ended = []
    while sampler.busy:
        ended += sampler.advance()
    return ended


def assert_as_alone(model: LocalModel, rows: list[Row]) -> None:
    for row in rows:
        wanted, got = alone(model, row), row.generation
        assert (got.token_ids, got.stop_reason) == (wanted.token_ids, wanted.stop_reason)
        assert got.logprobs == pytest.approx(wanted.logprobs, abs=1e-4)


@pytest.mark.parametrize("count", [1, 5, 13])
def test_tokens_are_those_of_each_prompt_alone(tiny_model: LocalModel, count: int) -> None:
    sampler, rows = sampler_of(tiny_model), rows_of(tiny_model, count)
    for row in rows:
        sampler.add(row)
    ended = run(sampler)
    assert sorted(map(id, ended)) == sorted(map(id, rows))
    assert_as_alone(tiny_model, rows)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4), st.booleans()), min_size=1, max_size=12))
def test_rows_come_go_and_are_dropped_at_any_time(arrivals: list[tuple[int, int, bool]]) -> None:
    """Few rows and a small cache, so that most wait; what is dropped leaves its room to others."""
    from tiny import tiny_tokenizer

    model = tiny_local_model(tiny_tokenizer())
    model.base.double()
    sampler = sampler_of(model, rows=3, tokens=640)
    rows, dropped = [], []
    for number, (wait, kind, leaves) in enumerate(arrivals):
        row = Row(None, model.codec.encode(TEXTS[kind]), Sampling(max_tokens=LENGTHS[kind], seed=number))
        sampler.add(row)
        (dropped if leaves else rows).append(row)
        for _ in range(wait):
            sampler.advance()
        if leaves:
            sampler.drop(row)
    run(sampler)
    assert_as_alone(model, rows)
    assert sampler._pages.available == sampler._pages.number - 1


def test_speakers_decode_side_by_side(tiny_model: LocalModel) -> None:
    give_adapter(tiny_model, "policy")
    tiny_model.base.double()
    sampler = sampler_of(tiny_model)
    rows = rows_of(tiny_model, 6, "policy") + rows_of(tiny_model, 6)
    for row in rows:
        sampler.add(row)
    sampler.advance()
    sampler.advance()
    assert all(row.ids for row in rows), "nobody waits for the other speaker"
    run(sampler)
    assert_as_alone(tiny_model, rows)
    assert [row.ids for row in rows[:6]] != [row.ids for row in rows[6:]]


def test_an_episode_prefills_its_new_page_only(tiny_model: LocalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = sampler_of(tiny_model)
    filled: list[int] = []
    fill = sampler._fill_padded

    def counted(speaker: Any, rows: list[Row]) -> Any:
        filled.extend(len(row.prompt) - row.filled for row in rows)
        return fill(speaker, rows)

    monkeypatch.setattr(sampler, "_fill_padded", counted)
    first = Row(None, tiny_model.codec.encode(TEXTS[2]), Sampling(max_tokens=40))
    group = [Row(None, first.prompt, Sampling(max_tokens=4, seed=seed)) for seed in range(1, 5)]
    for row in (first, *group):
        sampler.add(row)
    run(sampler)
    assert filled[0] == len(first.prompt)
    assert filled[1:] == [(len(first.prompt) - 1) % 16 + 1] * 4, "four begin with what the first has computed"
    page = tiny_model.codec.encode("\n<information> Nepal </information>\n")
    turn = Row(None, first.prompt + first.ids + page, Sampling(max_tokens=5))
    sampler.add(turn)
    run(sampler)
    assert filled[5] <= len(page) + 16
    assert_as_alone(tiny_model, [first, *group, turn])


def test_weights_that_changed_are_heard(tiny_model: LocalModel) -> None:
    sampler = sampler_of(tiny_model)
    for _ in range(2):
        rows = rows_of(tiny_model, 5)
        for row in rows:
            sampler.add(row)
        run(sampler)
        assert_as_alone(tiny_model, rows)
        with torch.no_grad():
            for parameter in tiny_model.base.parameters():
                parameter.mul_(1.1)
        sampler.forget()


@pytest.mark.parametrize("odd", [{"max_tokens": 60}, {"top_k": 3}, {"top_p": 0.5}])
def test_what_the_sampler_cannot_decode_is_decoded_as_a_batch(tiny_model: LocalModel, odd: dict[str, Any]) -> None:
    worker = Worker(tiny_model, max_batch_tokens=64)
    row = Row(None, [5] * 5, Sampling(**{"max_tokens": 4} | odd))
    assert not sampler_of(tiny_model, tokens=64).fits(row)
    got = asyncio.run(worker.submit(None, row.prompt, row.sampling))
    worker.close()
    assert got == alone(tiny_model, row)


def test_a_cache_that_there_is_no_memory_for_is_said_to_all_who_wait(
    tiny_model: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nobody waits for ever; once there is room, the same worker decodes."""
    worker = Worker(tiny_model)
    sampler = worker._open_sampler
    asked = [(speaker, [5, 6], Sampling(max_tokens=2)) for speaker in (None, None)]

    def full() -> Any:
        raise torch.OutOfMemoryError("out of memory")

    async def main() -> list[Any]:
        waiting = asyncio.gather(*(worker.submit(*one) for one in asked), return_exceptions=True)
        return await asyncio.wait_for(waiting, 20)

    monkeypatch.setattr(worker, "_open_sampler", full)
    assert [type(result) for result in asyncio.run(main())] == [torch.OutOfMemoryError] * 2
    monkeypatch.setattr(worker, "_open_sampler", sampler)
    assert [type(result) for result in asyncio.run(main())] == [Generation] * 2
    worker.close()


def test_who_gives_up_while_it_decodes_harms_nobody(tiny_model: LocalModel) -> None:
    worker = Worker(tiny_model)
    rows = rows_of(tiny_model, 6, max_tokens=30)

    async def main() -> list[Any]:
        seen = asyncio.Event()
        loop = asyncio.get_running_loop()
        tell = [None, lambda token: loop.call_soon_threadsafe(seen.set), None, None, None, None]
        tasks = [
            loop.create_task(worker.submit(None, row.prompt, row.sampling, told))
            for row, told in zip(rows, tell, strict=True)
        ]
        await seen.wait()
        tasks[1].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    out = asyncio.run(main())
    assert isinstance(out.pop(1), asyncio.CancelledError)
    for got, row in zip(out, [rows[0], *rows[2:]], strict=True):
        assert got.token_ids == alone(tiny_model, row).token_ids
    asyncio.run(worker.submit(None, [5], Sampling(max_tokens=1)))  # what was dropped goes with the next look
    worker.close()
    assert worker._sampler is not None
    assert worker._sampler._pages.available == worker._sampler._pages.number - 1


@pytest.mark.parametrize("continuous", [True, False])
def test_a_worker_that_is_closed_while_it_decodes_ends_without_a_word(tiny_model: LocalModel, continuous: bool) -> None:
    """As where a budget ends a run: what is left of the others is not asked for, and is no error."""
    worker = Worker(tiny_model, continuous=continuous, max_batch_rows=2)
    rows, complaints = rows_of(tiny_model, 6, max_tokens=30), list[Any]()

    async def main() -> None:
        loop, seen = asyncio.get_running_loop(), asyncio.Event()
        loop.set_exception_handler(lambda loop, context: complaints.append(context))
        tasks = [
            loop.create_task(
                worker.submit(None, row.prompt, row.sampling, lambda token: loop.call_soon_threadsafe(seen.set))
            )
            for row in rows
        ]
        await seen.wait()
        for task in tasks:
            task.cancel()
        worker.close()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _ in range(50):
            await asyncio.sleep(0)
        assert worker._task is not None
        assert worker._task.done()
        assert worker._task.exception() is None

    asyncio.run(main())
    gc.collect()
    assert complaints == []


def test_a_cache_takes_a_share_of_the_memory_that_is_there(
    tiny_model: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout.of(tiny_model.base)
    assert layout is not None
    monkeypatch.setattr("zerosearch.models.worker.memory", lambda: (10 * layout.page_bytes, None))
    sampler = Worker(tiny_model)._open_sampler()
    assert sampler is not None
    assert sampler._pages.number - 1 == 4
    assert sampler.fits(Row(None, [5] * 5, Sampling(max_tokens=40)))
    assert not sampler.fits(Row(None, [5] * 5, Sampling(max_tokens=60)))


def test_models_of_other_caches_are_not_for_it(tiny_tokenizer: Any) -> None:
    model = tiny_local_model(tiny_tokenizer)
    assert Layout.of(model.base) is not None
    model.base.config._attn_implementation = "eager"
    assert Layout.of(model.base) is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="records CUDA graphs")
def test_recorded_steps_are_the_steps(tiny_model: LocalModel, caplog: pytest.LogCaptureFixture) -> None:
    """Also after the weights have changed in place. In float32, as the kernels compute in no more."""
    tiny_model.base.float().cuda()
    tiny_model.device = torch.device("cuda")
    caplog.set_level("WARNING")
    sampler = sampler_of(tiny_model)
    for count in (3, 13, 40, 3):
        rows = rows_of(tiny_model, count)
        for row in rows:
            sampler.add(row)
        run(sampler)
        assert_as_alone(tiny_model, rows)
        with torch.no_grad():
            for parameter in tiny_model.base.parameters():
                parameter.mul_(1.01)
        sampler.forget()
    assert not caplog.messages


def test_steps_are_recorded_for_few_numbers_of_rows() -> None:
    assert all(rows_for(n) >= n for n in range(1, 600))
    assert sorted({rows_for(n) for n in range(1, 257)}) == [4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256]
