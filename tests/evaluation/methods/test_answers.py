"""Reading a model's text: what is an answer, an action, a rating, and what is none."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zerosearch.episodes.protocol import Action
from zerosearch.episodes.replies import close_tag, cut_before
from zerosearch.evaluation.methods.answers import (
    STOP_ACTION,
    STOP_ANSWER,
    extract_answer,
    final_reply,
    is_final,
    parse_action,
    parse_rating,
    parse_react,
)
from zerosearch.evaluation.methods.sentences import first_sentence

plain = st.text(st.characters(exclude_characters="<>", exclude_categories=["Cs"]), max_size=40)
word = st.text(string.ascii_letters + string.digits + " '-.é中", min_size=1, max_size=30).filter(str.strip)
soup = st.lists(
    st.sampled_from(["<answer>", "</answer>", "<search>", "</search>", "<think>", "Lima", " ", "\n", "Action:", "["]),
    max_size=12,
).map("".join)


@given(plain, word, plain)
def test_what_stands_between_the_tags_is_the_answer_whatever_is_around_it(before: str, answer: str, after: str) -> None:
    assert extract_answer(f"{before}<answer>\n {answer}</answer>{after}") == " ".join(answer.split())


@given(plain, word)
def test_an_answer_that_was_not_closed_is_none(before: str, answer: str) -> None:
    assert extract_answer(f"{before}<answer>{answer}") is None
    assert extract_answer(f"{before}{answer}</answer>") is None
    assert extract_answer(before) is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<answer>Lima</answer> <answer>Quito</answer>", "Lima"),
        ("< Answer > Lima </ANSWER >", "Lima"),
        ("<answer> \n </answer>", None),
        ("</answer><answer>", None),
    ],
)
def test_the_first_tagged_text_is_the_answer_in_any_case_unless_it_is_empty(text: str, answer: str | None) -> None:
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("Jane Austen", "Jane Austen"),
        ("  Jane  Austen.\n", "Jane Austen."),
        ("It is her. <answer>Jane Austen</answer>", "Jane Austen"),
        ("Jane Austen <answer>", None),  # a tag that was begun is held to its form
        ("Jane\nAusten", None),
        (" ".join(["word"] * 12), " ".join(["word"] * 12)),
        (" ".join(["word"] * 13), None),
        (" \n", None),
        ("", None),
        ("<think>Lima or Quito?</think>\n\nLima", "Lima"),
        ("Lima or Quito?\n</think>\n\n**Lima**", "Lima"),
        ("<think>Answer: <answer>Quito</answer></think>Answer: Lima", "Lima"),
        ("<think>Lima", None),
    ],
)
def test_a_reply_that_is_nothing_but_a_few_words_is_an_answer_without_tags(reply: str, answer: str | None) -> None:
    assert final_reply(reply) == answer


@given(soup)
def test_a_tagged_answer_goes_before_a_bare_one_and_holds_no_tag(text: str) -> None:
    answer = extract_answer(text)
    if answer is not None:
        assert final_reply(text) == answer == answer.strip() != ""
        assert "<answer>" not in answer
        assert "</answer>" not in answer


@given(soup, word)
def test_what_a_server_cut_off_at_a_stop_is_put_back(before: str, answer: str) -> None:
    """Through the cut of a server and back, the first answer is the one of the whole text."""
    whole = f"{before}<answer>{answer}</answer> and more"
    closed = close_tag(cut_before(whole, STOP_ANSWER), STOP_ANSWER)
    assert extract_answer(closed) == extract_answer(whole)


@pytest.mark.parametrize(
    ("text", "closed"),
    [
        ("<search> Nepal ", "<search> Nepal </search>"),
        ("I know. <answer> Lima", "I know. <answer> Lima</answer>"),
        ("<search> Nepal </search> then <answer> Lima", "<search> Nepal </search> then <answer> Lima</answer>"),
        ("<answer> Lima </answer>", "<answer> Lima </answer>"),
        ("no tag at all", "no tag at all"),
    ],
)
def test_only_an_open_tag_is_closed(text: str, closed: str) -> None:
    assert close_tag(text, STOP_ACTION) == closed


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("I need it. <search> capital of\n Nepal </search>", Action("search", "capital of Nepal", True)),
        ("<answer> Lima </answer>", Action("answer", "Lima", True)),
        ("<search> a </search> <answer> b </answer>", Action("search", "a", False)),
        ("<answer> b </answer> <search> a </search>", Action("answer", "b", False)),
        ("<search> </search>", Action("invalid", "", False)),
        ("Lima", Action("invalid", "", False)),
        ("<search> a", Action("invalid", "", False)),
    ],
)
def test_the_first_closed_tag_is_the_action(text: str, action: Action) -> None:
    assert parse_action(text) == action


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("Thought: hm\nAction: Search[capital of Nepal]", Action("search", "capital of Nepal", True)),
        ("Action 2: finish[Lima]", Action("answer", "Lima", True)),
        ("Action: Search[a]\nAction: Finish[b]", Action("search", "a", False)),
        ("Action: Finish[Lima", Action("answer", "Lima", False)),
        ("Action: Finish[Nirvana [band]]", Action("answer", "Nirvana [band]", True)),
        ("Action: Finish[]", Action("invalid", "", False)),
        ("Thought: Search[x] would help", Action("invalid", "", False)),
        ("It is <answer> Lima </answer>", Action("answer", "Lima", False)),
        ("Lima", Action("invalid", "", False)),
        ("<think>Action: Search[x]</think>Thought: so\nAction: Finish[Lima]", Action("answer", "Lima", True)),
        ("Thought: I may write Action: Search[x] next.\nAction: Finish[Lima]", Action("answer", "Lima", True)),
        ("Thought: I write Action: Search[query] to search.", Action("invalid", "", False)),
        ("Thought: I need it. Action: Search[capital of Nepal]", Action("search", "capital of Nepal", True)),
    ],
)
def test_react_reads_the_first_action(text: str, action: Action) -> None:
    assert parse_react(text) == action


@given(word)
def test_react_gives_back_any_query(query: str) -> None:
    assert parse_react(f"Thought: so.\nAction: Search[{query}]").text == " ".join(query.split())


@given(soup | plain)
def test_no_text_breaks_a_parser(text: str) -> None:
    for action in (parse_action(text), parse_react(text)):
        assert (action.kind == "invalid") == (action.text == "")
    rating = parse_rating(text)
    assert rating is None or 0 <= rating <= 1
    assert "\n" not in first_sentence(text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Nepal lies in Asia. Its capital is Kathmandu.", "Nepal lies in Asia."),
        ("\n  The U.S.A. is large", "The U.S.A. is large"),
        ("He lives in the U.S. The city is large.", "He lives in the U.S."),
        ("J. K. Rowling wrote Emma. It sold.", "J. K. Rowling wrote Emma."),
        ("Dr. No met John F. Kennedy in St. Ives. So.", "Dr. No met John F. Kennedy in St. Ives."),
        ("1. Nepal lies in Asia. Yes.", "1. Nepal lies in Asia."),
        ("It is no. 1 of Apple Inc. (c. 1976). Yes.", "It is no. 1 of Apple Inc. (c. 1976)."),
        ("Martin Luther King Jr. Day is in January. So.", "Martin Luther King Jr. Day is in January."),
        ("He worked for Apple Inc. She did not.", "He worked for Apple Inc."),
        ("It ended with World War I. The peace came.", "It ended with World War I."),
        ("He said no. Then he left.", "He said no."),
        ('Is it "Emma"? Yes.', 'Is it "Emma"?'),
        ("<think>Hm. So.</think> Lima is large. Yes.", "Lima is large."),
        ("Pi is 3.14 or so! Yes.", "Pi is 3.14 or so!"),
        ("no end\nnext line", "no end"),
        ("", ""),
    ],
)
def test_a_sentence_ends_with_its_mark_or_its_line(text: str, sentence: str) -> None:
    assert first_sentence(text) == sentence


def test_a_final_sentence_says_the_answer() -> None:
    assert is_final("So the answer is: Lima.")
    assert not is_final("The answers differ.")
    assert not is_final("The answer is not known yet.")
    assert not is_final("The answer is still unknown.")


@pytest.mark.parametrize(
    ("text", "rating"),
    [
        ("7", 0.7),
        ("10/10", 1.0),
        ("I say 8.5.", 0.85),
        ("0", 0.0),
        ("11", None),
        ("none", None),
        ("", None),
        ("On a scale of 0 to 10, I would say 8", 0.8),
        ("Rating (0-10): 3", 0.3),
        ("I give it 7 out of 10.", 0.7),
        ("<think>0 or 10?</think> 9", 0.9),
        ("8/10, as 2 documents say so: 8", 0.8),
    ],
)
def test_a_rating_is_a_number_of_0_to_10(text: str, rating: float | None) -> None:
    assert parse_rating(text) == rating
