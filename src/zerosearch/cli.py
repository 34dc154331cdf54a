"""The command line: `zerosearch COMMAND`. Every command ends here, with one line and an exit status.

0: done. 1: something outside failed (a missing package, standard output). 2: a wrong setting, file or argument. 3: the
work had to stop (a full disk, failed searches). 128 + N: ended by signal N (130: Ctrl-C, 141: the output was closed).
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import warnings

from zerosearch.cleaning import Screen
from zerosearch.commands.listing import KEEPING, SUMMARIES, front_page, unknown
from zerosearch.process import interrupts


def main() -> None:
    """Run a command. A traceback is shown only for a fault of this package, with a word that it is one."""
    promise = KEEPING.get(next((word for word in sys.argv[1:] if not word.startswith("-")), ""), "")
    with interrupts.listening(promise):
        status = _run(promise)
        if (number := interrupts.received()) is not None:
            with contextlib.suppress(OSError):
                print(interrupts.ended(number), file=sys.stderr, flush=True)
            interrupts.leave()  # everything is closed; a batch that is still being decoded is not waited for
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    sys.exit(status)


def _run(promise: str) -> int:
    try:
        prepare_streams()
    except BaseException as error:
        return _failed(error, promise)
    out, err = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = Screen(out), Screen(err)  # whatever is printed, typer's own errors too, shows no secret
    try:
        status = _command()
        flush_output()
        return status
    except BaseException as error:
        return _failed(error, promise)
    finally:
        sys.stdout, sys.stderr = out, err


def _command() -> int:
    words = sys.argv[1:]
    if words in ([], ["-h"], ["--help"]) and "_ZEROSEARCH_COMPLETE" not in os.environ:
        print(front_page(), end="")
        return 0
    if words and not words[0].startswith("-") and words[0] not in SUMMARIES:
        return _error(unknown(words[0]), 2)
    import logging

    from zerosearch.commands.app import app
    from zerosearch.commands.screen import LogLines

    log = logging.getLogger("zerosearch")
    if not any(isinstance(handler, LogLines) for handler in log.handlers):  # a program may call main again
        log.addHandler(LogLines())
    log.setLevel(logging.INFO)
    status = app(standalone_mode=False, prog_name="zerosearch")
    return status if isinstance(status, int) else 0


def _failed(error: BaseException, promise: str) -> int:
    """Say what went wrong, and with what status the command ends."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if interrupts.received() is not None:
        return 1
    from zerosearch.errors import ZeroSearchError
    from zerosearch.process.foreign_errors import as_line

    if not isinstance(error, OutputError):
        try:
            flush_output()
        except OutputError as fault:
            error = fault
    if isinstance(error, OutputError):
        discard_output()
        kept = f"; {promise}" if promise else ""
        if not error.gone:
            return _error(f"standard output: {error}{kept}", 1)
        return _error(f"the output was closed{kept}", 141) if promise else 141
    if isinstance(error, ZeroSearchError):
        return _error(str(error), error.exit_code)
    if hasattr(error, "format_message"):  # typer's, of an argument that it does not accept
        command = next((f" {word}" for word in sys.argv[1:2] if word in SUMMARIES), "")
        return _error(f"{error.format_message()} (see zerosearch{command} --help)", 2)
    if (line := as_line(error)) is not None:
        if getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE):
            # no words of the interpreter's own about what is half made, such as an event loop that got no file handle
            sys.unraisablehook = lambda unraisable: None
            warnings.simplefilter("ignore")
        return _error(line, 1)
    if isinstance(error, (KeyboardInterrupt, EOFError)):
        return _error("interrupted", 130)
    import traceback

    _error("this is a fault of zerosearch, please report it with the lines below", 1)
    with contextlib.suppress(OSError):
        traceback.print_exception(error)
    return 1


def _error(text: str, status: int) -> int:
    from rich.text import Text

    from zerosearch.cleaning import clean
    from zerosearch.commands.screen import Console

    with contextlib.suppress(OSError, ValueError):  # standard error is full or closed
        Console(stderr=True).print(Text(f"error: {clean(text)}", style="red"), soft_wrap=True)
    return status


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
