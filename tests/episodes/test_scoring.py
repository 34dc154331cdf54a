"""Scores and rewards (rules 6 and 7 of the design)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zerosearch.episodes.scoring import (
    Scores,
    contains_answer,
    cover_exact_match,
    exact_match,
    normalize,
    score_answer,
    token_f1,
    with_format,
)

# Few words, so that answers and golden answers share some; with articles, cases and punctuation to normalise away.
phrase = st.lists(st.sampled_from(["the", "A", "an", "Lake", "lake", "Titicaca", "new", "York", "-", "!", "42"])).map(
    " ".join
)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Lake\tTiticaca!", "lake titicaca"),
        ("a U.S.-born man", "usborn man"),  # punctuation goes first: 'U.S.-born' is one word, as in SQuAD
        ("the-end", "theend"),
        ("Anna's theory", "annas theory"),  # articles are whole words
        ("the a an", ""),
        ("«Ñandú» – №5", "ñandú №5"),  # punctuation of every script, as in MLQA's scorer; signs that are none stay
        ("d’Arvelle’s “day”", "darvelles day"),
        ("1914–1918", "19141918"),  # an en dash is taken off as a hyphen is
        ("Hawaiʻi", "hawaii"),
        ("Reykjavík", "reykjavík"),  # accents count
        ("cafe\u0301", "café"),  # a letter is one however it is coded
        ("soft\u00adhyphen \ufeffmark", "softhyphen mark"),
        ("１２３ ＡＢＣ！", "123 abc"),
        ("加德满都。", "加 德 满 都"),
        ("「東京タワー」 3F", "東 京 タ ワ ー 3f"),
        ("ｶﾞﾗｽ", "ガ ラ ス"),
        ("서울에 있다", "서 울 에 있 다"),
        ("กรุงเทพ", "ก รุ ง เ ท พ"),  # a vowel or tone mark stays with its letter
        ("NASA北京1号", "nasa 北 京 1 号"),
        ("", ""),
    ],
)
def test_normalisation_is_that_of_squad(text: str, normal: str) -> None:
    assert normalize(text) == normal


@pytest.mark.parametrize(
    ("prediction", "golden", "em", "cover"),
    [
        ("Lake Titicaca", ["Lake Titicaca"], 1, 1),
        ("the lake Titicaca.", ["Lake Titicaca"], 1, 1),
        ("It is Lake Titicaca in Peru", ["Lake Titicaca"], 0, 1),  # containment is not exact match
        ("Titicaca Lake", ["Lake Titicaca"], 0, 0),  # in order
        ("Lake deep Titicaca", ["Lake Titicaca"], 0, 0),  # side by side
        ("Titicaca", ["Lake Titicaca"], 0, 0),
        ("Nigeria", ["Niger"], 0, 0),  # whole tokens
        ("142", ["42"], 0, 0),
        ("Peking", ["Beijing", "Peking"], 1, 1),  # any golden answer
        ("anything at all", ["The"], 0, 0),  # a golden answer that normalises to nothing matches nothing
        ("", [""], 0, 0),
        ("the", ["The"], 1, 1),  # but the very same text is right, also where it normalises to nothing
        ("The  The", ["The The"], 1, 1),
        ("A", ["A"], 1, 1),
        ("an", ["A"], 0, 0),
        ("...", ["?", "a"], 0, 0),
        ("?", ["?"], 1, 1),
        ("加德满都。", ["加德满都"], 1, 1),
        ("在加德满都市", ["加德满都"], 0, 1),
        ("北京 大学", ["北京大学"], 1, 1),
        ("Xi’an", ["Xi'an"], 1, 1),
        ("1914–18", ["1914-18"], 1, 1),
        ("Reykjavik", ["Reykjavík"], 0, 0),
        ("Paris", ["?", "Paris"], 1, 1),
        ("Paris", [], 0, 0),
        (None, ["Paris", ""], 0, 0),
    ],
)
def test_exact_match_is_exact_and_cover_stands_beside_it(
    prediction: str | None, golden: list[str], em: float, cover: float
) -> None:
    assert exact_match(prediction, golden) == em
    assert cover_exact_match(prediction, golden) == cover
    if prediction is not None and normalize(prediction):
        assert contains_answer(prediction, golden) == bool(cover)


@pytest.mark.parametrize(
    ("prediction", "golden", "f1"),
    [
        ("the Denver Broncos team", ["Denver Broncos"], 0.8),  # precision 2/3, recall 1
        ("Denver", ["Denver Broncos"], 2 / 3),
        ("new york new york", ["New York"], 2 / 3),  # a word counts as often as both have it
        ("Peking city", ["Beijing", "the city of Peking"], 0.8),  # the best golden answer
        ("Broncos Denver", ["Denver Broncos"], 1.0),  # a bag of words
        ("Rome", ["Paris"], 0.0),
        ("the", ["the"], 1.0),
        ("the", ["an"], 0.0),
        ("加德满都市", ["加德满都"], 8 / 9),  # characters, where no space stands between words
        ("서울에", ["서울"], 0.8),
        ("yes", ["Yes."], 1.0),
        ("yes no", ["yes"], 0.0),  # HotpotQA's rule: no share of a word for yes and no
        ("yes, it is", ["yes"], 0.0),
        ("no", ["no one"], 0.0),
        ("noanswer", ["noanswer at all"], 0.0),
        ("no", ["yes", "no"], 1.0),
        ("", [""], 0.0),
        ("Paris", [], 0.0),
        (None, ["Paris"], 0.0),
    ],
)
def test_token_f1(prediction: str | None, golden: list[str], f1: float) -> None:
    assert token_f1(prediction, golden) == pytest.approx(f1, abs=1e-12)


@given(phrase, st.lists(phrase, max_size=3))
def test_scores_agree_with_each_other(prediction: str, golden: list[str]) -> None:
    scores = score_answer(prediction, golden, well_formed=True)
    assert scores.em in (0.0, 1.0)
    assert scores.em <= scores.cover_em <= 1.0
    assert scores.em <= scores.f1 <= 1.0 + 1e-12
    assert (scores.cover_em > 0) <= (scores.f1 > 0)
    assert scores == score_answer(prediction, [*reversed(golden), "", "?"], well_formed=True)
    if normalize(prediction):
        assert scores == score_answer(f"The {prediction.upper()}!", golden, well_formed=True)


@given(phrase, phrase)
def test_f1_is_the_same_both_ways_round(one: str, other: str) -> None:
    assert token_f1(one, [other]) == pytest.approx(token_f1(other, [one]), abs=1e-12)


def test_no_answer_scores_nothing() -> None:
    assert score_answer(None, ["", "the", "None", "Lake Titicaca"], well_formed=False) == Scores(0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("reward", "form", "earned"), [(0.5, 1.0, 0.5), (-1.0, 1.0, -1.0), (0.0, 1.0, 0.1), (0.0, 0.0, 0.0)]
)
def test_format_reward_is_for_a_well_formed_wrong_answer_and_never_on_top(
    reward: float, form: float, earned: float
) -> None:
    scores = Scores(em=0.0, f1=0.0, cover_em=0.0, format=form)
    assert with_format(reward, scores, 0.1) == earned
    assert with_format(reward, scores, 0.0) == reward
