"""Signals that end a command: answered at once, obeyed at the next safe point; a second one ends it immediately.

SIGINT (Ctrl-C), SIGTERM and SIGHUP are treated alike. While an event loop runs its tasks are cancelled, so that a step
which is being written is written whole; elsewhere KeyboardInterrupt is raised, and within an import, where there is
nothing to keep, the process ends. What has reached the disk by then is kept: a resumed command goes on from there.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
GRACE_SECONDS = 10.0  # how long a SIGTERM or SIGHUP waits for a safe point: nobody is there to send a second one
_SAME_SECONDS = 0.3  # a terminal and a launcher both pass a Ctrl-C on: that is one, not two


class _State:
    first: int | None = None  # the signal that stops this command
    at = 0.0
    asking = False  # Ctrl-C gives up what is being asked, not the command
    promise = ""


def received() -> int | None:
    """The signal that is ending this command, or None."""
    return _State.first


@contextlib.contextmanager
def listening(promise: str) -> Iterator[None]:
    """Answer signals until the block ends. `promise` says what is kept; empty for a command that writes nothing.

    A signal that is ignored (nohup, a job in the background) stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _State.first, _State.asking, _State.promise = None, False, promise
    before = {}
    for number in SIGNALS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            before[number] = signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def giving_up() -> Iterator[None]:
    """In this block Ctrl-C ends what goes on (KeyboardInterrupt, or CancelledError from a loop), not the command."""
    _State.asking = True
    try:
        yield
    finally:
        _State.asking = False


def _stop(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGINT and _State.asking:
        _interrupt()
        return
    now = time.monotonic()
    if _State.first is not None:
        if now - _State.at > _SAME_SECONDS:
            _tell("stopped without waiting")
            leave()
        return
    _State.first, _State.at = number, now
    if _importing(frame):
        _tell(ended(number))
        leave()
    kept = f" ({_State.promise})" if _State.promise else ""
    if number == signal.SIGINT:
        _tell(f"stopping after this batch{kept}; press Ctrl-C again to quit now")
    else:
        _tell(f"stopping at {signal.Signals(number).name}{kept}")
        timer = threading.Timer(GRACE_SECONDS, leave)
        timer.daemon = True
        timer.start()
    _interrupt()


def ended(number: int) -> str:
    """The last line of a command that a signal ended."""
    return "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"


def leave() -> None:
    """End the process now, with the status of the signal: what is unfinished stays as a kill would leave it."""
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    os._exit(128 + (_State.first or signal.SIGINT))


def _interrupt() -> None:
    asyncio = sys.modules.get("asyncio")
    loop = asyncio._get_running_loop() if asyncio is not None else None
    if loop is None:
        raise KeyboardInterrupt
    for task in asyncio.all_tasks(loop):  # type: ignore[union-attr]
        task.cancel()
    loop.call_soon_threadsafe(lambda: None)  # the loop may be asleep


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _tell(text: str) -> None:
    """A line on standard error, past all buffers: the signal may have come in the middle of a print."""
    with contextlib.suppress(OSError):
        os.write(2, f"{chr(10) if os.isatty(2) else ''}{text}\n".encode())
