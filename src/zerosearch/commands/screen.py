"""What is shown: consoles that foreign text cannot command, and streams that no letter can break.

Every command prints through a `Console` of this module. Titles, questions, pages and queries are other people's text:
control and escape characters are taken out of it, colours come from styles only.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import logging
import os
import re
import sys
from collections.abc import Iterable
from typing import Any

import rich.console
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from zerosearch.cleaning import plain

_FILE_COLUMNS = 400


class Console(rich.console.Console):
    """A rich console that prints words as they are: no colours for numbers, no `:train:` as a picture.

    Text is wrapped at spaces in a terminal, whatever its width, and not at all elsewhere: a line in a file is a line.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, emoji=False)

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
        super().print(*objects, **options)

    def render(
        self, renderable: rich.console.RenderableType, options: rich.console.ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control else Segment(plain(text), style)


console = Console()
"""Standard output, of every command."""


def table(title: str | Text, first: str, *columns: str) -> Table:
    """A table whose `first` column has words, to the left, and whose other columns have numbers, to the right."""
    made = Table(title=title)
    made.add_column(first)
    for column in columns:
        made.add_column(column, justify="right")
    return made


class LogLines(logging.Handler):
    """Log records as lines on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        style = "yellow" if record.levelno >= logging.WARNING else ""
        with contextlib.suppress(OSError, ValueError):  # standard error is full or closed
            Console(stderr=True).print(Text(self.format(record), style=style))


class OutputError(Exception):
    """Standard output cannot be written to. `gone`: nobody reads it any more.

    No `OSError`, as code that writes files expects those of files only.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror or str(error))
        self.gone = error.errno == errno.EPIPE


class _Output(io.TextIOWrapper):
    """Standard output whose faults can be told from those of files."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            raise OutputError(error) from None

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise OutputError(error) from None


def prepare_streams() -> None:
    """Make standard input, output and error usable whatever they are: closed, or of an encoding that lacks letters.

    A closed stream is the null device, so that no file gets its number. A letter that the encoding lacks becomes `?`.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is not None:
            continue
        null = os.open(os.devnull, os.O_RDWR)
        if null != number:  # the lowest free number is given, so that this is rare
            os.dup2(null, number)
        setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    if type(sys.stdout) is io.TextIOWrapper and sys.stdout is sys.__stdout__:  # which keeps the buffer open
        buffered, encoding = sys.stdout.line_buffering, sys.stdout.encoding
        sys.stdout = _Output(sys.stdout.buffer, encoding=encoding, errors="replace", line_buffering=buffered)
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")


def flush_output() -> None:
    """Write out what was printed. Raises `OutputError`; after one, whatever else is printed goes nowhere."""
    try:
        sys.stdout.flush()
    except OutputError:
        discard_output()
        raise


def discard_output() -> None:
    """Standard output cannot be written to: let the rest go nowhere, and the end of the process be a quiet one."""
    with contextlib.suppress(OSError, ValueError, OutputError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
        sys.stdout.flush()


def json_text(value: Any, *, indent: int | None = None) -> str:
    """`value` as JSON for standard output, whose encoding decides whether letters can be written as they are."""
    plain = not (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")
    text = json.dumps(value, ensure_ascii=plain, indent=indent)
    return re.sub(r"[\x7f-\x9f]", lambda found: f"\\u{ord(found[0]):04x}", text)  # some are commands to a terminal


def read_input() -> str:
    """Standard input as text: UTF-8 with or without a mark, UTF-16 with one, or what the terminal is said to use.

    Raises `DataError`, naming the line, for anything else.
    """
    from zerosearch.errors import DataError

    raw = getattr(sys.stdin, "buffer", None)
    if raw is None:
        return sys.stdin.read().removeprefix("\ufeff")
    data: bytes = raw.read()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        with contextlib.suppress(UnicodeDecodeError):
            return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        with contextlib.suppress(UnicodeDecodeError, LookupError):
            if not (sys.stdin.encoding or "utf-8").lower().startswith("utf"):
                return data.decode(sys.stdin.encoding)
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"standard input, line {line}: is not UTF-8 (byte 0x{data[error.start]:02x}); convert it first, "
            "for example with iconv -f latin1 -t utf-8"
        ) from None
