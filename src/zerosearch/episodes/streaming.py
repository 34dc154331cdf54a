"""From sampled ids to pieces of an episode that can be shown while it is written: whole characters, no raw tags."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from zerosearch.episodes.protocol import TAGS

PieceKind = Literal["think", "search", "information", "answer", "text"]

_TAG = re.compile(r"<(?P<close>/?)(?P<name>" + "|".join(TAGS) + r")>")
_LONGEST = max(len(f"</{tag}>") for tag in TAGS)
_NAMES: dict[str, PieceKind] = {"think": "think", "search": "search", "information": "information", "answer": "answer"}


@dataclass(frozen=True)
class Piece:
    """Some text of a block: what stands inside of a tag, or (`text`) outside of all."""

    kind: PieceKind
    text: str


class TagStream:
    """Splits a text that comes bit by bit into `Piece`s. However it is cut, the pieces of a block are the same text.

    A tag decides what follows: an opening one begins its block, wherever it stands, and a closing one ends whatever
    block is open. What could still become a tag is held back until it is one or cannot be.
    """

    def __init__(self) -> None:
        self._kind: PieceKind = "text"
        self._held = ""

    def feed(self, text: str) -> list[Piece]:
        """The pieces that `text` completes; none is empty."""
        self._held += text
        return list(self._take(self._safe()))

    def finish(self) -> list[Piece]:
        """What was held back; the next text begins outside of all tags."""
        pieces = list(self._take(len(self._held)))
        self._kind = "text"
        return pieces

    def _safe(self) -> int:
        """How much of what is held cannot be the beginning of a tag that is not whole yet."""
        start = self._held.rfind("<", max(0, len(self._held) - _LONGEST + 1))
        if start < 0 or _TAG.match(self._held, start):
            return len(self._held)
        tail = self._held[start:]
        whole = (f"<{slash}{tag}>" for tag in TAGS for slash in ("", "/"))
        return start if any(tag.startswith(tail) for tag in whole) else len(self._held)

    def _take(self, end: int) -> Iterator[Piece]:
        done, self._held = self._held[:end], self._held[end:]
        at = 0
        for tag in _TAG.finditer(done):
            if tag.start() > at:
                yield Piece(self._kind, done[at : tag.start()])
            self._kind = "text" if tag["close"] else _NAMES[tag["name"]]
            at = tag.end()
        if at < len(done):
            yield Piece(self._kind, done[at:])


class TextStream:
    """Decodes ids that come one by one. A character of several tokens is held back until it is whole.

    `skip` are the texts of control tokens (end of text, ...): they are no part of what is shown.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], skip: Sequence[str] = ()) -> None:
        self._decode = decode
        self._skip = tuple(skip)
        self._ids: list[int] = []
        self._shown = 0

    def feed(self, token: int) -> str:
        """The text that `token` completes, which may be none."""
        self._ids.append(token)
        text = self._decode(self._ids)
        return self._rest(text.rstrip("\ufffd"))

    def finish(self) -> str:
        """What was held back; the next token begins a new text."""
        rest = self._rest(self._decode(self._ids))
        self._ids, self._shown = [], 0
        return rest

    def _rest(self, text: str) -> str:
        piece = text[self._shown :]
        self._shown = max(self._shown, len(text))
        for control in self._skip:
            piece = piece.replace(control, "")
        return piece
