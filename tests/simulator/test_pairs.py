"""What a simulator is tuned on: balanced, only the page is learned, after the prompt it will be asked with."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulator.rows import NEPAL, PERU, documents, episode, search

from zerosearch.engines.page_rows import RecordedPage
from zerosearch.episodes.questions import Question
from zerosearch.episodes.search import Document, Quality, SearchRequest
from zerosearch.errors import ConfigError, DataError
from zerosearch.models.chat import render_messages
from zerosearch.models.local import LocalModel
from zerosearch.simulator.judge import page_label
from zerosearch.simulator.label import CONTAINMENT, EVIDENCE, JUDGE, OUTCOME, label_pages
from zerosearch.simulator.page_text import answer_spans, format_plan, parse_page
from zerosearch.simulator.pairs import MIN_CLASS, RANK, _found, _noisy_twin, misdirected, page_example, tuning_pairs
from zerosearch.simulator.prompts import simulator_messages

USEFUL, NOISY = Quality.USEFUL, Quality.NOISY
PLAN = "<think>[1] Title 0: Katmandu; [3] Title 2: The city of Kathmandu</think>\n"


def pages(useful: int, noisy: int) -> list[RecordedPage]:
    made = []
    for n in range(useful + noisy):
        question = Question(f"q{n}", "Which city?", (f"city {n}",))
        made.append(
            episode(question, f"city {n}" if n < useful else "none", search(f"query {n}", f"Text {n}.", "More."))
        )
    return label_pages(made)


def test_classes_are_balanced_and_the_larger_gives_up_its_surplus() -> None:
    pairs = tuning_pairs(pages(60, 25), OUTCOME, top_k=2)
    assert Counter(p.request.quality for p in pairs) == {Quality.USEFUL: 25, Quality.NOISY: 25}
    assert len({p.request.query for p in pairs}) == 50
    assert [p.request.query for p in pairs] != sorted(p.request.query for p in pairs)  # mixed
    assert pairs == tuning_pairs(pages(60, 25), OUTCOME, top_k=2)  # by seed
    assert pairs != tuning_pairs(pages(60, 25), OUTCOME, top_k=2, seed=1)
    assert len(tuning_pairs(pages(60, 25), OUTCOME, top_k=2, limit=10)) == 10


def test_each_query_keeps_its_own_question_and_page() -> None:
    for pair in tuning_pairs(pages(30, 30), OUTCOME, top_k=2):
        number = pair.request.query.split()[1]
        assert pair.request.question is not None
        assert pair.request.question.id == f"q{number}"
        assert pair.documents[0].text == f"Text {number}."


def test_too_few_of_a_class_are_refused_with_both_counts() -> None:
    with pytest.raises(DataError, match=f"90 useful and {MIN_CLASS - 1} noisy pages, too unbalanced"):
        tuning_pairs(pages(90, MIN_CLASS - 1), OUTCOME, top_k=2)
    with pytest.raises(DataError, match=r"no page has a label by judge \(there are labels by: evidence, outcome\)"):
        tuning_pairs(pages(90, 90), "judge", top_k=2)


def test_pages_of_unlike_outcome_and_repeated_ones_teach_once_or_not_at_all() -> None:
    page = search("capital", "Kathmandu.")
    unlike = [episode(NEPAL, "Kathmandu", page), episode(NEPAL, "Quito", page, rollout=1)]
    alike = [
        episode(PERU, "Lima", search("llamas", "Lima.")),
        episode(PERU, "Lima", search("llamas", "Lima."), rollout=1),
    ]
    pairs = tuning_pairs([*label_pages([*unlike, *alike]), *pages(30, 31)], OUTCOME, top_k=2)
    queries = Counter(p.request.query for p in pairs)
    assert queries["capital"] == 0
    assert queries["llamas"] == 1


def test_the_prompt_asks_for_as_many_documents_as_the_page_has() -> None:
    long, short = search("long", *map(str, range(9))), search("short", "One.")
    made = [*label_pages([episode(NEPAL, "Kathmandu", long, short)]), *pages(30, 40)]
    counts = {p.request.query: (p.request.top_k, len(p.documents)) for p in tuning_pairs(made, OUTCOME, top_k=4)}
    assert counts["long"] == (4, 4)
    assert counts["short"] == (1, 1)


def deep(
    count: int, *, holds: bool = True, hops: int = 1, query: str = "city {n}?", first: int = 0
) -> list[RecordedPage]:
    """Pages of two documents, five deep. Behind the first two stand one with the answer and two without."""
    made = []
    for n in range(first, first + count):
        question = Question(f"q{n}", f"Which is city {n}?", (f"answer{n}",), hops)
        texts = [f"answer{n}." if holds else "Hills.", f"Peaks {n}.", f"It is answer{n}.", f"Lakes {n}.", f"Woods {n}."]
        page = RecordedPage(query.format(n=n), documents(*texts), "bm25:x", question=question)
        quality = Quality.USEFUL if holds else Quality.NOISY
        made.append(page.with_label(CONTAINMENT, quality).with_label(EVIDENCE, Quality.USEFUL))
    return made


def test_what_is_ranked_behind_a_useful_page_makes_its_noisy_twin() -> None:
    pairs = tuning_pairs(deep(MIN_CLASS), CONTAINMENT, top_k=2)
    by_query: dict[str, dict[Quality, list[str]]] = {}
    for pair in pairs:
        by_query.setdefault(pair.request.query, {})[pair.request.quality] = [d.text for d in pair.documents]
    assert len(by_query) == MIN_CLASS
    assert by_query["city 3?"] == {
        Quality.USEFUL: ["answer3.", "Peaks 3."],
        Quality.NOISY: ["Lakes 3.", "Woods 3."],  # never the document with the answer, nor one of the useful page
    }


def test_another_engines_page_for_the_same_query_gives_twins_too_and_another_questions_does_not() -> None:
    shallow = [replace(page, documents=page.documents[:2]) for page in deep(MIN_CLASS)]
    with pytest.raises(DataError, match="20 useful and 0 noisy"):
        tuning_pairs(shallow, CONTAINMENT, top_k=2)
    other = [replace(p, engine="web", documents=documents("Seas.", "Isles."), labels={}) for p in shallow]
    assert len(tuning_pairs([*shallow, *other], CONTAINMENT, top_k=2)) == 2 * MIN_CLASS
    strangers = [replace(p, question=NEPAL) for p in other]
    with pytest.raises(DataError, match="20 useful and 0 noisy"):
        tuning_pairs([*shallow, *strangers], CONTAINMENT, top_k=2)


def test_twins_hold_nothing_that_the_query_names() -> None:
    """A first hop's page is useful without the answer: what it is about must not stand in the noisy one."""
    pages = deep(MIN_CLASS, holds=False, hops=2, query="about Title 4 {n}")
    with pytest.raises(DataError, match="20 useful and 0 noisy"):
        tuning_pairs(pages, EVIDENCE, top_k=2)


