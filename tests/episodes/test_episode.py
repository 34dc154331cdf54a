"""The episode: ids in and out, the mask, the last turn, truncation (rules 2, 3, 6, 8, 10 of the design)."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zerosearch.episodes.episode import Codec, Done, Episode, EpisodeLimits, Generate, Search
from zerosearch.episodes.generation import Generation
from zerosearch.episodes.protocol import LAST_TURN_NOTE, PROMPT, render_prompt
from zerosearch.episodes.questions import Question
from zerosearch.episodes.search import Document

QUESTION = Question("q1", "Which lake lies highest?", ("Lake Titicaca",))
SEARCH = "<think>t</think><search> highest lake </search>"
ANSWER = "<think>t</think><answer> Paris </answer>"
END = 256  # `<|im_end|>` of the byte codec: end of text and padding in one
WIDE = EpisodeLimits(max_context_tokens=4000)
INFORMATION = re.compile(r"\n<information>\n(.*?)</information>\n", re.DOTALL)


def generation(ids: list[int], stop: Any = "stop", offset: float = 0.0) -> Generation:
    """Every id with a log-prob of its own, so that one in a wrong place is seen."""
    return Generation(ids, [-1.0 - offset - place / 8 for place in range(len(ids))], stop)


def said(codec: Codec, text: str) -> Generation:
    return generation(codec.encode(text))


def start(codec: Codec, limits: EpisodeLimits = WIDE, prompt: str = "Question: which?\n") -> Episode:
    return Episode(QUESTION, codec.encode(prompt), codec, limits)


def observed(episode: Episode, codec: Codec, since: int) -> str:
    return codec.decode(episode.ids[since:])


def test_the_core_and_what_asks_models_behind_a_url_need_no_torch() -> None:
    rooms = ["files", "episodes", "spending", "engines", "evaluation"]
    code = (
        "import pkgutil, sys\nfrom importlib import import_module\n"
        f"for room in {rooms}:\n"
        "    path = import_module(f'zerosearch.{room}').__path__\n"
        "    found = [m.name for m in pkgutil.walk_packages(path, f'zerosearch.{room}.')]\n"
        "    assert len(found) > 2\n"
        "    for name in found: import_module(name)\n"
        "import zerosearch.simulator.engine, zerosearch.models.chat, zerosearch.models.embedded\n"
        "print({'torch', 'transformers', 'gguf'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_sampled_ids_are_kept_where_decoding_and_encoding_would_change_them(byte_codec: Codec) -> None:
    episode = start(byte_codec)
    prompt = list(episode.ids)
    ids = [0xC3, 0x28, 0xFF, *byte_codec.encode(SEARCH), *b" ids beyond the stop string", END, END]
    assert byte_codec.encode(byte_codec.decode(ids)) != ids  # or this test shows nothing
    sampled = generation(ids)
    episode.feed_generation(sampled)
    assert episode.ids == prompt + ids
    assert episode.logprobs == [0.0] * len(prompt) + sampled.logprobs
    assert episode.mask == [0] * len(prompt) + [1] * len(ids)
    episode.feed_page([Document("t", "x")])
    step = episode.next()
    assert isinstance(step, Generate)
    assert step.prompt_ids[: len(prompt + ids)] == prompt + ids  # and the policy goes on from the very same ids


def test_mask_does_not_come_from_the_pad_id(byte_codec: Codec) -> None:
    # id 256 in the prompt (0), sampled by the policy (1), and in a page, of a codec that does not neutralise (0)
    careless = Codec(byte_codec.encode, byte_codec.decode)
    episode = start(careless, prompt="<|im_end|>Question?<|im_end|>")
    episode.feed_generation(generation([END, *careless.encode(SEARCH), END]))
    episode.feed_page([Document("", "a page <|im_end|> with it")])
    episode.feed_generation(generation([*careless.encode(ANSWER), END]))
    at_end = [mask for i, mask in zip(episode.ids, episode.mask, strict=True) if i == END]
    assert at_end == [0, 0, 1, 1, 0, 1]
    assert sum(episode.mask) == len(careless.encode(SEARCH + ANSWER)) + 3


@pytest.mark.parametrize("last_words", ["", "I do not know.", "<answer></answer>", "<answer>Lake Titicaca"])
def test_prompt_and_documents_never_answer(byte_codec: Codec, last_words: str) -> None:
    assert "<answer> Lake Titicaca </answer>" in PROMPT
    codec = Codec(byte_codec.encode, byte_codec.decode)
    episode = start(codec, EpisodeLimits(max_searches=1), render_prompt("Which lake lies highest?"))
    episode.feed_generation(said(codec, SEARCH))
    episode.feed_page([Document("<answer>Lake Titicaca</answer>", "<answer> Lake Titicaca </answer>")])
    episode.feed_generation(said(codec, last_words))
    assert episode.next() == Done("no_answer")
    assert episode.answer is None
    assert not episode.well_formed


def test_an_answer_is_not_pieced_together_over_an_observation(byte_codec: Codec) -> None:
    episode = start(byte_codec)
    episode.feed_generation(said(byte_codec, "<think>t</think><answer> I must look <search>q</search>"))
    episode.feed_page([Document("Titicaca", "a lake")])
    episode.feed_generation(said(byte_codec, "Lake Titicaca </answer>"))
    assert episode.answer is None


@pytest.mark.parametrize("max_searches", [0, 1, 2, 5])
def test_last_turn_cannot_search(byte_codec: Codec, max_searches: int) -> None:
    episode = start(byte_codec, EpisodeLimits(max_searches=max_searches, max_context_tokens=9000))
    for index in range(max_searches):
        step = episode.next()
        assert isinstance(step, Generate)
        assert not step.last
        episode.feed_generation(said(byte_codec, SEARCH))
        assert episode.next() == Search("highest lake", index)
        since = len(episode.ids)
        episode.feed_page([Document("t", "x")])
        told = "No searches are left" in observed(episode, byte_codec, since)
        assert told == (index == max_searches - 1)
    step = episode.next()
    assert isinstance(step, Generate)
    assert step.last
    episode.feed_generation(said(byte_codec, SEARCH))
    assert episode.next() == Done("refused_search")
    assert episode.searches == max_searches
    with pytest.raises(RuntimeError, match="Done"):
        episode.feed_page([])


def test_invalid_turns_use_up_turns_and_are_told_so(byte_codec: Codec) -> None:
    episode = start(byte_codec, EpisodeLimits(max_searches=2, max_context_tokens=2000))
    for last in (False, True):
        since = len(episode.ids) + len("hm")
        episode.feed_generation(said(byte_codec, "hm"))
        note = observed(episode, byte_codec, since)
        assert "neither a search nor an answer" in note
        assert ("No searches are left" in note) == last
        assert set(episode.mask[since:]) == {0}
    episode.feed_generation(said(byte_codec, ANSWER))
    assert episode.answer == "Paris"
    assert not episode.well_formed


def test_an_invalid_turn_and_a_failed_search_may_end_the_episode_as_it_is(byte_codec: Codec) -> None:
    strict = start(byte_codec, EpisodeLimits(retry_invalid=False, max_context_tokens=900))
    strict.feed_generation(said(byte_codec, "hm"))
    assert strict.next() == Done("no_answer")
    episode = start(byte_codec)
    episode.feed_generation(said(byte_codec, SEARCH))
    before = list(episode.ids)
    episode.feed_failure()
    assert episode.next() == Done("engine_error")
    assert episode.ids == before  # no page was made up


A20, B20 = Document("", "a" * 20), Document("", "b" * 20)
TWO_LINES = f"[1] {'a' * 20}\n[2] {'b' * 20}\n"  # 50 bytes


@pytest.mark.parametrize(("room", "kept"), [(0, 0), (1, 1), (5, 5), (24, 24), (25, 25), (49, 25), (60, 50)])
def test_a_long_page_loses_whole_documents_first_then_text_never_the_tag(
    byte_codec: Codec, room: int, kept: int
) -> None:
    episode = start(byte_codec, EpisodeLimits(max_page_tokens=room, max_context_tokens=900))
    episode.feed_generation(said(byte_codec, SEARCH))
    since = len(episode.ids)
    episode.feed_page([A20, B20, Document("", "c" * 20), Document("", "d")])  # the last would fit: ranks have no gaps
    assert observed(episode, byte_codec, since) == f"\n<information>\n{TWO_LINES[:kept]}</information>\n"


def test_a_turn_that_has_no_room_for_another_page_is_the_last_and_is_told_so(byte_codec: Codec) -> None:
    """A short turn that searched would end the episode as `context`, whatever it knows."""
    told, frame = 0, len("\n<information>\n</information>\n") + len(LAST_TURN_NOTE)
    for max_context in range(220, 700):
        limits = EpisodeLimits(max_context_tokens=max_context, answer_reserve_tokens=32, max_page_tokens=90)
        episode, tight = start(byte_codec, limits), False
        while isinstance(step := episode.next(), Generate):
            last = LAST_TURN_NOTE in byte_codec.decode(episode.ids[-len(LAST_TURN_NOTE) :])
            assert step.last == last
            told += last
            assert last or tight or not episode.turns or max_context - len(episode.ids) > 64 + len(LAST_TURN_NOTE)
            text = SEARCH if len(episode.turns) % 2 == 0 else "neither"
            episode.feed_generation(generation(byte_codec.encode(text)[: step.max_tokens]))
            if isinstance(episode.next(), Search):
                tight = max_context - len(episode.ids) <= frame + 32  # the note would leave nothing of the page
                episode.feed_page([Document("", "a" * 50), Document("", "b" * 50)])
    assert told > 200


@pytest.mark.parametrize("max_searches", [1, 2])
def test_every_size_of_context_keeps_question_and_tags_or_stops(byte_codec: Codec, max_searches: int) -> None:
    prompt = byte_codec.encode("Question: which?\n")
    reasons = set()
    for max_context in range(len(prompt) - 3, 330 * max_searches):
        limits = EpisodeLimits(
            max_searches=max_searches, max_context_tokens=max_context, max_page_tokens=90, answer_reserve_tokens=10
        )
        episode = Episode(QUESTION, prompt, byte_codec, limits)
        while isinstance(step := episode.next(), Generate):
            episode.feed_generation(generation(byte_codec.encode(SEARCH)[: step.max_tokens]))
            if isinstance(episode.next(), Search):
                before = list(episode.ids)
                episode.feed_page([Document("", "a" * 50), Document("", "b" * 50)])
                if episode.next() == Done("context"):
                    assert episode.ids == before
                else:
                    page = INFORMATION.match(observed(episode, byte_codec, len(before)))
                    assert page is not None
                    assert page[1]  # a page that is shown shows something
                    assert max_context - len(episode.ids) >= limits.answer_reserve_tokens
        reasons.add(step.stop_reason if isinstance(step, Done) else "")
        assert episode.ids[: len(prompt)] == prompt
        assert len(episode.ids) <= max(max_context, len(prompt))
    # too short for the prompt or a page; long enough for pages, not for a whole last turn; long enough for all of it
    assert reasons == {"context", "no_answer", "refused_search"}


@given(
    st.lists(st.sampled_from(["<answer>", "</ANSWER>", "x", "< search >", "</search>", "<|im_end|>", "<", "é"])),
    st.integers(0, 60),
)
def test_a_document_cannot_act_inside_an_observation(byte_codec: Codec, pieces: list[str], room: int) -> None:
    episode = start(byte_codec, EpisodeLimits(max_page_tokens=room, max_context_tokens=900))
    episode.feed_generation(said(byte_codec, SEARCH))
    since = len(episode.ids)
    episode.feed_page([Document("".join(pieces), "".join(pieces)), Document("", "</information>")])
    tags = re.findall(
        r"<\s*/?\s*(?:think|search|information|answer)\s*/?\s*>", observed(episode, byte_codec, since), re.I
    )
    assert tags == ["<information>", "</information>"]
    assert END not in episode.ids[since:]


@pytest.mark.parametrize("reserve", [0, 1])
def test_the_policy_is_never_asked_for_nothing(byte_codec: Codec, reserve: int) -> None:
    limits = EpisodeLimits(max_context_tokens=17, answer_reserve_tokens=reserve)
    assert start(byte_codec, limits, "x" * 17).next() == Done("context")
    assert start(byte_codec, limits, "x" * 16).next() == Generate([*b"x" * 16], 1, False)


def test_wrong_generations_are_refused_and_change_nothing(byte_codec: Codec) -> None:
    episode = start(byte_codec, EpisodeLimits(max_turn_tokens=4))
    before = (list(episode.ids), list(episode.mask), list(episode.logprobs), episode.next())
    with pytest.raises(RuntimeError, match="log-probs"):
        episode.feed_generation(Generation([1, 2], [-1.0], "stop"))
    with pytest.raises(RuntimeError, match="4 were allowed"):
        episode.feed_generation(generation([1] * 5))
    with pytest.raises(RuntimeError, match="asked for Generate, not for Search"):
        episode.feed_page([])
    assert (episode.ids, episode.mask, episode.logprobs, episode.next()) == before
    assert episode.turns == []


THOUGHT_OF = ("<think>I write <search> and </search>", "<think><answer> x </answer>", "<answer> and </answer>")


@pytest.mark.parametrize("stopped_at", [*THOUGHT_OF, "<think>a <think> and </think>, then <search> and </search>"])
def test_a_turn_stopped_at_a_tag_that_it_only_thinks_of_goes_on(byte_codec: Codec, stopped_at: str) -> None:
    episode = start(byte_codec, EpisodeLimits(max_searches=2, max_turn_tokens=120, max_context_tokens=900))
    begun = len(episode.ids)
    episode.feed_generation(said(byte_codec, stopped_at))
    step = episode.next()
    assert step == Generate(list(episode.ids), 120 - len(stopped_at), False, 1)  # one turn, and one turn's budget
    assert episode.turns == []
    episode.feed_generation(said(byte_codec, " so.</think><search>q</search>"))
    assert episode.next() == Search("q", 0)
    (turn,) = episode.turns
    assert turn.text == stopped_at + " so.</think><search>q</search>"
    assert (turn.start, turn.end) == (begun, len(episode.ids))
    assert episode.mask[begun:] == [1] * (len(episode.ids) - begun)


@pytest.mark.parametrize(("end", "budget"), [("eos", 200), ("length", 200), ("stop", 37)])
def test_a_turn_that_ended_in_its_thought_did_nothing(byte_codec: Codec, end: str, budget: int) -> None:
    text = "<think>I write <search> and </search>"
    assert len(text) == 37
    episode = start(byte_codec, EpisodeLimits(max_turn_tokens=budget, retry_invalid=False, max_context_tokens=900))
    episode.feed_generation(generation(byte_codec.encode(text), end))
    assert episode.next() == Done("no_answer")


@pytest.mark.parametrize("prompt", ["Q?\n<think>", "Q?\n<think>\n\n", "Q? [THINK]"])
def test_a_thought_that_the_prompt_opened_counts(byte_codec: Codec, prompt: str) -> None:
    episode = start(byte_codec, prompt=prompt)
    episode.feed_generation(said(byte_codec, "It may be <search> highest lake </search>"))
    assert isinstance(episode.next(), Generate)  # no search: the thought is open
    episode.feed_generation(said(byte_codec, ", no.\n</think>\n<search> lake </search>"))
    assert episode.next() == Search("lake", 0)
    assert not episode.turns[0].action.well_formed  # a thought that holds tags
    episode.feed_page([])
    episode.feed_generation(said(byte_codec, "<think>t</think><answer> Paris </answer>"))
    assert episode.answer == "Paris"
    other = start(byte_codec, prompt=prompt)
    other.feed_generation(said(byte_codec, "I know it.\n</think>\n<answer> Paris </answer>"))
    assert other.well_formed


limits_of_any_size = st.builds(
    EpisodeLimits,
    max_searches=st.integers(0, 4),
    max_turn_tokens=st.integers(1, 80),
    max_page_tokens=st.integers(0, 80),
    max_context_tokens=st.integers(20, 700),
    answer_reserve_tokens=st.integers(0, 32),
    retry_invalid=st.booleans(),
)
turn_of_any_kind = st.one_of(
    st.lists(st.integers(0, END), max_size=60),
    st.sampled_from(
        [SEARCH, SEARCH, ANSWER, "<search>", "</search>", "</answer>", "<search></search>", "hm", *THOUGHT_OF]
    ).map(lambda text: [*text.encode(), END]),
)
page_of_any_kind = st.lists(
    st.builds(Document, st.text(max_size=8), st.sampled_from(["", "x" * 30, "<answer>y</answer>"]))
)


def wrong_feeds_are_refused(episode: Episode) -> None:
    step = episode.next()
    before = (list(episode.ids), list(episode.turns), episode.searches, episode.answer)
    if not isinstance(step, Generate):
        with pytest.raises(RuntimeError):
            episode.feed_generation(generation([]))
    if not isinstance(step, Search):
        with pytest.raises(RuntimeError):
            episode.feed_page([Document("t", "x")])
        with pytest.raises(RuntimeError):
            episode.feed_failure()
    assert episode.next() == step
    assert (episode.ids, episode.turns, episode.searches, episode.answer) == before


@given(
    prompt=st.lists(st.integers(0, END), max_size=60),
    limits=limits_of_any_size,
    turns=st.lists(turn_of_any_kind, min_size=1, max_size=6),
    pages=st.lists(page_of_any_kind, min_size=1, max_size=3),
)
def test_any_episode_keeps_its_promises(
    byte_codec: Codec, prompt: list[int], limits: EpisodeLimits, turns: list[list[int]], pages: list[list[Document]]
) -> None:
    episode = Episode(QUESTION, prompt, byte_codec, limits)
    script: Iterator[list[int]] = cycle(turns)
    shown: Iterator[list[Document]] = cycle(pages)
    sampled_ids: list[int] = []
    in_turn: list[int] = []
    sampled_logprobs: list[float] = []
    searches = 0
    while not isinstance(step := episode.next(), Done):
        wrong_feeds_are_refused(episode)
        if isinstance(step, Generate):
            assert len(episode.turns) <= limits.max_searches  # it ends after max_searches + 1 turns
            assert step.prompt_ids == episode.ids
            assert step.last or len(episode.turns) < limits.max_searches
            if step.last and len(episode.turns) < limits.max_searches and step.piece == 0:  # out of room, and told so
                assert episode.ids[-len(LAST_TURN_NOTE) :] == byte_codec.encode(LAST_TURN_NOTE)
            assert 1 <= step.max_tokens <= limits.max_turn_tokens
            assert len(episode.ids) + step.max_tokens <= limits.max_context_tokens
            given_out = generation(next(script)[: step.max_tokens], offset=1000.0 * len(sampled_ids))
            in_turn = [*in_turn, *given_out.token_ids] if step.piece else given_out.token_ids
            episode.feed_generation(given_out)
            sampled_ids += given_out.token_ids
            sampled_logprobs += given_out.logprobs
            after = episode.next()
            assert not (step.last and isinstance(after, Search))
            if isinstance(after, Generate) and after.piece:
                assert after.piece == step.piece + 1
                assert after.max_tokens <= limits.max_turn_tokens - len(in_turn)
                continue
            turn = episode.turns[-1]
            assert episode.ids[turn.start : turn.end] == in_turn
        else:
            searches += 1
            assert step.index == searches - 1
            assert searches == episode.searches <= limits.max_searches
            episode.feed_page(next(shown))
        assert len(episode.ids) == len(episode.mask) == len(episode.logprobs)
        assert episode.ids[: len(prompt)] == prompt
        assert len(episode.ids) <= max(limits.max_context_tokens, len(prompt))
        marked = [place for place, mask in enumerate(episode.mask) if mask]
        assert [episode.ids[place] for place in marked] == sampled_ids
        assert [episode.logprobs[place] for place in marked] == sampled_logprobs
        assert sum(map(abs, episode.logprobs)) == sum(map(abs, sampled_logprobs))  # 0.0 on all others
        assert marked == [place for turn in episode.turns for place in range(turn.start, turn.end)]
    assert (step.stop_reason == "answer") == (episode.answer is not None)
    assert step.stop_reason in ("answer", "no_answer", "refused_search", "context")
    wrong_feeds_are_refused(episode)
