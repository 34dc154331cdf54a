"""A corpus of passages in a JSONL file: checked once from end to end, then read passage by passage where it lies.

A line is `{"id", "title", "text"}` or, as in the corpora of Search-R1, `{"id", "contents"}` with the title in the first
line of `contents`, in quotes or not.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zerosearch.errors import DataError
from zerosearch.search import Document

_CHUNK_BYTES = 1 << 22


class PassageReader:
    """Reads single passages of a JSONL file by their byte offsets; nothing of the file is kept in memory.

    `offsets` (documents + 1, bytes) may be memory-mapped: passage `i` lies in bytes `offsets[i]` to `offsets[i + 1]`.
    """

    def __init__(self, path: Path, offsets: npt.NDArray[np.int64]) -> None:
        self._path = path
        self._offsets = offsets
        self._lock = threading.Lock()  # seek and read are two steps
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise unreadable(path, error) from None

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, index: int) -> Document:
        """Raises `DataError` where the file no longer holds what was indexed."""
        start, end = int(self._offsets[index]), int(self._offsets[index + 1])
        with self._lock:
            self._file.seek(start)
            line = self._file.read(end - start)
        try:
            return parse_passage(line, f"{self._path}: byte {start}")
        except DataError as error:
            raise DataError(f"{error}; the file was changed after it was opened: start again") from None

    def close(self) -> None:
        self._file.close()


def scan(path: Path, shown_as: Path) -> Iterator[tuple[int, Document]]:
    """Yield `(byte offset, passage)` for every non-blank line; `shown_as` is the name used in complaints.

    Raises `DataError` with file and line for a line that is not JSON or lacks a field.
    """
    try:
        with path.open("rb") as lines:
            offset = 0
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield offset, parse_passage(line, f"{shown_as}:{number}")
                offset += len(line)
    except OSError as error:
        raise unreadable(shown_as, error) from None


def parse_passage(line: bytes, where: str) -> Document:
    """Turn one line into a document; `where` begins every complaint."""
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise DataError(f"{where}: not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not valid JSON ({error.msg} at column {error.colno})") from None
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected an object with 'id' and 'text', found {type(row).__name__}")
    if row.get("id") is None:
        raise DataError(f"{where}: the passage has no field 'id'")
    if row.get("text") is not None:
        title, text = _string(row, "title", where) if row.get("title") is not None else "", _string(row, "text", where)
    elif row.get("contents") is not None:
        head, line_end, rest = _string(row, "contents", where).partition("\n")
        title, text = (head.strip().removeprefix('"').removesuffix('"'), rest) if line_end else ("", head)
    else:
        raise DataError(f"{where}: the passage has neither a field 'text' nor a field 'contents'")
    return Document(title, text, str(row["id"]))


def unpack(path: Path, to: Path) -> None:
    """Write the contents of a gzip file to `to`. Raises `DataError` for a damaged one."""
    try:
        with gzip.open(path, "rb") as packed, to.open("wb") as out:
            shutil.copyfileobj(packed, out, _CHUNK_BYTES)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not a whole gzip file ({error})") from None


def sha256_of(path: Path) -> str:
    try:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
        return digest.hexdigest()
    except OSError as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: OSError) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path}: no such file")
    return DataError(f"{path}: cannot be read ({error.strerror or error})")


def _string(row: dict[str, Any], name: str, where: str) -> str:
    value = row[name]
    if not isinstance(value, str):
        raise DataError(f"{where}: the field {name!r} must be text, found {type(value).__name__}")
    # JSON can spell half a character (a lone surrogate), which no tokenizer and no file takes.
    return value.encode("utf-8", "replace").decode("utf-8")