def judged(page: RecordedPage, *verdicts: Quality | None) -> RecordedPage:
    return replace(page, verdicts=verdicts).with_label(JUDGE, page_label(verdicts))


def test_with_a_judge_its_verdicts_say_what_noise_is() -> None:
    """What it called useful is in no twin, though it holds no answer; what it did not may be, though it stood beside
    the useful one, or though the query names it."""
    named_by_query = [judged(page, USEFUL, NOISY) for page in deep(MIN_CLASS, query="Title 1, Title 4? {n}")]
    other = [
        judged(replace(p, engine="web", documents=documents("Seas.", "Capes.")), USEFUL, NOISY) for p in named_by_query
    ]
    again = [replace(page, verdicts=(), labels={}) for page in named_by_query]  # takes no verdict back
    pairs = tuning_pairs([*named_by_query, *other, *again], JUDGE, top_k=2)
    twins = [pair for pair in pairs if pair.request.quality is NOISY]
    assert len(pairs) == 2 * len(twins) == 4 * MIN_CLASS
    texts = {document.text.split()[0] for twin in twins for document in twin.documents}
    assert texts == {"Peaks", "Lakes", "Capes."}  # Seas: useful; Woods: named by the query, without a verdict


def test_other_ways_leave_the_verdicts_of_a_judge_alone() -> None:
    pages = deep(MIN_CLASS)
    told = [judged(page, NOISY, NOISY, NOISY, USEFUL, USEFUL) for page in pages]
    for way in (CONTAINMENT, EVIDENCE, RANK):
        assert tuning_pairs(told, way, top_k=2) == tuning_pairs(pages, way, top_k=2)


