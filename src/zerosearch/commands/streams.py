"""Make standard input, output and error usable: closed, full, or in an encoding that lacks letters."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys


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
