"""Pages that are useful in part: which document was asked for as what, by one prompt or by two, and who pays."""

from __future__ import annotations

import asyncio
import re

import pytest
from fakes import ChatCall, FakeChat
from hypothesis import given
from hypothesis import strategies as st

from zerosearch.engines.config import SimulatedConfig
from zerosearch.episodes.questions import Question
from zerosearch.episodes.search import DocumentKind, Noise, Quality, SearchPage, SearchRequest, page_quality
from zerosearch.errors import ConfigError, EngineError
from zerosearch.models.retry import AttemptError, Retry
from zerosearch.simulator.engine import SimulatedEngine
from zerosearch.simulator.prompts import PromptStyle
from zerosearch.usage import Usage

NEPAL = Question("1", "Which capital?", ("Kathmandu",), 2)
U, N = Quality.USEFUL, Noise.PLAIN
TUNED = SimulatedConfig(style="tuned")


def mixed(*kinds: DocumentKind, query: str = "capital of Nepal", seed: int = 7) -> SearchRequest:
    return SearchRequest(query, len(kinds), NEPAL, page_quality(kinds), seed, kinds)


class WholePages(FakeChat):
    """Writes as tuned simulators do: `counts[word]` documents that say what they are and their rank.

    `fails` are the tries, counted from 0 for each word, that come to an error.
    """

    def __init__(self, counts: dict[str, int], fails: dict[str, set[int]] | None = None) -> None:
        super().__init__(self.page, usage=Usage(100, 10, 1e-4))
        self.counts, self.fails = counts, fails or {}
        self.asked: list[tuple[str, int]] = []

    def page(self, call: ChatCall) -> str:
        ((count, word),) = re.findall(r"Write (\d+) (\w+) documents\.", call.text)
        tries = sum(word == before for before, _ in self.asked)
        self.asked.append((word, int(count)))
        if tries in self.fails.get(word, ()):
            error = AttemptError("http", f"status 500 for {word}")
            error.usage = Usage(1000, usd=1e-3)
            raise error
        return "\n".join(f"[{rank}] {word}: number {rank}" for rank in range(1, self.counts[word] + 1))


def search(engine: SimulatedEngine, request: SearchRequest) -> SearchPage:
    return asyncio.run(engine.search(request))


def tuned(writer: FakeChat, attempts: int = 3, deadline: float = 60.0) -> SimulatedEngine:
    return SimulatedEngine(writer, TUNED, retry=Retry(attempts, deadline, backoff_seconds=0.0))


def texts(page: SearchPage) -> list[str]:
    return [f"{d.title} {d.text}" for d in page.documents]


def test_a_tuned_simulator_is_asked_for_whole_pages_and_the_first_documents_of_each_are_taken() -> None:
    writer = WholePages({"useful": 4, "noisy": 4})
    page = search(tuned(writer), mixed(N, U, U, N))
    assert sorted(writer.asked) == [("noisy", 4), ("useful", 4)]
    assert texts(page) == ["noisy number 1", "useful number 1", "useful number 2", "noisy number 2"]
    assert page.asked == (N, U, U, N)
    assert (page.quality, page.parsed, page.attempts) == ("mixed", True, 1)
    assert page.usage == Usage(200, 20, pytest.approx(2e-4))
    assert len(set(writer.seeds)) == 2


def test_the_pages_of_another_request_have_other_seeds() -> None:
    writer = WholePages({"useful": 2, "noisy": 2})
    for seed in (7, 8, 7):
        search(tuned(writer), mixed(U, N, seed=seed))
    assert writer.seeds[:2] == writer.seeds[4:]
    assert len(set(writer.seeds)) == 4


@given(
    st.lists(st.sampled_from([U, N]), min_size=2, max_size=7).filter(lambda kinds: len(set(kinds)) == 2),
    st.integers(1, 9),
    st.integers(1, 9),
)
def test_whatever_is_written_a_document_stands_where_its_kind_was_asked_for(
    kinds: list[DocumentKind], useful: int, noisy: int
) -> None:
    page = search(tuned(WholePages({"useful": useful, "noisy": noisy})), mixed(*kinds))
    words = {U: "useful", N: "noisy"}
    left = {U: min(useful, len(kinds)), N: min(noisy, len(kinds))}
    expected, used = [], {U: 0, N: 0}
    for kind in kinds:
        if used[kind] < left[kind]:
            used[kind] += 1
            expected.append((f"{words[kind]} number {used[kind]}", kind))
    assert list(zip(texts(page), page.asked, strict=True)) == expected
    assert page.parsed == (useful == noisy == len(kinds))


@pytest.mark.parametrize("quality", list(Quality))
def test_a_whole_page_is_one_prompt_with_the_seed_of_its_request(quality: Quality) -> None:
    writer = WholePages({"useful": 3, "noisy": 3})
    page = search(tuned(writer), SearchRequest("capital of Nepal", 3, NEPAL, quality, 7))
    assert (writer.asked, writer.seeds) == ([(quality.value, 3)], [7])
    assert page.asked == ((U if quality is U else N),) * 3


