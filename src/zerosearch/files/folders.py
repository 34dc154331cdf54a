"""Folders and files that a command writes: one process owns one, nothing foreign is overwritten, and a replacement
stands whole before the old one goes.

    with owned(out, "tune"):                       # a second process is refused
        check_folder(out, ADAPTER_FILES)           # what `tune` did not make is never replaced
        with replacing(out, ADAPTER_FILES) as work:
            ...                                    # write into `work`; it takes the place of `out` when the block ends
"""

from __future__ import annotations

import errno
import glob
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path

from zerosearch.errors import FolderError, RunError
from zerosearch.files.ownership import gone, hold, let_go, this_host

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors", "card.json")
MODEL_FILES = (
    "config.json", "generation_config.json", "model.safetensors", "model-*-of-*.safetensors",
    "model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json",
    "vocab.txt", "merges.txt", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "card.json",
)  # fmt: skip
_PARTIAL = re.compile(r"\..+\.partial-\d+")


@contextmanager
def owned(path: Path, command: str) -> Iterator[None]:
    """Be the only process that writes to the folder or file `path`; what a killed one left half written is removed.

    The lock is `.NAME.lock` beside it, and names command, host and process. It ends with the process, however that
    ends. Raises `FolderError` where another process holds it, `RunError` where nothing can be written there.
    """
    place = Path(os.path.realpath(path))
    made: list[Path] = []
    held = None
    try:
        try:
            made = [folder for folder in place.parents if not folder.exists()]  # the innermost first
            place.parent.mkdir(parents=True, exist_ok=True)
            held = hold(_lock_file(place), path, command)
        except OSError as error:
            raise RunError(f"{path}: could not be written ({error.strerror or error})") from None
        sweep(place)
        yield
    finally:
        if held is not None:
            let_go(held)
        for folder in made:
            with suppress(OSError):
                folder.rmdir()  # only while it is empty


def _lock_file(place: Path) -> Path:
    """Beside a folder, as a replacement would take a lock inside away with it; inside where beside is another disk."""
    beside = bool(place.name) and not os.path.ismount(place) and os.access(place.parent, os.W_OK)
    return place.with_name(f".{place.name}.lock") if beside or not place.is_dir() else place / ".lock"


def sweep(place: Path) -> None:
    """Remove what processes that are gone left half written: `.NAME.partial-PID` beside `place` (and of `NAME.more`, a
    companion such as `NAME.unfinished`), in it and one below."""
    found = [*place.parent.glob(f".{glob.escape(place.name)}.*partial-*")]
    if place.is_dir():
        found += [*place.glob(".*.partial-*"), *place.glob("*/.*.partial-*")]
    for path in found:
        pid = path.name.rpartition("-")[2]
        if _PARTIAL.fullmatch(path.name) and (int(pid) == os.getpid() or gone(int(pid))):
            _remove(path)


def check_folder(folder: Path, files: Sequence[str], option: str = "--out") -> None:
    """Raises `FolderError` unless `folder` is missing, empty, or holds nothing but `files` (names with `*`)."""
    where = f"{option} {folder}"
    place = Path(os.path.realpath(folder))
    with suppress(OSError):
        here = Path.cwd()
        if place == here or place in here.parents:
            raise FolderError(f"{where}: holds the folder you are in and cannot be replaced; name a folder in it")
    if folder.is_symlink():
        raise FolderError(f"{where}: is a symbolic link; name the folder itself, or another one")
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise FolderError(f"{where}: is a file; name a folder that is not there yet")
    if os.path.ismount(folder):
        raise FolderError(f"{where}: is a mounted disk and cannot be replaced; name a folder in it")
    if found := strangers(folder, files):
        raise FolderError(f"{where}: holds {listed(found)}, which this command did not make; name another folder")


def check_no_file(folder: Path, option: str = "--out") -> None:
    """Raises `FolderError` where `folder`, which is to hold files, is a file itself."""
    if os.path.lexists(folder) and not folder.is_dir():
        raise FolderError(f"{option} {folder}: is a file; name a folder")


def check_file(path: Path, ours: Callable[[Path], bool], option: str = "--out") -> None:
    """Raises `FolderError` where `path` is there, is not empty, and is not `ours`: it would be overwritten."""
    if path.is_dir():
        raise FolderError(f"{option} {path}: is a folder; name a file")
    if path.exists() and (not path.is_file() or (path.stat().st_size and not ours(path))):
        raise FolderError(f"{option} {path}: was not made by this command and would be overwritten; name another one")


