"""Golden answers in every form that data sets keep them in."""

from __future__ import annotations

import math
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zerosearch.episodes.answer_forms import read_answers, read_printed


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        ("Lima", ("Lima",)),
        (["Lima", " Lima ", "", None, math.nan, "City of Kings"], ("Lima", "City of Kings")),
        ([["Lima", ["City of Kings"]], ["Peru's capital"]], ("Lima", "City of Kings", "Peru's capital")),
        ({"text": ["Lima", "Lima", "lima"], "answer_start": [1, 1, 9]}, ("Lima", "lima")),  # SQuAD
        ({"text": "Lima"}, ("Lima",)),
        ([{"text": "Lima"}, {"text": "City of Kings"}], ("Lima", "City of Kings")),  # CMRC, DuReader
        ([{"answer": "Lima", "provenance": [{"title": "Peru"}]}, {"provenance": [{"title": "x"}]}], ("Lima",)),  # KILT
        ({"target": ["Lima", "City of Kings"]}, ("Lima", "City of Kings")),  # Search-R1
        ({"ground_truth": {"target": ["Lima"]}, "style": "rule"}, ("Lima",)),
        ({"number": "5", "date": {"day": "", "year": ""}, "spans": []}, ("5",)),  # DROP
        (
            {"value": "Sunset Blvd", "aliases": ["The Blvd"], "normalized_aliases": ["sunset blvd", "blvd", "bld"]},
            ("Sunset Blvd", "The Blvd", "bld"),  # TriviaQA; what scoring cannot tell apart is there once
        ),
        ({"Value": "Ay", "Aliases": ["A", "Ay"], "NormalizedValue": "ay"}, ("Ay", "A")),  # TriviaQA's own files
        (True, ("yes",)),
        ([False], ("no",)),
        ("True", ("yes", "True")),  # what a table makes of true; or the title of a song
        ("false", ("no", "false")),
        (["True", "True (album)"], ("True", "True (album)")),
        (1969, ("1969",)),
        (1969.0, ("1969",)),  # what pandas makes of whole numbers in a column with a gap
        ("1969.0", ("1969", "1969.0")),  # the same, written into a CSV
        ([3.14, 10**30, -2.5], ("3.14", "1" + "0" * 30, "-2.5")),
        ([math.inf, math.nan], ()),
        (Decimal("7.50"), ("7.50",)),
        (date(1999, 12, 31), ("1999-12-31",)),
        (None, ()),
        ("  ", ()),
        ({}, ()),
        (b"Lima", ()),
    ],
)  # fmt: skip
def test_a_form_is_read(value: Any, texts: tuple[str, ...]) -> None:
    assert read_answers(value).texts == texts


@pytest.mark.parametrize(
    ("text", "texts"),
    [
        ('["Lima", "City of Kings"]', ("Lima", "City of Kings")),  # JSON (PopQA)
        ("['Lima', 'City of Kings']", ("Lima", "City of Kings")),  # Python
        ("['Lima' 'City of Kings']", ("Lima", "City of Kings")),  # numpy: no commas
        ("['Lima'\n 'City of Kings']", ("Lima", "City of Kings")),
        ("['Lima']", ("Lima",)),
        ("[u'Lima', u'Per\\xfa']", ("Lima", "Perú")),  # Python 2
        ("""["Rock 'n' Roll" 'It\\'s']""", ("Rock 'n' Roll", "It's")),
        ("[np.str_('Lima'), np.str_('x')]", ("Lima", "x")),  # a list of numpy's texts
        ("array(['Lima', 'x'], dtype='<U4')", ("Lima", "x")),
        ("{'text': array(['Lima'], dtype=object), 'answer_start': array([159], dtype=int32)}", ("Lima",)),
        ("{'target': ['Lima']}", ("Lima",)),
        ("('Lima', 'x')", ("Lima", "x")),
        ("{'Lima', 'x'}", ("Lima", "x")),
        ("['Lima', None, nan]", ("Lima",)),
        ("[['Lima', 'x'], ['y']]", ("Lima", "x", "y")),
        ("Index(['Lima', 'x'], dtype='object')", ("Lima", "x")),
        ("dict_values(['Lima'])", ("Lima",)),
        ("<StringArray>\n['Lima', 'x']\nLength: 2, dtype: string", ("Lima", "x")),
        ("Who (film)", ("Who (film)",)),
        ("[1912 1913]", ("1912", "1913")),
        ("[True]", ("yes",)),
        ("[1.]", ("1",)),
        ("[]", ()),
        ("[sic", ("[sic",)),  # no list
        ("[Lima]", ("[Lima]",)),
        ("('80s music)", ("('80s music)",)),
    ],
)
def test_the_printed_form_of_a_list_is_read(text: str, texts: tuple[str, ...]) -> None:
    assert read_answers(text).texts == texts


@pytest.mark.parametrize(
    "text", ["['Lima' 'b' ... 'z']", "['Lima', 'City of", '["Lima"', "['Lima' & 'b']", "array(['Li"]
)
def test_a_printed_list_that_cannot_be_read_is_an_error_and_no_answer(text: str) -> None:
    with pytest.raises(ValueError, match="begins like a printed list"):
        read_answers(text)


@pytest.mark.parametrize(
    ("value", "separator", "texts"),
    [
        ("Lima||City of Kings", None, ("Lima", "City of Kings")),
        ("Lima | City of Kings", None, ("Lima", "City of Kings")),
        ("Lima\tCity of Kings", None, ("Lima", "City of Kings")),
        ("Lima<|answer_split|>City of Kings", None, ("Lima", "City of Kings")),
        ("Lima [SEP] City of Kings", None, ("Lima", "City of Kings")),
        (["Lima||City of Kings"], None, ("Lima", "City of Kings")),
        (["a|b", "c"], None, ("a|b", "c")),  # a list says itself where its items end
        ("|Psi|", None, ("|Psi|",)),
        ("Lima; City of Kings", None, ("Lima; City of Kings",)),  # a semicolon may be part of an answer ...
        ("Lima; City of Kings", ";", ("Lima", "City of Kings")),  # ... until someone says that it is none
        (["Lima; City of Kings"], ";", ("Lima", "City of Kings")),
        ("a|b", ";", ("a|b",)),
    ],
)
def test_joined_answers_are_split_where_that_is_certain(
    value: Any, separator: str | None, texts: tuple[str, ...]
) -> None:
    assert read_answers(value, separator=separator).texts == texts


def test_a_value_without_end_is_no_answer() -> None:
    value: Any = "deep"
    for _ in range(5000):
        value = [value]
    assert read_answers(value).texts == ()
    assert read_printed("[" * 100_000) is None


words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)


@given(st.lists(words, min_size=1, max_size=4))
def test_what_python_prints_is_read_back(texts: list[str]) -> None:
    assert read_printed(str(texts)) == texts
    assert read_printed(str(texts).replace(", ", " ")) == [text.replace(", ", " ") for text in texts]


leaves = st.none() | st.booleans() | st.floats() | st.text(max_size=9)
names = st.sampled_from(["text", "value", "aliases", "x"])
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(names, inner), max_leaves=9)


@given(values)
def test_any_value_gives_texts_or_a_value_error(value: Any) -> None:
    try:
        texts = read_answers(value).texts
    except ValueError:
        return
    assert all(isinstance(text, str) and text == text.strip() != "" for text in texts)