def test_only_the_page_that_is_missing_is_asked_for_again_and_all_is_paid_for() -> None:
    writer = WholePages({"useful": 2, "noisy": 2}, fails={"noisy": {0, 1}})
    page = search(tuned(writer), mixed(U, N))
    assert sorted(word for word, _ in writer.asked) == ["noisy", "noisy", "noisy", "useful"]
    assert (texts(page), page.attempts) == (["useful number 1", "noisy number 1"], 3)
    assert page.usage == Usage(2 * 1000 + 2 * 100, 20, pytest.approx(2.2e-3))
    assert len(set(writer.seeds)) == 4


def test_half_a_page_is_a_failed_search_and_what_was_written_is_paid_for() -> None:
    writer = WholePages({"useful": 2, "noisy": 2}, fails={"useful": {0, 1}})
    with pytest.raises(EngineError, match="status 500 for useful") as caught:
        search(tuned(writer, attempts=2), mixed(U, N))
    error = caught.value
    assert (error.kind, error.attempts, error.usage) == ("http", 2, Usage(2100, 10, pytest.approx(2.1e-3)))


def slow_useful(counts: dict[str, int]) -> FakeChat:
    """Its useful page is not there before the noisy one, whose first try fails."""
    pages = WholePages(counts, fails={"noisy": {0}})

    async def write(call: ChatCall) -> str:
        text = pages.page(call)
        for _ in range(50 if "useful documents" in call.text else 0):
            await asyncio.sleep(0)
        return text

    return FakeChat(write, usage=pages.usage)


def test_a_page_that_is_still_being_written_when_the_other_fails_is_waited_for_and_kept() -> None:
    writer = slow_useful({"useful": 2, "noisy": 2})
    page = search(tuned(writer), mixed(U, N))
    assert sorted("useful" in call.text for call in writer.calls) == [False, False, True]
    assert (page.attempts, page.usage.prompt_tokens) == (2, 1200)
    with pytest.raises(EngineError) as caught:
        search(tuned(slow_useful({"useful": 2}), attempts=1), mixed(U, N))
    assert caught.value.usage.prompt_tokens == 1100


def test_a_writer_that_breaks_is_no_failed_search() -> None:
    with pytest.raises(FloatingPointError):
        search(tuned(FakeChat(FloatingPointError("broken"))), mixed(U, N))


def test_a_deadline_cancels_both_pages() -> None:
    cancelled = []

    async def stuck(call: ChatCall) -> str:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(call.text)
        return ""

    with pytest.raises(EngineError) as caught:
        search(tuned(FakeChat(stuck), attempts=1, deadline=0.05), mixed(U, N))
    assert (caught.value.kind, len(cancelled)) == ("deadline", 2)


def test_both_pages_of_a_mixed_one_are_asked_for_at_once() -> None:
    both, pages = asyncio.Barrier(2), WholePages({"useful": 2, "noisy": 2})

    async def held(call: ChatCall) -> str:
        await both.wait()
        return pages.page(call)

    assert search(tuned(FakeChat(held), attempts=1, deadline=5.0), mixed(U, N)).asked == (U, N)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_an_instruct_simulator_writes_a_mixed_page_at_once_in_its_order(count: int) -> None:
    def write(call: ChatCall) -> str:
        """Reads the order in the prompt and writes `count` documents after it."""
        (order,) = re.findall(r"in this order: (.*)\.", call.text)
        lines = [f"{entry.replace('] ', '] It is ')}: text" for entry in order.split(", ")]
        return "\n".join(lines[:count])

    writer = FakeChat(write, usage=Usage(100, 10))
    kinds = (Noise.NEAR_MISS, U, N, Noise.OUTDATED)
    page = search(SimulatedEngine(writer), mixed(*kinds))
    words = ["It is near-miss", "It is useful", "It is noisy", "It is outdated"]
    assert [d.title for d in page.documents] == words[:count]
    assert page.asked == kinds[:count]
    assert (page.quality, page.parsed, writer.seeds, page.usage.prompt_tokens) == ("mixed", count == 4, [7], 100)


def test_a_tuned_simulator_refuses_a_kind_that_it_has_not_learned_and_asks_nobody() -> None:
    writer = WholePages({"useful": 2, "noisy": 2})
    for kinds in ((U, Noise.NEAR_MISS), (Noise.OUTDATED, Noise.OUTDATED)):
        with pytest.raises(ConfigError, match="style 'tuned' asks for useful or plain noisy pages"):
            search(tuned(writer), mixed(*kinds))
    assert writer.asked == []


@pytest.mark.parametrize("style", ["instruct", "tuned"])
def test_a_query_without_a_word_gets_an_empty_mixed_page(style: PromptStyle) -> None:
    page = search(SimulatedEngine(WholePages({}), SimulatedConfig(style=style)), mixed(U, N, query="?!"))
    assert (page.documents, page.asked, page.quality) == ((), (), "mixed")
