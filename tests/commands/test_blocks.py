"""The blocks of an episode on a terminal: labelled, wrapped to its width, plain without one."""

from __future__ import annotations

import io
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from zerosearch.commands.blocks import Blocks
from zerosearch.episodes.search import Document, SearchPage
from zerosearch.episodes.streaming import Piece, PieceKind

PAGE = SearchPage((Document("Nepal", "Kathmandu is the capital of Nepal."), Document("", "A second one.")), "library")


def shown(pieces: list[Piece], *, width: int = 40, terminal: bool = True, color: bool = False) -> str:
    out = io.StringIO()
    console = Console(
        file=out,
        width=width,
        force_terminal=terminal,
        no_color=not color,
        highlight=False,
        color_system="standard" if terminal else None,
    )
    blocks = Blocks(console)
    for piece in pieces:
        blocks.wrote(piece)
    blocks.searching("capital of Nepal")
    blocks.found(PAGE)
    blocks.remark("1 search, 3 tokens")
    return out.getvalue()


PIECES = [
    Piece("think", " I do not kn"),
    Piece("think", "ow this. I will look it up, of course. "),
    Piece("text", "\n"),
    Piece("search", " capital of Nepal "),
]


def test_without_a_terminal_each_block_is_one_plain_line() -> None:
    assert shown(PIECES, terminal=False).splitlines() == [
        "thinks    I do not know this. I will look it up, of course.",
        "searches  capital of Nepal",
        "finds     [1] Nepal: Kathmandu is the capital of Nepal.",
        "          [2] A second one.",
        "          1 search, 3 tokens",
    ]


def test_a_query_that_a_recording_does_not_hold_is_not_told_as_an_empty_page() -> None:
    out = io.StringIO()
    Blocks(Console(file=out, width=80)).found(SearchPage((), "recorded:library", missed=True))
    assert out.getvalue() == "finds     nothing: the recording has no page for this query\n"


def test_a_terminal_gets_lines_of_its_width_and_colours_unless_it_wants_none() -> None:
    out = shown(PIECES)
    assert "\x1b[3" not in out  # bold and dim are no colours
    colored = shown(PIECES, color=True)
    assert "\x1b[36m" in colored
    assert "<think>" not in colored
    lines = out.replace("\x1b[0m", "").replace("\x1b[2m", "").replace("\x1b[1m", "").splitlines()
    assert lines[:2] == ["thinks    I do not know this. I will", "          look it up, of course."]
    assert max(map(len, lines)) <= 40


def test_a_page_cannot_command_the_terminal() -> None:
    out = io.StringIO()
    page = SearchPage((Document("T\x1b[2Jx", "a\x07b\x9b31m [bold]c[/bold]"),), "web")
    Blocks(Console(file=out, force_terminal=False, width=80)).found(page)
    assert out.getvalue() == "finds     [1] Tx: ab [bold]c[/bold]\n"


kinds: list[PieceKind] = ["think", "search", "answer"]
words = st.text("ab \n日é", max_size=60)


@given(st.sampled_from(kinds), words, st.lists(st.integers(0, 60), max_size=4), st.integers(31, 60))
def test_however_the_text_comes_the_lines_are_the_same_and_fit(
    kind: PieceKind, text: str, cuts: list[int], width: int
) -> None:
    edges = [0, *sorted(c for c in cuts if c <= len(text)), len(text)]
    pieces = [Piece(kind, text[a:b]) for a, b in pairwise(edges) if a < b]
    out = shown(pieces, width=width)
    assert out == shown([Piece(kind, text)] if text else [], width=width)
    bare = out
    for code in ("\x1b[0m", "\x1b[1m", "\x1b[2m"):
        bare = bare.replace(code, "")
    assert all(cell_len(line) <= width for line in bare.splitlines())
    body = bare.split("finds")[0].partition(" ")[2]
    assert "".join(body.split()) == "".join(text.split())


@pytest.mark.parametrize("kind", ["text", "information"])
def test_what_a_policy_writes_outside_of_its_tags_is_shown_too(kind: PieceKind) -> None:
    assert shown([Piece(kind, "no tag")], terminal=False).startswith("writes    no tag\n")


def test_wide_characters_count_twice() -> None:
    lines = shown([Piece("think", "a" * 24 + " 日本語")]).replace("\x1b[0m", "").splitlines()
    assert lines[1].strip("\x1b[2m ") == "日本語"  # 24 + 1 + 6 columns are one more than the line has
