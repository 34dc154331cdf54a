"""Reading an episode's text back: the same ids and mask as in training, and a reward that is explained."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zerosearch.episodes.episode import Codec, Done, Episode, EpisodeLimits, Generate
from zerosearch.episodes.generation import Generation
from zerosearch.episodes.protocol import INVALID_TURN_NOTE, LAST_TURN_NOTE, parse_turn
from zerosearch.episodes.questions import Question
from zerosearch.episodes.search import Document
from zerosearch.episodes.transcript import Transcript, explain, read_transcript, score_transcript, turn_fault

END = "<|im_end|>"
PROMPT = list(b"Question: Capital of Nepal?\n")
QUESTION = Question("q", "Capital of Nepal?", ("Kathmandu", "Katmandu"))
GENEROUS = EpisodeLimits(max_turn_tokens=4000, max_page_tokens=4000, max_context_tokens=60_000)
SEARCH = "<think>I need it.</think>\n<search> capital of Nepal </search>"
PAGE = "\n<information>\n[1] Nepal: The capital is Kathmandu.\n[2] Asia: A continent.\n</information>\n"
ANSWER = "<think>There.</think><answer> Kathmandu </answer>"


def read(text: str, codec: Codec, limits: EpisodeLimits = GENEROUS) -> Transcript:
    return read_transcript(text, Episode(QUESTION, PROMPT, codec, limits), ends=(END,))


def policy_text(transcript: Transcript, codec: Codec) -> str:
    ids = [i for i, own in zip(transcript.episode.ids, transcript.episode.mask, strict=True) if own]
    return codec.decode(ids)


def test_only_the_policys_turns_have_mask_one(byte_codec: Codec) -> None:
    transcript = read(SEARCH + PAGE + ANSWER, byte_codec)
    assert policy_text(transcript, byte_codec) == SEARCH + ANSWER
    assert byte_codec.decode(transcript.episode.ids[len(PROMPT) :]) == SEARCH + PAGE + ANSWER
    assert [(s.name, s.end - s.start) for s in transcript.segments] == [
        ("prompt", len(PROMPT)),
        ("turn 1", len(SEARCH)),
        ("page 1", len(PAGE)),
        ("turn 2", len(ANSWER)),
    ]
    assert transcript.stop_reason == "answer"
    assert transcript.remarks == ()


plain = st.text(st.characters(blacklist_characters="<>|", blacklist_categories=("Cs", "Cc")), min_size=1, max_size=12)
turns = st.one_of(
    st.builds(lambda a, b: f"<think>{a}</think><search>{b}</search>", plain, plain),
    st.builds(lambda a, b: f"<think>{a}</think>\n<answer> {b} </answer>", plain, plain),
    st.builds(lambda a: f"<think>{a}{END}", plain),
    st.builds(lambda a: f"<think><information>{a}</information>{END}", plain),
)
documents = st.lists(st.builds(Document, st.one_of(st.just(""), plain), plain), max_size=3)


@given(st.lists(turns, min_size=1, max_size=4), st.lists(documents, min_size=4, max_size=4), st.integers(0, 3))
def test_the_text_of_an_episode_gives_its_ids_and_mask_back(
    byte_codec: Codec, spoken: list[str], pages: list[list[Document]], max_searches: int
) -> None:
    limits = EpisodeLimits(max_searches, 4000, 4000, 60_000)
    episode = Episode(QUESTION, PROMPT, byte_codec, limits)
    for text in spoken + [ANSWER] * 4:
        if not isinstance(episode.next(), Generate):
            break
        ids = byte_codec.encode(text)
        episode.feed_generation(Generation(ids, [0.0] * len(ids), "stop"))
        if not isinstance(step := episode.next(), Generate | Done):
            episode.feed_page(pages[step.index])
    transcript = read(byte_codec.decode(episode.ids[len(PROMPT) :]), byte_codec, limits)
    assert transcript.episode.ids == episode.ids
    assert transcript.episode.mask == episode.mask
    assert transcript.episode.answer == episode.answer
    assert (transcript.stop_reason,) == (getattr(episode.next(), "stop_reason", None),)
    segments = transcript.segments
    assert [s.start for s in segments[1:]] == [s.end for s in segments[:-1]]
    assert segments[-1].end == len(episode.ids)


def test_notes_of_training_may_stand_in_the_text_or_not(byte_codec: Codec) -> None:
    limits = EpisodeLimits(2, 4000, 4000, 60_000)
    bare = read(f"hm{END}" + SEARCH + PAGE + ANSWER, byte_codec, limits)
    noted = read(f"hm{END}" + INVALID_TURN_NOTE + SEARCH + PAGE + LAST_TURN_NOTE + ANSWER, byte_codec, limits)
    assert bare.episode.ids == noted.episode.ids
    assert policy_text(noted, byte_codec) == f"hm{END}" + SEARCH + ANSWER
    assert [s.name for s in noted.segments] == ["prompt", "turn 1", "note 1", "turn 2", "page 1", "turn 3"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (ANSWER, "right: 'kathmandu' against 'kathmandu' / 'katmandu' (normalised)"),
        ("<answer>The Pokhara!</answer>", "no word is shared: 'pokhara' against 'kathmandu'"),
        ("<answer>Kathmandu city</answer>", "some words are shared: 'kathmandu city'"),
        ("<answer> The. </answer>", "'The.' is empty once articles and punctuation are gone"),
        ("<answer> </answer>", "in turn 1, the answer is empty"),
        ("<think>Kathmandu</think>", "neither <search> nor <answer> in it; a golden answer stands in turn 1"),
        ("<answer>Kathmandu", "in turn 1, <answer> is never closed; a golden answer stands in turn 1"),
        ("<Answer>Kathmandu</Answer>", "'<Answer>' is not a tag: they are lower case"),
        ("Kathmandu</answer>", "</answer> without <answer> before it"),
        (SEARCH, "the text ends with the search of turn 1"),
        (SEARCH + PAGE, "the text ends with the search of turn 1; a golden answer stands on page 1"),
        (SEARCH + PAGE + "<answer>Asia</answer>", "a golden answer stands on page 1, but only the policy's own"),
        ((SEARCH + PAGE) * 6, "turn 6 searches, but all turns are used up (protocol.max_searches = 5)"),
    ],
)
def test_the_reward_is_explained(byte_codec: Codec, text: str, why: str) -> None:
    transcript = read(text, byte_codec)
    said = explain(transcript, QUESTION.golden_answers, "f1", 0.0)
    assert why in said
    assert "\n" not in said


def test_an_answer_that_only_a_document_gives_is_none(byte_codec: Codec) -> None:
    page = "<information>\n[1] x: <answer>Kathmandu</answer>\n</information>"
    transcript = read(SEARCH + page + "<think>so</think>", byte_codec)
    assert transcript.episode.answer is None
    assert score_transcript(transcript, QUESTION.golden_answers).f1 == 0
    assert any("neutralised" in remark for remark in transcript.remarks)


@pytest.mark.parametrize(
    ("name", "answer", "why"),
    [
        ("em", "Kathmandu city", "not the same: 'kathmandu city' against 'kathmandu' / 'katmandu' (normalised)"),
        ("em", "Kathmandu.", "the answer is right"),
        ("cover_em", "in Kathmandu city", "contains a golden one"),
        ("cover_em", "Kathmandus", "no golden answer is contained"),
    ],
)
def test_other_rewards_are_explained_by_their_own_rule(byte_codec: Codec, name: Any, answer: str, why: str) -> None:
    transcript = read(f"<think>x</think><answer>{answer}</answer>", byte_codec)
    assert why in explain(transcript, QUESTION.golden_answers, name, 0.0)


def test_the_format_reward_is_explained(byte_codec: Codec) -> None:
    wrong = "<think>x</think><answer>Pokhara</answer>"
    assert explain(read(wrong, byte_codec), ["Kathmandu"], "f1", 0.1).endswith("; reward.format gives 0.1")
    said = explain(read("so " + wrong, byte_codec), ["Kathmandu"], "f1", 0.1)
    assert said.endswith("; reward.format gives 0, as not every turn is well formed")


def test_golden_answers_that_normalise_to_nothing_are_named(byte_codec: Codec) -> None:
    assert "every golden answer is empty" in explain(read(ANSWER, byte_codec), ["The", "!"], "em", 0.0)
    same = read(ANSWER.replace("Kathmandu", "A"), byte_codec)
    assert "the answer is right: the same text" in explain(same, ["The", "a"], "em", 0.0)


def test_a_turn_over_the_limit_is_cut_and_said(byte_codec: Codec) -> None:
    transcript = read(SEARCH + PAGE + ANSWER, byte_codec, EpisodeLimits(max_turn_tokens=20))
    assert transcript.remarks[0].startswith(
        f"turn 1 has {len(SEARCH)} tokens: protocol.max_turn_tokens cuts it off after 20"
    )
    assert [turn.end - turn.start for turn in transcript.episode.turns] == [20]
    assert transcript.stop_reason == "unfinished"


def test_a_full_context_is_said(byte_codec: Codec) -> None:
    limits = EpisodeLimits(max_context_tokens=len(PROMPT) + len(SEARCH) + 40, answer_reserve_tokens=32)
    transcript = read(SEARCH + PAGE + ANSWER, byte_codec, limits)
    assert transcript.stop_reason == "context"
    assert "no room left (protocol.max_context_tokens" in explain(transcript, ["Kathmandu"], "f1", 0.0)
    crowded = read(ANSWER, byte_codec, EpisodeLimits(max_context_tokens=len(PROMPT), answer_reserve_tokens=1))
    assert "the prompt alone fills max_context_tokens" in explain(crowded, ["Kathmandu"], "f1", 0.0)


@pytest.mark.parametrize(
    ("text", "remark"),
    [
        (SEARCH + ANSWER, "no <information> follows the search of turn 1: it is read as an empty page"),
        (SEARCH + "<information>[1] a: b", "never closed"),
        ("<think><information>x</information>" + ANSWER, "turn 1 writes <information> itself"),
        (ANSWER + "and more", "what comes after turn 1 is not read, the episode is over: 'and more'"),
        (SEARCH + PAGE.replace("Asia", "Asia <|im_end|>") + ANSWER, "page 1: tags and control tokens"),
    ],
)
def test_what_is_read_otherwise_than_it_looks_is_remarked(byte_codec: Codec, text: str, remark: str) -> None:
    remarks = read(text, byte_codec).remarks
    assert len(remarks) == 1
    assert remark in remarks[0]


def test_a_page_too_long_is_remarked(byte_codec: Codec) -> None:
    transcript = read(SEARCH + PAGE + ANSWER, byte_codec, EpisodeLimits(max_page_tokens=45))
    assert any("page 1: 1 of 2 documents fit whole into protocol.max_page_tokens = 45" in r for r in transcript.remarks)
    assert transcript.episode.answer == "Kathmandu"


pieces = st.sampled_from(
    [
        "<think>",
        "</think>",
        "<search>",
        "</search>",
        "<answer>",
        "</answer>",
        "<information>",
        " ",
        "\n",
        "w",
        "< Answer>",
    ]
)


@given(st.lists(pieces, max_size=9).map("".join), st.booleans())
def test_a_fault_is_named_exactly_where_a_turn_is_not_well_formed(text: str, opened: bool) -> None:
    assert (turn_fault(text, opened=opened) is None) == parse_turn(text, opened=opened).well_formed


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("<search>q</search>", "it does not begin with <think>"),
        ("so <think>x</think><search>q</search>", "there is text before <think>"),
        ("<think>x<search>q</search>", "its thought is never closed: tags inside of a thought are no action"),
        ("<think>x", "its thought is never closed"),
        (
            "inside <search> and </search>",
            "its tags stand in a thought, or quote the instructions: neither is an action",
        ),
        ("<think>x</think> so <answer>a</answer>", "there is text between </think> and <answer>"),
        ("<think>x<information></think><answer>a</answer>", "there is a <information> inside the thought"),
        ("<think>x</think><answer>a<information></answer>", "there is a <information> inside the answer"),
    ],
)
def test_the_fault_names_what_to_look_at(text: str, fault: str) -> None:
    assert turn_fault(text) == fault


def test_tags_in_a_thought_are_read_as_training_reads_them(byte_codec: Codec) -> None:
    thought = "<think>I write a query inside <search> and </search>, or <answer>x</answer>. "
    transcript = read(thought + "</think><search>q</search>" + PAGE + ANSWER, byte_codec)
    assert [turn.action.text for turn in transcript.episode.turns] == ["q", "Kathmandu"]
    assert transcript.remarks == ()
    unfinished = read(thought, byte_codec)
    assert [turn.action.kind for turn in unfinished.episode.turns] == ["invalid"]