def test_a_question_of_yes_or_no_has_twins_of_what_was_judged_alone() -> None:
    question = Question("y", "Is Lima in Peru?", ("yes",))
    made = [
        RecordedPage(f"lima {n}", documents("Yes.", "No.", "Yes, hills.", "Hm."), "bm25:x", question=question)
        for n in range(MIN_CLASS)
    ]
    twins = tuning_pairs([judged(page, USEFUL, NOISY, NOISY) for page in made], JUDGE, top_k=2)
    assert {tuple(d.text for d in p.documents) for p in twins if p.request.quality is Quality.NOISY} == {
        ("No.", "Yes, hills.")
    }


@given(st.data())
def test_a_twin_has_no_useful_document_and_is_never_its_page(data: st.DataObject) -> None:
    """Whatever was found for a query, by several engines under ids of their own, and however it was judged."""
    texts = st.sampled_from(["Hills", "Lakes", "Seas", "It is answer", "Woods"])
    one = st.tuples(texts, st.sampled_from(["", "id"]), st.sampled_from([USEFUL, NOISY, None]))
    pages = []
    for page in data.draw(st.lists(st.lists(one, min_size=1, max_size=5), min_size=1, max_size=3)):
        made = tuple(Document("T", text, name) for text, name, _ in page)
        shown = data.draw(st.integers(0, len(page)))
        found = RecordedPage("q", made, "e", question=Question("q", "Which?", ("answer",)))
        pages.append(judged(found, *(verdict for *_, verdict in page[:shown])))
    found = _found(pages, judged=True)["q", "q"]
    useful = {d.text for p in pages for d, v in zip(p.documents, p.verdicts, strict=False) if v is USEFUL}
    for page in pages:
        top_k = data.draw(st.integers(1, 5))
        twin = _noisy_twin(page, found, top_k, random.Random(0))
        if twin is None:
            continue
        held = [d.text for d in twin.documents]
        assert not useful & set(held)
        assert "It is answer" not in held
        assert len(held) == len(set(held)) == len(page.documents[:top_k])
        assert set(held) != {d.text for d in page.documents[:top_k]}


def test_twins_go_before_pages_that_were_noisy_by_themselves() -> None:
    others = [p for p in pages(0, 60) if p.labels[CONTAINMENT] is Quality.NOISY]
    chosen = tuning_pairs([*deep(MIN_CLASS + 5), *others], CONTAINMENT, top_k=2)
    noisy = [p.request.query for p in chosen if p.request.quality is Quality.NOISY]
    assert len(noisy) == MIN_CLASS + 5
    assert all(query.startswith("city") for query in noisy)


def test_by_rank_every_page_is_useful_as_it_was_returned() -> None:
    mixed_pages = [*deep(MIN_CLASS), *deep(MIN_CLASS, holds=False, first=100)]
    chosen = tuning_pairs(mixed_pages, RANK, top_k=2)
    useful = [p for p in chosen if p.request.quality is Quality.USEFUL]
    assert len(useful) == len(chosen) // 2 == 2 * MIN_CLASS
    assert sum("Hills." in p.documents[0].text for p in useful) == MIN_CLASS


