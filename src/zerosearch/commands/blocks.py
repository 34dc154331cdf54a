"""An episode on a terminal: labelled blocks that grow while the policy writes, wrapped to the terminal's width."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from zerosearch.cleaning import plain

if TYPE_CHECKING:
    from zerosearch.episodes.search import SearchPage
    from zerosearch.episodes.streaming import Piece
    from zerosearch.errors import EngineError

_LABELS = {"think": "thinks", "search": "searches", "answer": "answers", "information": "writes", "text": "writes"}
_STYLES = {"think": "dim", "search": "cyan", "answer": "bold green", "information": "yellow", "text": "yellow"}
_INDENT = 10  # the longest label and two spaces
_NARROWEST = 20  # of a line of text: in a terminal narrower than this and the labels, lines run over
_WORDS = re.compile(r"\S+|\s+")


class Blocks:
    """A `Listener` that prints. Where the console is no terminal each block is one line, for other programs to read."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._room = max(console.width - _INDENT, _NARROWEST) if console.is_terminal else 10**9
        self._kind: str | None = None
        self._column = 0
        self._word = ""
        self._space = ""

    def wrote(self, piece: Piece) -> None:
        style = _STYLES[piece.kind]
        if piece.kind != self._kind:
            if piece.kind in ("text", "information") and not piece.text.strip():
                return  # the white space between two tags
            self.end()
            self._kind, self._column = piece.kind, 0
            self._print(_LABELS[piece.kind].ljust(_INDENT), f"{style} not dim bold")
        self._write(piece.text, style)

    def searching(self, query: str) -> None:
        self.end()

    def found(self, page: SearchPage) -> None:
        self._print("finds".ljust(_INDENT), "bold magenta")
        if not page.documents:
            self._print("nothing: the recording has no page for this query\n" if page.missed else "nothing\n", "dim")
        for rank, document in enumerate(page.documents, start=1):
            if rank > 1:
                self._print(" " * _INDENT)
            self._column = 0
            self._write(f"[{rank}] {document.title}: " if document.title else f"[{rank}] ", "magenta")
            self._write(document.text, "")
            self._finish_line("")

    def failed(self, error: EngineError) -> None:
        """The command says it, once the episode is over."""

    def end(self) -> None:
        """End the block that is open, if one is."""
        if self._kind is not None:
            self._finish_line(_STYLES[self._kind])
            self._kind = None

    def label(self, name: str, text: str, style: str = "") -> None:
        """A block of its own: `name` where the labels stand, at most eight letters of it."""
        self.end()
        self._print(name.ljust(_INDENT), "bold" if name else "")
        self._column = 0
        self._write(text, style)
        self._finish_line(style)

    def remark(self, text: str, style: str = "dim") -> None:
        """A line below the blocks, in line with their text."""
        self.label("", text, style)

    def _write(self, text: str, style: str) -> None:
        """Print the words of `text` that are whole; the last one waits for its end."""
        for part in _WORDS.findall(plain(text)):
            if part.isspace():
                self._put_word(style)
                self._space = " " if self._column else ""
            else:
                self._word += part

    def _put_word(self, style: str) -> None:
        word, self._word = self._word, ""
        if not word:
            return
        if self._column and self._column + len(self._space) + cell_len(word) > self._room:
            self._print("\n" + " " * _INDENT)
            self._column, self._space = 0, ""
        while cell_len(word) > self._room:
            head = next(n for n in range(len(word), 0, -1) if cell_len(word[:n]) <= self._room)
            self._print(word[:head] + "\n" + " " * _INDENT, style)
            word = word[head:]
        self._print(self._space + word, style)
        self._column += len(self._space) + cell_len(word)
        self._space = ""

    def _finish_line(self, style: str) -> None:
        self._put_word(style)
        self._print("\n")
        self._column, self._space = 0, ""

    def _print(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style=style), end="", soft_wrap=True)
