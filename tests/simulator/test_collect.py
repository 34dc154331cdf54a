"""Collecting: every episode once, whatever interrupts it, and what is finished is never lost."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEngine, FakeGenerator
from simulator.rows import NEPAL, PERU

from zerosearch.episodes.episode import Codec, EpisodeLimits
from zerosearch.episodes.generation import Sampling
from zerosearch.episodes.questions import Question
from zerosearch.episodes.rollout import ErrorRate, RolloutSettings, run_episode
from zerosearch.episodes.search import Document, SearchRequest
from zerosearch.errors import DataError, EngineError, RunError
from zerosearch.simulator.collect import Progress, collect, list_parts, read_collection
from zerosearch.usage import Usage

QUESTIONS = [NEPAL, PERU, *(Question(f"q{n}", f"Which is city {n}?", (f"city {n}",)) for n in range(9))]


class Script(FakeGenerator):
    """A policy that searches once and answers with what the page says. Episodes end in another order than begun."""

    def __init__(self, codec: Codec) -> None:
        super().__init__(codec, self.turn)
        self.most = self.running = 0

    async def turn(self, prompt: str, sampling: Sampling) -> str:
        self.running += 1
        self.most = max(self.most, self.running)
        for _ in range(len(self.asked) % 5):
            await asyncio.sleep(0)
        self.running -= 1
        said = prompt.rsplit("[1] ", 1)[-1].split("\n")[0] if "<information>" in prompt else ""
        return f"<answer>{said}</answer>" if said else "<search>city</search>"


def atlas(*, breaks: int | None = None, error: Exception | None = None) -> FakeEngine:
    """Answers with the golden answer; after `breaks` searches with the error."""

    def page(request: SearchRequest) -> Any:
        assert request.question is not None
        return [Document("", request.question.golden_answers[0])]

    pages = [page] if breaks is None else [page] * breaks
    return FakeEngine(*pages, *([error] if error else []), name="atlas", usage=Usage(usd=0.01))


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zerosearch.simulator.collect.PART_SIZE", 4)


def settings(codec: Codec) -> RolloutSettings:
    limits = EpisodeLimits(max_searches=2, max_turn_tokens=80, max_page_tokens=60, max_context_tokens=900)
    return RolloutSettings(codec, lambda text: codec.encode(text + "\n"), limits, Sampling(), top_k=1)


def run(codec: Codec, folder: Path, engine: Any, generator: Script | None = None, **options: Any) -> Progress:
    questions = options.pop("questions", QUESTIONS)
    play = partial(
        run_episode,
        generator=generator or Script(codec),
        engine=engine,
        settings=settings(codec),
        errors=ErrorRate(0.2),
    )
    return asyncio.run(collect(questions, play, folder, **options))


def test_every_question_and_rollout_is_kept_whole(byte_codec: Codec, tmp_path: Path) -> None:
    done = run(byte_codec, tmp_path, atlas(), rollouts=2)
    held = list(read_collection(tmp_path))
    assert sorted((t.question.id, t.rollout) for t in held) == sorted((q.id, r) for q in QUESTIONS for r in range(2))
    assert all(t.answer == t.question.golden_answers[0] for t in held)  # each with its own question
    assert all(len(t.searches) == 1 and t.searches[0].query == "city" for t in held)
    assert done == Progress(22, 22, 22, 22, 0, pytest.approx(0.22))


def test_the_same_call_asks_nothing_twice(byte_codec: Codec, tmp_path: Path) -> None:
    run(byte_codec, tmp_path, atlas())
    before = [p.read_bytes() for p in list_parts(tmp_path)]
    engine = atlas()
    done = run(byte_codec, tmp_path, engine)
    assert len(engine.requests) == 0
    assert (done.done, done.total) == (11, 11)
    assert [p.read_bytes() for p in list_parts(tmp_path)] == before


@pytest.mark.parametrize("error", [RunError("the budget is used up"), RuntimeError("a bug")])
def test_what_was_finished_before_an_error_is_kept_and_not_played_again(
    byte_codec: Codec, tmp_path: Path, error: Exception
) -> None:
    with pytest.raises(type(error), match=str(error)):
        run(byte_codec, tmp_path, atlas(breaks=6, error=error), concurrency=2)
    held = {t.question.id for t in read_collection(tmp_path)}
    assert 4 <= len(held) <= 6
    engine = atlas()
    done = run(byte_codec, tmp_path, engine)
    assert len(engine.requests) == 11 - len(held)
    assert (done.done, done.right) == (11, 11)
    assert len({t.question.id for t in read_collection(tmp_path)}) == 11


def test_a_failed_search_is_kept_as_one_and_counted(byte_codec: Codec, tmp_path: Path) -> None:
    engine = atlas(breaks=10, error=EngineError("deadline", "too late"))
    done = run(byte_codec, tmp_path, engine)
    assert (done.done, done.failed, done.right) == (11, 1, 10)
    (broken,) = (t for t in read_collection(tmp_path) if not t.valid)
    assert broken.searches[-1].error == "deadline"


def test_more_questions_or_rollouts_go_on_from_what_is_there(byte_codec: Codec, tmp_path: Path) -> None:
    run(byte_codec, tmp_path, atlas(), questions=QUESTIONS[:5])
    engine = atlas()
    done = run(byte_codec, tmp_path, engine, rollouts=2)
    assert len(engine.requests) == 22 - 5
    assert (done.done, done.total) == (22, 22)
    assert len({p.name for p in list_parts(tmp_path)}) == 2 + 5


def test_no_more_episodes_are_played_at_a_time_than_asked_for(byte_codec: Codec, tmp_path: Path) -> None:
    generator = Script(byte_codec)
    run(byte_codec, tmp_path, atlas(), generator, rollouts=3, concurrency=3)
    assert generator.most == 3


def test_a_folder_without_parts_is_no_collection(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no part-"):
        list(read_collection(tmp_path))