def strangers(folder: Path, files: Sequence[str]) -> list[str]:
    """The names in `folder` that are none of `files`, sorted; of folders too."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise FolderError(f"{folder}: cannot be read ({error.strerror or error})") from None
    return [
        path.name
        for path in entries
        if path.is_dir() or path.is_symlink() or not any(fnmatchcase(path.name, pattern) for pattern in files)
    ]


def listed(names: Sequence[str], most: int = 3) -> str:
    """`a, b, c and 4 more`."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


@contextmanager
def replacing(folder: Path, files: Sequence[str]) -> Iterator[Path]:
    """A new folder to write into, which takes the place of `folder` when the block ends well.

    It is written whole and flushed to disk beside `folder`; the older one is only renamed until then, and removed last.
    A kill at any moment leaves one of them whole, under its name or where `restore` finds it. Files get the mode that
    the umask gives. Raises `FolderError` where `folder` holds something else than `files`, `RunError` on a full disk.
    """
    check_folder(folder, files, "folder")
    restore(folder)
    work = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    try:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        yield work
        settle(work)
        _swap(work, folder, files)
    except Exception as error:
        reason = unwritten(error)
        if reason is None:
            raise
        kept = "; what was there before is kept" if folder.exists() else ""
        raise RunError(f"{folder}: could not be written ({reason}){kept}") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def restore(folder: Path) -> None:
    """Give a folder its name back that a kill left renamed, its replacement not yet in its place."""
    before = _before(folder)
    if before.is_dir() and not folder.exists():
        with suppress(OSError):
            before.rename(folder)


def settle(folder: Path) -> None:
    """Flush a folder to disk, its files with the mode that the umask gives (safetensors makes them 0600)."""
    mode = folder.stat().st_mode & 0o666
    for path in [*folder.rglob("*"), folder]:
        if path.is_file():
            path.chmod(mode)
        flush(path)


def flush(path: Path) -> None:
    """Wait until a file or a folder's list of names is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _before(folder: Path) -> Path:
    place = Path(os.path.abspath(folder))  # `.` has no name
    return place.with_name(f".{place.name}.before")


def _swap(work: Path, folder: Path, files: Sequence[str]) -> None:
    before = _before(folder)
    for _ in range(5):
        if folder.exists():
            if strangers(folder, files):  # put there since it was looked at
                folder.rename(aside(folder))
            else:
                _remove(before)
                folder.rename(before)
        try:
            work.rename(folder)
            break
        except OSError as error:
            restore(folder)
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # else a reader was quicker to restore the old one
                raise
    else:
        raise RunError(f"{folder}: could not be replaced; does another process write there?")
    _remove(before)


def aside(folder: Path) -> Path:
    """`NAME.old-N` with the first N that is not taken."""
    number = 1
    while (name := folder.with_name(f"{folder.name}.old-{number}")).exists():
        number += 1
    return name


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def unwritten(error: Exception) -> str | None:
    """Why a file could not be written, if that is what `error` says, or the error behind it.

    torch has errors of its own for a full disk. Where it writes to a file that Python opened, the true one stands
    behind them. safetensors puts it into its text.
    """
    behind: BaseException | None = error
    while behind is not None:
        if isinstance(behind, OSError):
            return behind.strerror or str(behind) or type(behind).__name__
        if type(behind).__name__ == "SafetensorError":
            return re.sub(r"^.*I/O error: | \(os error \d+\).*$", "", str(behind), flags=re.S) or "SafetensorError"
        behind = behind.__cause__ or behind.__context__
    return None


@contextmanager
def scratch(parent: Path, name: str) -> Iterator[Path]:
    """A hidden folder below `parent`, removed afterwards; those of processes that were killed are removed first.

    Its name tells host and process, so that another machine's work on a shared disk is left alone. `parent` is a folder
    of the cache, which holds nothing of the user's. Raises `OSError`.
    """
    parent.mkdir(parents=True, exist_ok=True)
    host = this_host()
    for old in parent.glob(".*"):
        pid = old.name.rpartition("-")[2]
        if f".{host}." in old.name and _PARTIAL.fullmatch(old.name) and gone(int(pid)):
            _remove(old)
    work = parent / f".{name}.{host}.{uuid.uuid4().hex[:8]}.partial-{os.getpid()}"
    work.mkdir()
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def built_once(folder: Path, whole: Callable[[], bool]) -> Iterator[Path]:
    """A new folder to build into, which becomes `folder` of the cache when the block ends well.

    Any number of processes may build at once: what is there by then stays if it is `whole`, and goes if it is damaged.
    Raises `OSError`.
    """
    with scratch(folder.parent, folder.name) as work:
        (work / "new").mkdir()
        yield work / "new"
        if folder.exists() and not whole():
            os.rename(folder, work / "damaged")
        try:
            os.rename(work / "new", folder)
        except OSError:
            if not whole():
                raise
