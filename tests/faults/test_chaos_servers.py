"""Servers that fail in every way, three requests in ten: what is promised holds, what was asked is booked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from faults.chaos import FINAL, HARMLESS, KEY, PASSING, chaos, leaks
from simulator.rows import NEPAL, PERU, episode, search

from zerosearch.episodes.episode import EpisodeLimits
from zerosearch.episodes.generation import Sampling
from zerosearch.episodes.rollout import ErrorRate, RolloutSettings, run_episode
from zerosearch.episodes.search import Quality, SearchPage, SearchRequest
from zerosearch.errors import EngineError, RunError
from zerosearch.models.chat import OpenAIWriter
from zerosearch.models.config import Server
from zerosearch.models.endpoint import OpenAIGenerator, byte_codec, byte_limits
from zerosearch.models.retry import Retry
from zerosearch.simulator.collect import collect, read_collection
from zerosearch.simulator.engine import SimulatedEngine
from zerosearch.simulator.judge import judge
from zerosearch.simulator.label import JUDGE, label_pages

Tally = Callable[..., AbstractContextManager[None]]
QUICK = Retry(attempts=4, deadline_seconds=60.0, backoff_seconds=0.001, max_backoff_seconds=0.004)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("CHAOS_KEY", KEY)
    caplog.set_level(logging.INFO)


def test_a_simulator_that_fails(tally: Tally, tries: Any, caplog: pytest.LogCaptureFixture) -> None:
    searches = 60

    async def ask(url: str) -> list[SearchPage | EngineError]:
        engine = SimulatedEngine(OpenAIWriter(Server(url, api_key_env="CHAOS_KEY"), "s"), retry=QUICK)
        requests = [SearchRequest(f"capital {n}", 2, NEPAL, Quality.USEFUL, seed=n) for n in range(searches)]
        try:
            return list(await asyncio.gather(*map(engine.search, requests), return_exceptions=True))  # type: ignore[arg-type]
        finally:
            await engine.aclose()

    for seed in range(tries(20, 1)):
        with (
            tally("chaos, simulator", f"seed {seed}", tried=searches),
            chaos(
                lambda body: "[1] Nepal: Kathmandu.\n[2] Peru: Lima.", seed=seed, ways=(*FINAL, *PASSING, *HARMLESS)
            ) as server,
        ):
            caplog.clear()
            found = asyncio.run(ask(server.url))
            assert all(isinstance(one, SearchPage | EngineError) for one in found), found
            assert sum(one.attempts for one in found) == server.requests
            failed = [one for one in found if isinstance(one, EngineError)]
            assert len(failed) >= sum(server.did[way] for way in ("400", "401", "404"))
            assert all("\n" not in str(one) and len(str(one)) < 600 for one in failed)
            assert not leaks(*map(str, found), *map(repr, found), caplog.text)


class OnePage:
    """A real engine would do as well: it always has the page."""

    name = identity = "one-page"

    async def search(self, request: SearchRequest) -> SearchPage:
        return SearchPage((), self.name)


def test_a_policy_that_fails_is_asked_until_it_has_answered(
    tally: Tally, tries: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def turn(body: dict[str, Any]) -> str:
        own = sum(m["role"] == "assistant" for m in body["messages"])
        return "<think>x</think><answer>Lima" if own else "<think>x</think><search>capital of Peru"

    codec = byte_codec()
    settings = RolloutSettings(
        codec, lambda text: codec.encode(f"{text}\n"), byte_limits(EpisodeLimits(max_searches=2)), Sampling()
    )

    async def play(url: str, folder: Path) -> None:
        generator = OpenAIGenerator(Server(url, api_key_env="CHAOS_KEY"), "p", max_turn_tokens=64, retry=QUICK)
        try:
            engine, errors = OnePage(), ErrorRate()
            play = partial(run_episode, generator=generator, engine=engine, settings=settings, errors=errors)
            await collect([NEPAL, PERU], play, folder, rollouts=10)
        finally:
            await generator.aclose()

    for seed in range(tries(20, 1)):
        folder = tmp_path / str(seed)
        with (
            tally("chaos, policy", f"seed {seed}", tried=20),
            chaos(turn, seed=seed, ways=(*PASSING, *HARMLESS, "401")) as server,
        ):
            caplog.clear()
            said = []
            for _ in range(100):
                try:
                    asyncio.run(play(server.url, folder))
                    break
                except RunError as stopped:  # the same command goes on
                    said.append(str(stopped))
            episodes = list(read_collection(folder))
            assert sorted((e.question.id, e.rollout) for e in episodes) == [(q, r) for q in "np" for r in range(10)]
            assert all(e.answer.startswith("Lima") for e in episodes if e.answer)
            assert all("Nothing written so far is lost" in line for line in said)
            assert not leaks(*said, caplog.text, folder=folder)


def test_a_judge_that_fails_loses_no_verdict(tally: Tally, tries: Any, caplog: pytest.LogCaptureFixture) -> None:
    pages = label_pages([episode(NEPAL, "x", *(search(f"query {n}", f"Page {n}.") for n in range(40)))])

    async def ask(url: str, held: dict[str, Quality], kept: dict[str, Quality]) -> Any:
        writer = OpenAIWriter(Server(url, api_key_env="CHAOS_KEY"), "j")
        try:
            return await judge(pages, writer, retry=QUICK, held=held, keep=kept.__setitem__)
        finally:
            await writer.aclose()

    for seed in range(tries(20, 1)):
        with (
            tally("chaos, judge", f"seed {seed}", tried=40),
            chaos(lambda body: "yes", seed=seed, ways=(*FINAL, *PASSING)) as server,
        ):
            caplog.clear()
            held: dict[str, Quality] = {}
            said = []
            for _ in range(100):
                kept: dict[str, Quality] = {}
                try:
                    done = asyncio.run(ask(server.url, held, kept))
                except RunError as stopped:
                    said.append(str(stopped))
                    done = None
                assert not kept.keys() & held.keys()  # nothing is asked twice
                held |= kept
                if done and not done.failed and not done.unclear:
                    break
            assert len(held) == 40
            assert all(page.labels[JUDGE] is Quality.USEFUL for page in done.pages)
            assert not leaks(*said, caplog.text)