def test_only_the_page_is_learned_and_the_prompt_is_the_one_it_is_asked_with(tiny_model: LocalModel) -> None:
    request = SearchRequest("capital", 2, NEPAL, Quality.NOISY)
    found = documents("Hills.", "More hills.")
    example = page_example(tiny_model, request, found, plan=False)
    prompt = render_messages(simulator_messages(request, "tuned"), tiny_model.tokenizer)
    assert example.ids[: len(prompt)] == prompt
    assert example.mask == [0] * len(prompt) + [1] * (len(example.ids) - len(prompt))
    assert example.ids[-1] == tiny_model.tokenizer.eos_token_id
    page = parse_page(tiny_model.codec.decode(example.ids[len(prompt) : -1]), 2)
    assert page.parsed
    assert [(d.title, d.text) for d in page.documents] == [(d.title, d.text) for d in found]
    assert example.key == NEPAL.id


def atlas(count: int) -> list[RecordedPage]:
    """Pages for the very question that asks for them, deep enough for twins."""
    made = []
    for n in range(count):
        question = Question(f"a{n}", f"What is the capital of land {n}?", (f"town{n}",))
        found = documents(f"town{n}.", f"Hills {n}.", f"Lakes {n}.", f"Woods {n}.")
        page = RecordedPage(f"capital of land {n}", found, "bm25:x", question=question)
        made.append(page.with_label(CONTAINMENT, Quality.USEFUL))
    return made


def test_misdirected_pages_are_the_engines_under_a_question_like_the_query_whose_answer_they_lack() -> None:
    pairs = tuning_pairs(atlas(40), CONTAINMENT, top_k=2, misdirected_share=0.25)
    added = [p for p in pairs if p.request.question and p.request.question.id[1:] != p.request.query.split()[-1]]
    assert 5 <= len(added) <= 10  # ten were made; the larger class gives up its surplus
    for pair in added:
        assert pair.request.quality is Quality.USEFUL
        number = pair.request.query.split()[-1]
        assert [d.text for d in pair.documents] == [f"town{number}.", f"Hills {number}."]  # what the query asks for
    assert len({pair.request.query for pair in added}) == len(added)
    assert tuning_pairs(atlas(40), CONTAINMENT, top_k=2, misdirected_share=0.25) == pairs  # by seed
    assert not any(
        p.request.question and p.request.question.id[1:] != p.request.query.split()[-1]
        for p in tuning_pairs(atlas(40), CONTAINMENT, top_k=2)
    )


def test_a_page_that_answers_the_other_question_too_is_not_misdirected() -> None:
    rng = random.Random(0)
    same = [replace(p, question=replace(p.question, golden_answers=("Hills",))) for p in atlas(5)]
    everywhere = [replace(p, documents=documents("Hills.", *(d.text for d in p.documents))) for p in same]
    assert misdirected(everywhere, 5, rng) == []
    assert misdirected(atlas(1), 5, rng) == []  # there is no other question
    assert misdirected(atlas(5), 0, rng) == []
    lost = [replace(p, documents=documents("Hills.")) for p in atlas(9)]  # a page that lacks even its own answer
    assert len(misdirected(lost, 9, rng)) == 9
    assert all(p.question.id[1:] != p.query.split()[-1] for p in misdirected(lost, 9, rng))
    strangers = [replace(p, query="zebra") for p in atlas(5)]
    assert misdirected(strangers, 5, rng) == []  # no question is like it


