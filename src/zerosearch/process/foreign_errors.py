"""Failures from outside this package, each as one line: the disk, a missing library, a bad file.

What is not recognised is a fault of this package, and is shown with its traceback.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from types import TracebackType

from zerosearch.errors import extra_of, first_line, install

_READERS = ("safetensors", "pickle", "_pickle", "zipfile", "zstd", "jinja2", "tarfile", "zlib", "pyarrow", "tomllib")
_NESTED = ("json", "tomllib", "ast", "copy", "pickle")  # what recurses as deep as the text that it is given


def as_line(error: BaseException) -> str | None:
    """What `error` means to the user, in one line; None where it is this package's own fault."""
    if isinstance(error, ImportError):
        return _missing(error)
    if isinstance(error, UnicodeError):
        return f"a text is not in the encoding that it should be in ({first_line(error)})"
    if isinstance(error, OSError):
        return _system(error)
    if isinstance(error, RecursionError):
        modules = [module.partition(".")[0] for module in _modules(error.__traceback__)]
        return "a text is nested too deeply to be read" if any(m in _NESTED for m in modules[-50:]) else None
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return f"out of memory ({first_line(error)}): smaller batches or a smaller model need less"
    if type(error).__module__.partition(".")[0].lstrip("_").startswith(_READERS):
        return f"a file cannot be read ({type(error).__name__}: {first_line(error)})"
    return None


def _missing(error: ImportError) -> str | None:
    package = (error.name or "").partition(".")[0]
    extra = extra_of(package)
    if isinstance(error, ModuleNotFoundError) and package == "zerosearch":
        return None
    if isinstance(error, ModuleNotFoundError):
        return f"this needs {package or 'a package'}, which is not installed: {install(extra)}"
    return f"{package or 'a package'} is installed, but cannot be used ({first_line(error)}): {install(extra)}"


def _system(error: OSError) -> str:
    why = error.strerror or first_line(error)
    if error.errno == errno.ENAMETOOLONG and error.filename is not None:
        return f"{str(error.filename)[:80]}...: {why}"
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return ": ".join([" -> ".join(names), why] if names else [why])


def _modules(traceback: TracebackType | None) -> Iterator[str]:
    while traceback is not None:
        yield str(traceback.tb_frame.f_globals.get("__name__", ""))
        traceback = traceback.tb_next
