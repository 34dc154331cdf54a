"""Consoles that text from elsewhere cannot control, and input and output in any encoding.

Every command prints through a `Console` of this module. Titles, questions, pages and queries are other people's text:
control and escape characters are taken out of it, colours come from styles only.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import rich.console
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from zerosearch.cleaning import plain
from zerosearch.errors import DataError
from zerosearch.files.formats import encoding_of

_FILE_COLUMNS = 400


class Console(rich.console.Console):
    """A rich console that prints words as they are: no `[bold]` as a style, no `:train:` as a picture, no
    colours for numbers.

    Text is not wrapped: a line in a file is a line, and a command or a path that a terminal breaks is copied whole. In
    a table a word that is longer than its column is broken; nothing is cut off.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, highlight=False, emoji=False)
        self._guided = False

    @property
    def size(self) -> rich.console.ConsoleDimensions:
        """Of tables: the terminal's width, or COLUMNS; a file has room for all of one."""
        size = super().size
        return size if self.is_terminal or "COLUMNS" in os.environ else size._replace(width=_FILE_COLUMNS)

    @size.setter
    def size(self, size: tuple[int, int]) -> None:
        self._width, self._height = size

    def print(self, *objects: Any, **options: Any) -> None:
        if all(isinstance(o, (str, Text)) for o in objects) and options.get("soft_wrap") is None:
            if self.is_terminal:
                options = {"overflow": "ignore", "crop": False} | options  # a path longer than a line stays whole
            else:
                options["soft_wrap"] = True
        for shown in objects:
            for column in shown.columns if isinstance(shown, Table) else ():
                column.overflow = "fold"
        super().print(*objects, **options)

    def next(self, command: str) -> None:
        """Say what to type next; nothing within `guiding`."""
        if not self._guided:
            self.print(f"next: {command}")

    @contextlib.contextmanager
    def guiding(self) -> Iterator[None]:
        """Within this block commands are the stages of another one, which knows itself what comes next."""
        self._guided = True
        try:
            yield
        finally:
            self._guided = False

    def render(
        self, renderable: rich.console.RenderableType, options: rich.console.ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control else Segment(plain(text), style)


console = Console()
"""Standard output, of every command."""


def typed(command: str, *words: object) -> str:
    """A command as it is typed: a name with a blank stands in quotes."""
    return shlex.join(["zerosearch", command, *map(str, words)])


def table(title: str | Text, first: str, *columns: str) -> Table:
    """A table whose `first` column has words, to the left, and whose other columns have numbers, to the right."""
    made = Table(title=title, title_justify="left")
    made.add_column(first)
    for column in columns:
        made.add_column(column, justify="right")
    return made


def heading(what: str, how: str) -> Text:
    """A table's title: one line where the screen has room for it, also beside a narrower table, else a line each."""
    whole = Text(f"{what}, {how}", style="table.title", no_wrap=True, overflow="ignore")
    return whole if whole.cell_len <= console.width else Text(f"{what},\n{how}", style="table.title")


class LogLines(logging.Handler):
    """Log records as lines on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        style = "yellow" if record.levelno >= logging.WARNING else ""
        with contextlib.suppress(OSError, ValueError):  # standard error is full or closed
            Console(stderr=True).print(Text(self.format(record), style=style))


def json_text(value: Any, *, indent: int | None = None) -> str:
    """`value` as JSON for standard output, whose encoding decides whether letters can be written as they are."""
    plain = not (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")
    text = json.dumps(value, ensure_ascii=plain, indent=indent)
    return re.sub(r"[\x7f-\x9f]", lambda found: f"\\u{ord(found[0]):04x}", text)  # some are commands to a terminal


def read_input() -> str:
    """Standard input as text: UTF-8 with or without a mark, UTF-16 with one, or what the terminal is said to use.

    Raises `DataError`, naming the line, for anything else.
    """
    raw = getattr(sys.stdin, "buffer", None)
    if raw is None:
        return sys.stdin.read().removeprefix("\ufeff")
    data: bytes = raw.read()
    try:
        return data.decode(encoding_of(data[:4]))
    except UnicodeDecodeError as error:
        with contextlib.suppress(UnicodeDecodeError, LookupError):
            if not (sys.stdin.encoding or "utf-8").lower().startswith("utf"):
                return data.decode(sys.stdin.encoding)
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"standard input, line {line}: is not UTF-8 (byte 0x{data[error.start]:02x}); convert it first, "
            "for example with iconv -f latin1 -t utf-8"
        ) from None
