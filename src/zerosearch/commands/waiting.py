"""A sign of life on a terminal: for how long a command has been at work since its last line."""

from __future__ import annotations

import threading
import time
from typing import Any

from zerosearch.commands.screen import Console

QUIET_SECONDS = 5.0


class Waiting:
    """Within this block a terminal shows `... 1:23`, the time since the last line that `say` printed.

    The cursor stays at the beginning of that text: whatever else prints a line writes over it. A file gets nothing.
    """

    def __init__(self, console: Console, quiet: float = QUIET_SECONDS) -> None:
        self._console, self._quiet = console, quiet
        self._since, self._writing = time.monotonic(), threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tick, name="waiting", daemon=True)

    def __enter__(self) -> Waiting:
        if self._console.is_terminal and not self._console.is_dumb_terminal and not self._console.quiet:
            self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
            self._write("")

    def say(self, *objects: Any, **options: Any) -> None:
        """`console.print`; the time begins anew."""
        with self._writing:
            self._since = time.monotonic()
            self._write("")
            self._console.print(*objects, **options)

    def _tick(self) -> None:
        while not self._ended.wait(min(1.0, self._quiet)):
            with self._writing:
                seconds = time.monotonic() - self._since
                if seconds >= self._quiet:
                    self._write(f"... {clock(seconds)}")

    def _write(self, text: str) -> None:
        if self._thread.ident is not None:
            self._console.file.write(f"\r\x1b[2K{text}\r")
            self._console.file.flush()


def clock(seconds: float) -> str:
    """Minutes and seconds, or hours and minutes: 0:07, 12:30, 1:05:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
