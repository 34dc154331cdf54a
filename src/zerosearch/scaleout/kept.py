"""Run a command for as long as the process that wants it lives: `python -m zerosearch.scaleout.kept COMMAND ...`.

Standard input is a pipe from that process, which writes nothing into it. When the pipe ends, because it was closed or
because the process was killed, the command and everything that it has started are ended. Standard output gets two
lines: the command's process id, and when it has ended its status. What the command prints goes to standard error.

This process is nobody's child: Ray kills the children of a worker that ends, and they could end nothing any more.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

_PATIENCE = 10.0  # seconds from the request to end to the end by force


def main(command: list[str]) -> None:
    if os.fork():
        os._exit(0)
    os.setsid()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True)
    print(process.pid, flush=True)
    threading.Thread(target=_end_with_the_pipe, args=(process,), daemon=True).start()
    status = process.wait()
    _signal(process, signal.SIGKILL)  # what it started and left behind
    with contextlib.suppress(OSError):  # nobody listens any more
        print(status, flush=True)


def _end_with_the_pipe(process: subprocess.Popen[bytes]) -> None:
    os.read(0, 1)  # not sys.stdin, whose lock would be held while the interpreter ends
    _signal(process, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_PATIENCE)
    _signal(process, signal.SIGKILL)


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """To the command and all of its group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


if __name__ == "__main__":
    main(sys.argv[1:])
