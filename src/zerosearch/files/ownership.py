"""A lock file: `{"command", "host", "pid"}` of the one process that writes to a folder.

Where the file system can (`flock`), the lock ends with its process, also by a kill. Elsewhere it is stale once its
process is gone, which only the same host can tell.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from zerosearch.errors import FolderError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Lock:
    """A lock that is held: its file, and the handle that holds it."""

    file: Path
    handle: int


def hold(file: Path, path: Path, command: str) -> Lock:
    """Take the lock `file` of `path`. Raises `FolderError` where another process has it, `OSError` for the disk's."""
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            locked = _flock(handle)
            owner = _owner(handle)
            if locked is False:
                raise FolderError(f"{path}: {_named(owner)} is writing here; wait for its end, or name another folder")
            if not _still(file, handle):  # the one before removed it meanwhile
                os.close(handle)
                continue
            other_host = bool(owner) and owner.get("host") != this_host()
            if other_host or (locked is None and owner and _pid(owner) != os.getpid() and not gone(_pid(owner))):
                raise FolderError(
                    f"{path}: {_named(owner)} has not said that it is done here; name another folder or, if it is "
                    f"gone, remove {file}"
                )
            text = json.dumps({"command": command, "host": this_host(), "pid": os.getpid()}) + "\n"
            os.ftruncate(handle, 0)
            os.pwrite(handle, text.encode(), 0)
        except BaseException:
            with suppress(OSError):
                os.close(handle)
            raise
        return Lock(file, handle)


def let_go(lock: Lock) -> None:
    """Remove the file while it is still held, then let go of it."""
    with suppress(OSError):
        if _still(lock.file, lock.handle):
            lock.file.unlink()
    os.close(lock.handle)


def gone(pid: int) -> bool:
    """Whether no process of this host has the number `pid`."""
    if os.name == "nt" or pid <= 0:  # there os.kill is no question
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        return False
    return False


def this_host() -> str:
    return socket.gethostname() or "unknown"


def _flock(handle: int) -> bool | None:
    """True: taken; False: another has it; None: this file system has no such locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _still(file: Path, handle: int) -> bool:
    """Whether the file of that name is the one that is held."""
    try:
        return os.path.samestat(os.stat(file), os.fstat(handle))
    except OSError:
        return False


def _owner(handle: int) -> dict[str, object]:
    """Who wrote the lock; empty where it is new or was just taken."""
    try:
        owner = json.loads(os.pread(handle, 4096, 0))
    except (ValueError, RecursionError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _pid(owner: dict[str, object]) -> int:
    pid = owner.get("pid")
    return pid if isinstance(pid, int) else 0


def _named(owner: dict[str, object]) -> str:
    if not owner:
        return "another process"
    return f"zerosearch {owner.get('command')} (process {owner.get('pid')} on {owner.get('host')})"
