"""Showing an episode while it is written: the same blocks however the text is cut, and never a raw tag."""

from __future__ import annotations

from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from zerosearch.episodes.episode import Codec
from zerosearch.episodes.protocol import TAGS
from zerosearch.episodes.streaming import Piece, TagStream, TextStream

EPISODE = "<think> Which? </think>\n<search>a < b</search>"
TAG = [f"<{slash}{tag}>" for tag in TAGS for slash in ("", "/")]
soup = st.lists(st.sampled_from([*TAG, "<", "</", ">", "<th", "ink>", "word", " ", "\n", "é", "<b>"])).map("".join)


def blocks(pieces: list[Piece]) -> list[tuple[str, str]]:
    return [(kind, "".join(p.text for p in group)) for kind, group in groupby(pieces, key=lambda p: p.kind)]


def split(text: str, cuts: list[int]) -> list[Piece]:
    stream, pieces, at = TagStream(), [], 0
    for cut in [*sorted(c % (len(text) + 1) for c in cuts), len(text)]:
        pieces += stream.feed(text[at:cut])
        at = cut
    return pieces + stream.finish()


def test_a_turn_is_split_into_its_blocks() -> None:
    expected = [("think", " Which? "), ("text", "\n"), ("search", "a < b")]
    assert blocks(split(EPISODE, list(range(len(EPISODE))))) == expected


def test_text_is_shown_as_soon_as_it_cannot_become_a_tag() -> None:
    stream = TagStream()
    assert stream.feed("<think>a <") == [Piece("think", "a ")]  # may become </think>
    assert stream.feed(" b") == [Piece("think", "< b")]
    assert stream.feed("</thin") == []
    assert stream.feed("k><answer>x") == [Piece("answer", "x")]
    assert stream.finish() == []
    assert stream.feed("x") == [Piece("text", "x")]  # the next turn begins outside


@given(soup, st.lists(st.integers(0, 10_000), max_size=8))
def test_however_it_is_cut_the_blocks_are_the_same_and_hold_no_tag(text: str, cuts: list[int]) -> None:
    whole = split(text, [])
    assert blocks(split(text, cuts)) == blocks(whole)
    assert all(piece.text for piece in whole)
    assert not any(tag in piece.text for piece in whole for tag in TAG)
    plain = text
    for tag in TAG:
        plain = plain.replace(tag, "\0")
    assert "".join(piece.text for piece in whole) == plain.replace("\0", "")


@given(st.text(max_size=30))
def test_ids_give_whole_characters_and_no_control_token(byte_codec: Codec, text: str) -> None:
    ids = [*byte_codec.encode(text.encode("utf-8", "replace").decode()), 256]
    stream = TextStream(byte_codec.decode, byte_codec.special_tokens)
    pieces = [stream.feed(i) for i in ids]
    shown = "".join(pieces) + stream.finish()
    assert shown == byte_codec.decode(ids[:-1])
    assert "\ufffd" in text or not any("\ufffd" in piece for piece in pieces)
    assert stream.feed(ord("x")) == "x"  # another text


def test_half_a_character_waits_for_the_rest_and_is_shown_at_the_end(byte_codec: Codec) -> None:
    stream = TextStream(byte_codec.decode)
    first, second = "é".encode()
    assert [stream.feed(ord("a")), stream.feed(first), stream.feed(second)] == ["a", "", "é"]
    assert stream.feed(first) == ""
    assert stream.finish() == "\ufffd"