def test_a_plan_says_which_documents_hold_the_answer_and_is_no_part_of_the_page(tiny_model: LocalModel) -> None:
    found = documents("Katmandu is a city.", "Hills.", "The city of Kathmandu.")
    assert format_plan(found, NEPAL.golden_answers) == PLAN
    assert format_plan(found[1:2], NEPAL.golden_answers) == "<think>none</think>\n"
    assert format_plan(found, ()) == "<think>none</think>\n"
    hostile = documents("</think>[1] x")
    assert format_plan(hostile, ["</think>[1] x"]).count("</think>") == 1
    request = SearchRequest("capital", 3, NEPAL, Quality.USEFUL)
    example = page_example(tiny_model, request, found)
    prompt = len(render_messages(simulator_messages(request, "tuned"), tiny_model.tokenizer))
    assert sum(example.mask) == len(example.ids) - prompt
    text = tiny_model.codec.decode(example.ids[prompt:-1])
    assert text.startswith(PLAN + "[1] Title 0: Katmandu")
    assert parse_page(text, 3) == parse_page(text.partition("\n")[2], 3)
    assert parse_page(text, 3).parsed


def test_an_answer_is_quoted_with_the_words_that_lead_to_it() -> None:
    found = documents("One of the cities of that country is Kathmandu, and Katmandu is its capital.", "In Kathmandu.")
    quoted = format_plan(found, NEPAL.golden_answers)
    assert quoted == "<think>[1] cities of that country is Kathmandu; [2] Title 1: In Kathmandu</think>\n"
    assert format_plan(documents("The U.S. won."), ["US"]) == "<think>[1] US</think>\n"  # only normalised the same
    page = "[1] A: b c Lima.\n[2] Lima: d"
    assert [page[slice(*span)] for span in answer_spans(page, ["Lima"], before=2)] == ["b c Lima", "Lima"]
    assert [page[slice(*span)] for span in answer_spans(page, ["lima"], before=9)] == ["A: b c Lima", "Lima"]


def test_plan_and_answers_weigh_more_where_that_is_asked_for(tiny_model: LocalModel) -> None:
    found = documents("Katmandu is a city.", "The city of Kathmandu, kathmandu; Katmandus.")
    request = SearchRequest("capital", 2, NEPAL, Quality.USEFUL)
    plain, example = (page_example(tiny_model, request, found, answer_weight=weight) for weight in (1, 5))
    assert (example.ids, [min(m, 1) for m in example.mask]) == (plain.ids, plain.mask)
    encode, decode = tiny_model.codec.encode, tiny_model.codec.decode
    plan = len(encode(format_plan(found, NEPAL.golden_answers)))
    begin = example.mask.index(5)
    assert begin == plain.mask.index(1)
    assert example.mask[begin : begin + plan] == [5] * plan
    heavy, light = [], []
    for token, weight in list(zip(example.ids, example.mask, strict=True))[begin + plan :]:
        (heavy if weight == 5 else light).append(token)
    assert set(example.mask[begin + plan :]) == {1, 5}
    assert decode(heavy).lower().count("mandu") == 3  # not the plural
    assert "mandus" in decode(light)
    unplanned = page_example(tiny_model, request, found[:1], plan=False, answer_weight=2)
    weighed = [token for token, weight in zip(unplanned.ids, unplanned.mask, strict=True) if weight == 2]
    assert decode(weighed).strip() == "Title 0: Katmandu"
    noise = page_example(tiny_model, replace(request, quality=Quality.NOISY), documents("Hills."), answer_weight=2)
    assert noise.mask.count(2) == len(encode("<think>none</think>\n"))
    assert answer_spans("a 3, 33 and New\nYork, new-york!", ["3", "New York", "?"]) == [(2, 3), (12, 20), (22, 30)]


def test_a_tokenizer_that_does_not_tell_where_its_tokens_stand_takes_no_weight(tiny_model: LocalModel) -> None:
    class Slow:
        is_fast = False

        def __getattr__(self, name: str) -> Any:
            return getattr(tiny_model.tokenizer, name)

    model = LocalModel(tiny_model.base, Slow(), "slow", tiny_model.device)
    request = SearchRequest("capital", 1, NEPAL, Quality.USEFUL)
    assert page_example(model, request, documents("Hills.")).ids
    with pytest.raises(ConfigError, match="fast tokenizer"):
        page_example(model, request, documents("Hills."), answer_weight=2)
