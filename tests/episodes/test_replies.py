"""The one reader of replies: thoughts and quotations are taken off, whatever stands in them, and the rest is left."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zerosearch.episodes.replies import find_action, may_think_unseen, opens_thought, stop_end, thinking, visible

STOP = ("</search>", "</answer>")
TAGS = ["<search>", "</search>", "<answer>", "</answer>", "<information>", "</information>"]
plain = st.text(st.characters(exclude_characters="<>[]|◁▷", exclude_categories=["Cs"]), max_size=20)
soup = st.lists(
    st.sampled_from([*TAGS, "<think>", "</think>", "<thinking>", "</thinking>", "< Think >", "[THINK]", "[/THINK]",
                     "and", " or ", "...", "Lima", "\n", "<", "</", "e.g. ", "`"]),
    max_size=14,
).map("".join)  # fmt: skip
held = st.lists(st.sampled_from([*TAGS, "<think>", " and ", "Lima", "\n"]), max_size=8).map("".join)


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ("<think>", "</think>"),
        ("<thinking>", "</thinking>"),
        ("<Think >", "</ THINK>"),
        ("<reasoning>", "</reasoning>"),
        ("[THINK]", "[/THINK]"),
        ("<seed:think>", "</seed:think>"),
        ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ],
)
@pytest.mark.parametrize("opened", [False, True])
def test_thoughts_of_every_model_are_taken_off(opening: str, closing: str, opened: bool) -> None:
    thought = "I must write the answer inside <answer> and </answer>. Is it <answer>Quito</answer>?"
    begun = thought if opened else opening + thought
    assert visible(f"{begun}{closing}\n<answer> Lima </answer>", opened=opened).strip() == "<answer> Lima </answer>"
    assert visible(begun, opened=opened).strip() == ""
    assert thinking(begun, opened=opened)


@given(held, plain)
def test_a_thought_whose_opening_is_the_templates_ends_at_its_closing_tag(thought: str, rest: str) -> None:
    assert visible(f"{thought}</think>{rest}", opened=True) == f" {rest}"
    assert visible(f"{thought.replace('<think>', '')}</think>{rest}") == f" {rest}"  # even where nobody said so


@given(plain, held, plain)
def test_what_stands_around_a_thought_is_left_as_it_is(before: str, thought: str, after: str) -> None:
    assert visible(f"{before}<think>{thought}</think>{after}") == f"{before} {after}"


@given(soup, st.booleans())
def test_what_is_seen_holds_no_thought_and_is_read_the_same_again(text: str, opened: bool) -> None:
    action = find_action(text, opened=opened)
    if action is not None:
        assert text[action.start : action.end].lower().startswith(f"<{action.tag}>")
        assert text[action.start : action.end].lower().endswith(f"</{action.tag}>")
        assert f"<{action.tag}>" not in action.body


@given(soup, st.booleans())
def test_an_action_is_where_a_sampler_has_to_stop(text: str, opened: bool) -> None:
    end = stop_end(text, STOP, opened=opened)
    action = find_action(text, opened=opened, exact=True)
    assert action is None or action.end == end
    if end is not None:
        assert text[:end].endswith(STOP)


@given(st.lists(st.sampled_from(["<think>", "I write ", "<search> and </search>", "<answer>x</answer>", "."])))
def test_an_open_thought_is_never_a_place_to_stop(pieces: list[str]) -> None:
    text = "<think>" + "".join(pieces)
    assert stop_end(text, STOP) is None
    assert find_action(text) is None


def test_what_a_prompt_ends_with_opens_a_thought_or_not() -> None:
    assert opens_thought("<｜Assistant｜><think>\n")
    assert not opens_thought("<think>\n\n</think>\n\n")  # a template told not to think
    assert not opens_thought("Reason inside <think> and </think> first.\n")


@pytest.mark.parametrize(
    ("replies", "unseen"),
    [
        ([], True),
        (["Hm. </think> <search>q</search>"], True),
        (["<think>Hm.</think> <search>q</search>"], False),
        (["<search>q</search>"], False),
    ],
)
def test_a_server_may_be_told_where_to_stop_once_its_model_is_known(replies: list[str], unseen: bool) -> None:
    assert may_think_unseen(replies) == unseen
