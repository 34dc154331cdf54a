"""Scripted episodes: they are real episodes, they learn no page by heart, and the mix is the one asked for."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from recipes.embedded.examples import LIMITS, policy_examples
from recipes.embedded.scripted import Script, encode_script, finder, guess, held_answer, scripts
from zerosearch.engines.bm25 import BM25Engine
from zerosearch.engines.snippets import cut
from zerosearch.episodes.encoding import encode_prompt
from zerosearch.episodes.episode import Codec, Done, Episode, EpisodeLimits, Search
from zerosearch.episodes.generation import Generation
from zerosearch.episodes.protocol import parse_turn, render_prompt
from zerosearch.episodes.questions import Question
from zerosearch.episodes.scoring import contains_answer
from zerosearch.episodes.search import Document
from zerosearch.factbook.questions import FactbookQuestion

WIDE = EpisodeLimits(max_searches=3, max_context_tokens=6000, max_turn_tokens=400, max_page_tokens=900)


@pytest.fixture(scope="module")
def every(
    world: BM25Engine, one_hop_questions: list[FactbookQuestion], two_hop_questions: list[FactbookQuestion]
) -> list[tuple[FactbookQuestion, Script]]:
    """Scripts of all kinds, each with its question."""
    questions = [*one_hop_questions, *two_hop_questions]
    made = scripts(questions, finder(world, 3, 8), two_search_share=0.5, seed=2)
    by_id = {question.id: question for question in questions}
    assert {script.question.id for script in made} == set(by_id)  # in this world none has to be left out
    return [(by_id[script.question.id], script) for script in made]


def actions(script: Script) -> list[tuple[str, str]]:
    return [(action.kind, action.text) for action in map(parse_turn, script.turns)]


def test_every_turn_is_well_formed_and_the_last_one_answers(every: list[tuple[FactbookQuestion, Script]]) -> None:
    for _, script in every:
        assert all(parse_turn(turn).well_formed for turn in script.turns)
        assert [kind for kind, _ in actions(script)] == ["search"] * len(script.pages) + ["answer"]


def test_the_pages_are_what_the_engine_finds_for_the_very_queries(
    every: list[tuple[FactbookQuestion, Script]], world: BM25Engine
) -> None:
    for _, script in every:
        queries = [text for kind, text in actions(script) if kind == "search"]
        (*found,) = world.search_many(queries, 3)
        expected = [tuple(cut(d, query, 8) for d in page) for query, page in zip(queries, found, strict=True)]
        assert list(script.pages) == expected


def test_the_answer_is_on_the_last_page_or_a_guess_from_its_first_document(
    every: list[tuple[FactbookQuestion, Script]],
) -> None:
    kinds: Counter[tuple[int, int, bool]] = Counter()
    for question, script in every:
        answer = actions(script)[-1][1]
        on_page = held_answer(question.golden_answers, script.pages[-1])
        if on_page is not None:
            assert answer == on_page
        else:
            assert contains_answer(f"{script.pages[-1][0].title} {script.pages[-1][0].text}", [answer])
            assert answer not in question.golden_answers
        kinds[question.hops, len(script.pages), on_page is not None] += 1
    assert kinds[1, 1, True] == 40
    assert kinds[2, 2, True] > 5
    assert kinds[2, 1, False] > 5  # the whole question finds the wrong page, as it mostly does in the real corpus


def test_a_two_search_script_says_the_country_only_once_a_page_has_named_it(
    every: list[tuple[FactbookQuestion, Script]],
) -> None:
    chains = [(question, script) for question, script in every if len(script.pages) == 2]
    for question, script in chains:
        assert actions(script)[0][1] == question.queries[0]
        assert actions(script)[1][1] == question.queries[1]
        assert question.subject not in script.turns[0]
        assert held_answer([question.subject], script.pages[0])


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_share_of_two_searches_is_the_one_asked_for(
    world: BM25Engine, two_hop_questions: list[FactbookQuestion], share: float
) -> None:
    many = [replace(q, id=f"{q.id}-{n}") for q in two_hop_questions for n in range(30)]
    find = finder(world, 2, 8)
    pages = {query: find(query) for q in two_hop_questions for query in (*q.queries, q.question)}
    made = scripts(many, pages.__getitem__, two_search_share=share, seed=5)
    assert len(made) == len(many)
    found = sum(len(script.pages) == 2 for script in made) / len(made)
    assert abs(found - share) <= 4 * (share * (1 - share) / len(made)) ** 0.5


def test_one_hop_questions_search_once_mostly_with_the_gold_query(
    world: BM25Engine, one_hop_questions: list[FactbookQuestion]
) -> None:
    made = scripts(one_hop_questions, finder(world, 2, 8), two_search_share=1.0)
    gold = {q.id: q.queries[0] for q in one_hop_questions}
    queries = [(actions(s)[0][1], gold[s.question.id], s.question.text.rstrip("?")) for s in made]
    assert all(query in (golden, whole) for query, golden, whole in queries)
    share = sum(query == golden for query, golden, _ in queries) / len(queries)
    assert abs(share - 0.7) <= 4 * (0.7 * 0.3 / len(queries)) ** 0.5


def test_a_question_whose_pages_do_not_hold_what_the_script_needs_is_left_out(
    one_hop_questions: list[FactbookQuestion], two_hop_questions: list[FactbookQuestion]
) -> None:
    two = two_hop_questions[0]
    country, answer = Document("Arvenia", "Capital: Tolmes."), Document("x", f"It is {two.golden_answers[0]}.")
    empty = Document("x", "nothing")
    first, second = two.queries

    def kept(pages: dict[str, tuple[Document, ...]], share: float = 1.0) -> int:
        return len(scripts([two], lambda query: pages.get(query, ()), two_search_share=share))

    assert kept({first: (country,), second: (answer,)}) == 1
    assert kept({first: (empty,), second: (answer,)}) == 0
    assert kept({first: (country,), second: (empty,)}) == 0
    assert kept({}, share=0.0) == 0  # not even something to guess from
    assert scripts(one_hop_questions, lambda query: (empty,)) == []


def test_scripts_depend_on_the_seed_and_the_question_alone(
    world: BM25Engine, two_hop_questions: list[FactbookQuestion]
) -> None:
    find = finder(world, 2, 8)
    made = scripts(two_hop_questions, find, seed=1)
    assert scripts(two_hop_questions[::-1], find, seed=1)[::-1] == made
    assert scripts(two_hop_questions, find, seed=2) != made


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (Document("Nepal: Government", "Nepal. Capital - name: Kathmandu. Time: UTC+5.75."), "Kathmandu"),
        (
            Document("t", "Industries: tourism, carpets, textiles, small rice mills."),
            "tourism, carpets, textiles, small",
        ),
        (Document("t", "No colon here at all"), "No colon here at"),
        (Document("Nepal: Government", ""), "Nepal"),
        (Document("Nepal: Government", "Label: ."), "Nepal"),
    ],
)
def test_a_guess_is_the_value_that_a_lazy_reader_takes(document: Document, expected: str) -> None:
    assert guess(document) == expected


def prompt_with(codec: Codec) -> Any:
    return lambda text: codec.encode(render_prompt(text))


def runs(ids: list[int], mask: list[int]) -> list[tuple[int, list[int]]]:
    """Stretches of one mask value: (value, ids)."""
    out: list[tuple[int, list[int]]] = []
    for i, m in zip(ids, mask, strict=True):
        if not out or out[-1][0] != m:
            out.append((m, []))
        out[-1][1].append(i)
    return out


@pytest.mark.parametrize("which", ["bytes", "tokens"])
def test_a_script_is_an_episode_and_its_mask_the_scripted_turns(
    every: list[tuple[FactbookQuestion, Script]], byte_codec: Codec, tiny_model: Any, which: str
) -> None:
    codec = byte_codec if which == "bytes" else tiny_model.codec
    for _, script in every:
        encoded = encode_script(script, prompt_with(codec), codec, WIDE)
        assert encoded is not None
        ids, mask = encoded
        stretches = runs(ids, mask)
        assert [codec.decode(part) for m, part in stretches if m] == list(script.turns)
        shown = [codec.decode(part) for m, part in stretches if not m]
        assert shown[0] == render_prompt(script.question.text)
        assert len(shown) == 1 + len(script.pages)
        for text, page in zip(shown[1:], script.pages, strict=True):
            assert text.startswith("\n<information>\n[1] ")
            assert "</information>\n" in text
            assert all(" ".join(d.text.split()) in text for d in page)
        # the same ids as an episode that is played has
        episode = Episode(script.question, prompt_with(codec)(script.question.text), codec, WIDE)
        pages = iter(script.pages)
        for turn in script.turns:
            part = codec.encode(turn)
            episode.feed_generation(Generation(part, [0.0] * len(part), "stop"))
            if isinstance(episode.next(), Search):
                episode.feed_page(next(pages))
        assert episode.next() == Done("answer")
        assert (episode.ids, episode.mask) == (ids, mask)
        assert episode.well_formed


def test_what_does_not_fit_the_limits_is_left_out(byte_codec: Codec) -> None:
    page = (Document("Nepal", "Capital: Kathmandu."),)
    search, answer = "<think>t</think><search> q </search>", "<think>t</think><answer> Kathmandu </answer>"
    two = Script(Question("q", "Which?", ("Kathmandu",)), (search, search, answer), (page, page))

    def encoded(script: Script = two, **limits: Any) -> Any:
        return encode_script(script, byte_codec.encode, byte_codec, replace(WIDE, **limits))

    assert encoded() is not None
    assert encoded(max_searches=2) is not None
    assert encoded(max_searches=1) is None  # its second search would be on the turn that cannot search
    assert encoded(max_searches=0) is None
    assert encoded(max_turn_tokens=len(answer)) is not None
    assert encoded(max_turn_tokens=len(answer) - 1) is None
    whole = encoded()
    assert whole is not None
    assert encoded(max_context_tokens=len(whole[0]) + 200) is not None
    assert encoded(max_context_tokens=len(whole[0])) is None  # its second search would be on a turn told to be the last
    one = replace(two, turns=(answer,), pages=())
    least = len(encoded(one)[0]) - len(answer) + WIDE.answer_reserve_tokens  # or the length of the answer, if more
    assert encoded(one, max_context_tokens=max(least, len(encoded(one)[0]))) is not None
    assert encoded(one, max_context_tokens=len(encoded(one)[0]) - 1) is None
    assert encoded(replace(two, turns=(search, answer), pages=(page,))) is not None
    assert encoded(replace(two, turns=(search, "Kathmandu"))) is None  # it does not end with an answer
    assert encoded(replace(two, turns=(answer, answer), pages=())) is None  # it goes on after the end


def test_the_policys_examples_are_the_scripts_under_the_real_prompt(
    world: BM25Engine,
    one_hop_questions: list[FactbookQuestion],
    two_hop_questions: list[FactbookQuestion],
    tiny_model: Any,
) -> None:
    questions = [*one_hop_questions, *two_hop_questions]
    made = policy_examples(tiny_model, questions, world, limit=30, two_search_share=0.5, seed=3)
    assert 20 < len(made) <= 30
    texts = {q.id: q.question for q in questions}
    assert {example.key for example in made} < set(texts)
    for example in made:
        assert len(example.ids) == len(example.mask) <= LIMITS.max_context_tokens
        stretches = runs(example.ids, example.mask)
        assert stretches[0][1] == encode_prompt(render_prompt(texts[example.key]), tiny_model.tokenizer)
        prompt = tiny_model.codec.decode(stretches[0][1])
        assert prompt.endswith("<|im_end|>\n<|im_start|>assistant\n")
        assert stretches[-1][0] == 1
        assert parse_turn(tiny_model.codec.decode(stretches[-1][1])).kind == "answer"
    assert policy_examples(tiny_model, questions, world, limit=30, two_search_share=0.5, seed=3) == made
