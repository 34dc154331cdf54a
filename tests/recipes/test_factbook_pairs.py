"""Query-page pairs: useful is what the real engine returns for that query, noisy never holds what was asked for."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recipes.embedded.examples import SNIPPET_WORDS, TOP_K, simulator_examples
from recipes.embedded.pairs import NOISE_POOL, Pair, pairs
from zerosearch.engines.bm25 import BM25Engine
from zerosearch.engines.snippets import cut
from zerosearch.episodes.scoring import contains_answer
from zerosearch.episodes.search import Quality
from zerosearch.factbook.questions import FactbookQuestion
from zerosearch.simulator.page_text import format_page, format_plan
from zerosearch.simulator.prompts import simulator_messages

WORDS = 8


@pytest.fixture(scope="module")
def questions(
    one_hop_questions: list[FactbookQuestion], two_hop_questions: list[FactbookQuestion]
) -> dict[str, FactbookQuestion]:
    return {q.id: q for q in [*one_hop_questions, *two_hop_questions]}


@pytest.fixture(scope="module")
def made(world: BM25Engine, questions: dict[str, FactbookQuestion]) -> list[Pair]:
    return pairs(list(questions.values()), world, top_k=3, snippet_words=WORDS, per_question=9, seed=1)


def question_of(pair: Pair, questions: dict[str, FactbookQuestion]) -> FactbookQuestion:
    assert pair.request.question is not None
    return questions[pair.request.question.id]


def named(pair: Pair) -> list[str]:
    countries = ("Arvenia", "Bostrand", "Cadmor", "Dunmarch", "Elgaria", "Fenwick", "Gondria", "Hestia")
    return [country for country in countries if country in pair.request.query]


def test_all_kinds_of_queries_are_there_each_with_a_useful_and_a_noisy_page(
    made: list[Pair], questions: dict[str, FactbookQuestion]
) -> None:
    kinds = Counter((question_of(pair, questions).hops, pair.kind) for pair in made)
    assert {key for key, count in kinds.items() if count >= 20} == {
        (1, "one_hop"), (1, "whole"), (1, "wrong_country"),
        (2, "first_hop"), (2, "second_hop"), (2, "whole"), (2, "wrong_country"),
    }  # fmt: skip
    assert len(made) % 2 == 0
    for useful, noisy in zip(made[::2], made[1::2], strict=True):
        assert (useful.request.quality, noisy.request.quality) == (Quality.USEFUL, Quality.NOISY)
        assert replace(useful.request, quality=Quality.NOISY) == noisy.request
        assert useful.kind == noisy.kind
    asked = Counter((pair.request.question.id, pair.request.query) for pair in made if pair.request.question)
    assert set(asked.values()) == {2}  # no query twice


def test_a_useful_page_is_the_engines_own_for_that_query(made: list[Pair], world: BM25Engine) -> None:
    for pair in made:
        if pair.request.quality is Quality.USEFUL:
            (found,) = world.search_many([pair.request.query], 3)
            assert pair.documents == tuple(cut(d, pair.request.query, WORDS) for d in found)
        assert pair.request.top_k == 3


def test_a_noisy_page_never_holds_what_was_asked_for(made: list[Pair], questions: dict[str, FactbookQuestion]) -> None:
    useful_pages_with_it = 0
    for pair in made:
        question = question_of(pair, questions)
        wanted = list(question.golden_answers)
        if pair.kind == "first_hop":
            wanted.append(question.subject)
        if pair.kind == "wrong_country":
            wanted += named(pair)
        holds = [contains_answer(f"{d.title}\n{d.text}", wanted) for d in pair.documents]
        if pair.request.quality is Quality.NOISY:
            assert not any(holds), pair
            assert len(pair.documents) == len(set(pair.documents)) == 3
        else:
            useful_pages_with_it += any(holds)
    assert useful_pages_with_it > len(made) / 4  # or the check above would show nothing


def test_a_noisy_page_is_still_something_that_the_engine_ranks_for_the_query(
    made: list[Pair], world: BM25Engine
) -> None:
    for pair in made:
        if pair.request.quality is Quality.NOISY:
            (found,) = world.search_many([pair.request.query], NOISE_POOL)
            ranked = [cut(d, pair.request.query, WORDS) for d in found]
            places = [ranked.index(d) for d in pair.documents]
            assert places == sorted(places)


def test_the_page_of_a_first_hop_gives_the_country_and_not_the_final_answer(
    made: list[Pair], questions: dict[str, FactbookQuestion]
) -> None:
    """The trap of the all-knowing simulator (design, section 9)."""
    first = [p for p in made if p.kind == "first_hop" and p.request.quality is Quality.USEFUL]
    assert len(first) >= 20
    for pair in first:
        question = question_of(pair, questions)
        page = format_page(pair.documents)
        assert contains_answer(page, [question.subject])
        assert not contains_answer(page, question.golden_answers)
        assert pair.request.question is not None
        assert pair.request.question.golden_answers == question.golden_answers  # though the simulator is told it


def test_a_query_about_the_wrong_country_names_another_one(
    made: list[Pair], questions: dict[str, FactbookQuestion]
) -> None:
    wrong = [pair for pair in made if pair.kind == "wrong_country"]
    for pair in wrong:
        question = question_of(pair, questions)
        (other,) = named(pair)
        assert other != question.subject
        assert pair.request.query == question.queries[-1].replace(question.subject, other)
    assert len({named(pair)[0] for pair in wrong}) > 3


def test_without_a_second_country_there_is_no_wrong_one(world: BM25Engine, one_hop_questions: Any) -> None:
    alone = [q for q in one_hop_questions if q.subject == "Cadmor"]
    made = pairs(alone, world, top_k=2, snippet_words=WORDS, per_question=9)
    assert {pair.kind for pair in made} == {"one_hop", "whole"}


def test_the_number_of_pairs_is_the_one_asked_for(world: BM25Engine, questions: dict[str, FactbookQuestion]) -> None:
    for count in (1, 2):
        made = pairs(list(questions.values()), world, top_k=3, snippet_words=WORDS, per_question=count, seed=4)
        each = Counter(pair.request.question.id for pair in made if pair.request.question)
        assert set(each.values()) == {2 * count}
        assert set(each) == set(questions)


def test_pairs_depend_on_the_seed_and_the_question_alone(
    world: BM25Engine, questions: dict[str, FactbookQuestion]
) -> None:
    some = list(questions.values())
    one = pairs(some, world, top_k=3, snippet_words=WORDS, seed=1)
    backwards = pairs(some[::-1], world, top_k=3, snippet_words=WORDS, seed=1)
    assert sorted(map(repr, backwards)) == sorted(map(repr, one))
    assert pairs(some, world, top_k=3, snippet_words=WORDS, seed=2) != one


def test_words_that_only_a_cut_brings_together_are_an_answer_too(tmp_path: Path) -> None:
    """A sentence ends with "Blue", the next but one begins with "River": the cut holds a "Blue River"."""
    texts = [
        "Longest stream: Blue. There is much else to say about this land. River trade: none.",
        *(f"Longest stream: number {n}." for n in range(5)),
    ]
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({"id": str(n), "title": "t", "text": x}) + "\n" for n, x in enumerate(texts)))
    engine = BM25Engine.open(corpus, cache=tmp_path / "cache")
    supporting = {"queries": ["longest stream river trade"], "passages": [], "facts": []}
    question = FactbookQuestion("q", "Which?", ("Blue River",), 1, "Nowhere", "river", {}, supporting)
    (ranked,) = engine.search_many(supporting["queries"], NOISE_POOL)
    assert contains_answer(cut(ranked[0], supporting["queries"][0], WORDS).text, ["Blue River"])
    assert not contains_answer(ranked[0].text, ["Blue River"])
    for seed in range(10):
        for pair in pairs([question], engine, top_k=2, snippet_words=WORDS, seed=seed):
            if pair.request.quality is Quality.NOISY:
                assert not any(contains_answer(d.text, ["Blue River"]) for d in pair.documents)
    engine.close()


def test_the_simulators_examples_are_the_pairs_under_the_tuned_prompt(
    world: BM25Engine, questions: dict[str, FactbookQuestion], tiny_model: Any
) -> None:
    some = list(questions.values())
    examples = simulator_examples(tiny_model, some, world, limit=20, per_question=2, seed=3)
    assert len(examples) == 20
    every = pairs(some, world, top_k=TOP_K, snippet_words=SNIPPET_WORDS, per_question=2, seed=3)
    expected = {}
    for pair in every:
        messages = simulator_messages(pair.request, "tuned")
        prompt = tiny_model.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        expected[prompt] = (
            format_plan(pair.documents, question_of(pair, questions).golden_answers) + format_page(pair.documents),
            question_of(pair, questions).id,
        )
    noisy = 0
    for example in examples:
        start = example.mask.index(1)
        assert set(example.mask[start:]) == {1}
        prompt = tiny_model.codec.decode(example.ids[:start])
        page, key = expected[prompt]
        assert tiny_model.codec.decode(example.ids[start:-1]) == page
        assert example.ids[-1] == tiny_model.tokenizer.eos_token_id  # it learns to end a page
        assert example.key == key
        noisy += "noisy" in prompt
    assert noisy == 10
