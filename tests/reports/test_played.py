"""Episodes as they are looked at: turns with their pages, what was asked and what was found, and why they score so."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from evaluation.made import made
from looked import answer_text, broken, episodes_of, learns, write_evaluation, write_run

from zerosearch.cleaning import register_secret
from zerosearch.episodes.episode import Codec
from zerosearch.episodes.predictions import Outcome, Prediction
from zerosearch.episodes.protocol import INVALID_TURN_NOTE
from zerosearch.episodes.questions import Question
from zerosearch.episodes.rollout import ErrorRate
from zerosearch.episodes.search import Document
from zerosearch.episodes.trajectory import SearchRecord
from zerosearch.errors import DataError
from zerosearch.reports.played import Played, blocks, told_page, why
from zerosearch.reports.reading import episodes
from zerosearch.reports.rows import Texts, Tokens, page_row

NEPAL = Question("n", "Capital of Nepal?", ("Kathmandu",))
GOOD = SearchRecord((Document("Nepal", "Kathmandu."),), "x", "useful", query="a")
BAD = SearchRecord((Document("Peru", "Lima."),), "x", "noisy", query="b")


def predicted(text: str, *searches: SearchRecord) -> Played:
    return Played.of_evaluation(Prediction.scored(NEPAL, Outcome("Lima", searches, text=text), "nq", "react"))


def test_a_training_episode_has_each_page_after_the_turn_that_asked_for_it(byte_codec: Codec) -> None:
    for t in episodes_of(byte_codec):
        one = Played.of_training(t)
        assert [turn.search for turn in one.turns] == [*t.searches, None]
        assert one.turns[0].search is not None
        assert one.turns[0].search.query in one.turns[0].text
        assert byte_codec.decode(t.ids[one.turns[1].start : one.turns[1].end]) == one.turns[1].text


def test_a_turn_that_did_nothing_gets_no_page(byte_codec: Codec) -> None:
    def write(prompt: str, sampling: Any) -> str:
        if INVALID_TURN_NOTE.strip() not in prompt:
            return "I do not know."
        return learns(prompt, sampling)

    t = episodes_of(byte_codec, write=write)[0]
    assert [turn.search for turn in Played.of_training(t).turns] == [None, *t.searches, None]
    assert len(t.searches) == 1


def test_an_evaluations_transcript_is_read_in_both_of_its_forms() -> None:
    written = predicted("<think>t</think><search> a </search>\n<search>b</search>\n<answer>Lima</answer>", GOOD, BAD)
    assert [turn.search for turn in written.turns] == [GOOD, BAD, None]
    logged = predicted("model: I search: for\nit\nsearch: a\nmodel: again\nsearch: b\nmodel: Lima", GOOD, BAD)
    assert [turn.search for turn in logged.turns] == [None, GOOD, None, BAD, None]
    assert logged.turns[0].text == "I search: for\nit"


def test_no_search_is_lost_where_the_transcript_does_not_tell_of_it() -> None:
    assert [t.search for t in predicted("<answer>Lima</answer>", GOOD, BAD).turns] == [None, GOOD, BAD]
    other = predicted("model: x\nsearch: something else\nmodel: y", GOOD)
    assert [t.search for t in other.turns] == [None, None, None, GOOD]
    assert other.turns[1].text == "search: something else"


def test_a_page_says_what_was_asked_for_and_what_was_found() -> None:
    assert told_page(GOOD, NEPAL) == "asked for as useful; holds a golden answer in [1]"
    assert told_page(BAD, NEPAL) == "asked for as noisy; holds no golden answer"
    assert told_page(replace(BAD, quality=None), NEPAL) == "holds no golden answer"
    assert told_page(replace(BAD, error="deadline"), NEPAL) == "the search failed (deadline)"
    assert "cannot be said" in told_page(BAD, replace(NEPAL, golden_answers=("yes",)))


def test_why_names_the_answer_or_what_stood_in_its_way(byte_codec: Codec) -> None:
    one = predicted("", GOOD)
    assert why(one).startswith("no word is shared: 'lima' against 'kathmandu' (normalised); a golden answer stands on")
    assert why(replace(one, answer="Kathmandu", scores=replace(one.scores, em=1.0, f1=1.0))).startswith("the answer is")
    assert why(one, "mine:reward") == why(one, "f1")
    lost = Played.of_training(episodes_of(byte_codec, search=broken, errors=ErrorRate(1.0))[0])
    assert why(lost) == "no answer: the search failed"
    assert lost.error == "connection"
    ends = replace(lost, stop_reason="no_answer", turns=(replace(lost.turns[0], text="<think>t</think> Lima"),))
    assert why(ends) == "no answer: there is neither <search> nor <answer> in it"


def test_a_turn_is_cut_at_its_tags() -> None:
    assert blocks("<think>a</think>\n<answer> b </answer> c") == [("think", "a"), ("answer", " b "), ("text", " c")]


def test_numbers_that_are_none_are_left_out_of_the_page(byte_codec: Codec) -> None:
    t = episodes_of(byte_codec)[0]
    odd = [math.nan, -math.inf, math.inf]
    t = replace(t, reward=math.nan, seconds=math.inf, logprobs=tuple(odd[n % 3] for n in range(len(t.logprobs))))
    row = page_row(Played.of_training(t), 0, Texts(), score="f1", tokens=Tokens(byte_codec.decode))
    assert json.dumps(row, allow_nan=False)
    assert row["reward"] is None
    turns = [part for part in row["parts"] if part["t"] == "turn"]
    assert {n for part in turns for n in part["p"]} == {None}


def test_a_character_of_several_tokens_is_one_piece(byte_codec: Codec) -> None:
    text = "na\u00efve \u52a0 <|im_end|>"
    ids = byte_codec.encode(text)
    pieces = Tokens(byte_codec.decode).pieces(ids, text)
    assert "".join(piece for piece, _ in pieces) == text
    assert sum(count for _, count in pieces) == len(ids)
    assert ("\u00ef", 2) in pieces
    assert ("\u52a0", 3) in pieces
    assert Tokens(byte_codec.decode).pieces(ids, "another text") == []


def test_a_secret_that_a_policy_writes_is_hidden_whole_and_not_token_by_token(byte_codec: Codec) -> None:
    secret = "sekret-of-the-rows-42"
    register_secret(secret)
    t = episodes_of(byte_codec, write=lambda prompt, sampling: answer_text(f"it is {secret}"))[0]
    texts = Texts()
    row = page_row(Played.of_training(t), 0, texts, score="f1", tokens=Tokens(byte_codec.decode))
    (turn,) = (part for part in row["parts"] if part["t"] == "turn")
    assert "k" not in turn
    assert "it is [key]" in texts.shown[turn["s"]]
    assert secret not in "".join(texts.shown)


def test_what_a_name_means(tmp_path: Path, byte_codec: Codec) -> None:
    run = write_run(tmp_path / "r", byte_codec, 2)
    write_evaluation(run, 2, episodes_of(byte_codec, rollouts=1))
    assert {one.step for one in episodes(str(run))} == {1}
    assert {one.step for one in episodes(str(run), 0)} == {0}
    assert [one.rollout for one in episodes(str(run), question="q2")] == [0, 1, 2, 3]
    assert {one.step for one in episodes(f"{run}@2")} == {None}
    assert len(episodes(str(run / "trajectories" / "step-000000.jsonl.zst"))) == 24
    assert len(episodes(str(run / "trajectories"))) == 48
    made(tmp_path / "out", [1, 0, 1])
    assert [one.reward for one in episodes(f"{tmp_path}/out:rag")] == [1.0, pytest.approx(0.8), 1.0]
    for bad, options in (
        (run, {"step": 7}),
        (run, {"question": "none"}),
        (tmp_path / "no", {}),
        (f"{run}@2", {"step": 0}),
    ):
        with pytest.raises(DataError):
            episodes(str(bad), **options)
