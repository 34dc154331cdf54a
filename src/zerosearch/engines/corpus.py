"""A corpus of passages: checked once, then read passage by passage by its offset in a file of lines.

A plain JSONL file is read where it lies. Any other that `formats.read_file` knows (JSON, CSV, TSV, Parquet, gzip,
UTF-16) is written out as lines once, into the folder of its index.

A passage is `{"id", "title", "text"}`, with `_id` as BEIR has it, `docid` or none; the text may be called `passage` or
`content`, or be a list of sentences. In the corpora of Search-R1 it is `contents`, with the title in the first line, in
quotes or not. A table without a header has two columns, id and text (MS MARCO).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zerosearch.engines.page_rows import whole_text
from zerosearch.episodes.answer_forms import plain_name
from zerosearch.episodes.search import Document
from zerosearch.errors import DataError
from zerosearch.files.formats import encoding_of, first_bytes, kind_of, names_of, read_file, reading
from zerosearch.files.json_rows import parse_json

_ID = ("id", "docid", "pid", "passageid", "documentid")
_TITLE = ("title", "wikipediatitle", "doctitle")
_TEXT = ("text", "contents", "passage", "content", "passagetext", "paragraphtext", "body")
_LARGE = 32 << 20  # bytes


class PassageReader:
    """Reads single passages of a JSONL file by their byte offsets; nothing of the file is kept in memory.

    `offsets` (documents + 1, bytes) may be memory-mapped: passage `i` lies in bytes `offsets[i]` to `offsets[i + 1]`.
    """

    def __init__(self, path: Path, offsets: npt.NDArray[np.int64]) -> None:
        self._path = path
        self._offsets = offsets
        self._lock = threading.Lock()  # seek and read are two steps
        with reading(path):
            self._file = path.open("rb")

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, index: int) -> Document:
        """Raises `DataError` where the file no longer holds what was indexed."""
        start, end = int(self._offsets[index]), int(self._offsets[index + 1])
        with self._lock:
            self._file.seek(start)
            line = self._file.read(end - start)
        try:
            return parse_passage(line, f"{self._path}: byte {start}", index)
        except DataError as error:
            raise DataError(f"{error}; the file was changed after it was opened: start again") from None

    def close(self) -> None:
        self._file.close()


def scan(path: Path, shown_as: Path) -> Iterator[tuple[int, Document]]:
    """Yield `(byte offset, passage)` for every non-blank line; `shown_as` is the name used in complaints.

    Raises `DataError` with file and line for a line that is not JSON or lacks a field.
    """
    with reading(shown_as), path.open("rb") as lines:
        offset = passages = 0
        for number, line in enumerate(lines, start=1):
            if line.strip(b"\xef\xbb\xbf \t\r\n"):
                yield offset, parse_passage(line, f"{shown_as}:{number}", passages)
                passages += 1
            offset += len(line)


def parse_passage(line: bytes, where: str, place: int) -> Document:
    """Turn one line into a document; `where` begins every complaint, `place` (from 0) is the id where it has none."""
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{where}: not UTF-8 text") from None
    return passage(parse_json(text.strip(), where), where, place)


def passage(row: Any, where: str, place: int) -> Document:
    """The document of one row. Raises `DataError` that begins with `where`."""
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected an object with 'id' and 'text', found {type(row).__name__}")
    plain = {plain_name(name): name for name in reversed(row) if row[name] is not None}
    names = [plain[known] for known in _TEXT if known in plain]
    if not names and any(plain_name(name) in _TEXT for name in row):  # null: an empty passage, which is counted
        return passage({**row, next(name for name in row if plain_name(name) in _TEXT): ""}, where, place)
    if not names:
        raise DataError(
            f"{where}: the passage has neither a field 'text' nor a field 'contents' (its fields: {names_of(row)})"
        )
    text = _string(row, names[0], where)
    titles = [plain[known] for known in _TITLE if known in plain]
    title = _string(row, titles[0], where) if titles else ""
    if plain_name(names[0]) == "contents":
        head, line_end, rest = text.partition("\n")
        head = head.strip()
        head = head[1:-1] if len(head) > 1 and head[0] == head[-1] == '"' else head
        if line_end and title.strip() in ("", head):
            title, text = head, rest
    identifiers = [plain[known] for known in _ID if known in plain]
    identifier = _string(row, identifiers[0], where) if identifiers else ""
    return Document(title, text, identifier or str(place))


def lies_as_lines(path: Path) -> bool:
    """Whether passages can be read where they lie: plain JSONL in UTF-8. A file of an unknown ending is taken for it.

    Raises `DataError` where it cannot be read.
    """
    head = first_bytes(path)
    if kind_of(path) not in (None, ".jsonl", ".ndjson") or path.name.lower().endswith(".gz"):
        return False
    return encoding_of(head).startswith("utf-8") and not head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")


def unpack(path: Path, to: Path) -> None:
    """Write the passages of any other file as plain lines to `to`. Raises `DataError`, naming the line."""
    with to.open("w", encoding="utf-8") as rewritten:
        for document in _unpacked(path):
            line = {"id": document.id, "title": document.title, "text": document.text}
            rewritten.write(json.dumps(line, ensure_ascii=False) + "\n")


def first_passages(path: Path, count: int) -> int | None:
    """Read up to `count` passages of a corpus, as its index will, and keep none; how many there were. None, and nothing
    is read, for a large file that is one JSON document: its first passage is there when all are.

    Raises `DataError` for a malformed passage among them, and for a corpus without passages.
    """
    if (kind_of(path) == ".json" or b"[" in first_bytes(path)) and path.stat().st_size > _LARGE:
        return None
    passages = (document for _, document in scan(path, path)) if lies_as_lines(path) else _unpacked(path)
    found = full = 0
    for document in islice(passages, count):
        found += 1
        full += has_text(document)
    if found < count and not full:
        raise no_passages(path, empty=found)
    return found


def has_text(document: Document) -> bool:
    """Whether a passage has a title or a text."""
    return bool(document.title.strip() or document.text.strip())


def no_passages(path: Path, *, empty: int) -> DataError:
    """The complaint about a corpus of `empty` passages that have no text."""
    return DataError(f"{path}: holds no passages" + (" with any text" if empty else ""))


def _unpacked(path: Path) -> Iterator[Document]:
    header: list[str] = []

    def is_header(name: str) -> bool:
        header.append(plain_name(name))
        return header[-1] in (*_ID, *_TITLE, *_TEXT)

    for place, (where, row) in enumerate(read_file(path, is_header=is_header, what="corpus")):
        yield passage(_of_table(row, header, where) if header else row, where, place)


def _of_table(row: Any, header: list[str], where: str) -> dict[str, Any]:
    if isinstance(row, list) and len(row) == 2:
        return {"id": row[0], "text": row[1]}
    if isinstance(row, list) or not set(header) & set(_TEXT):
        raise DataError(f"{where}: no column is called text; write a first line such as id, title, text")
    return row if set(map(plain_name, row)) & set(_TEXT) else {**row, "text": ""}  # an empty cell


def _string(row: dict[str, Any], name: str, where: str) -> str:
    value = row[name]
    if isinstance(value, list) and all(isinstance(part, str) for part in value):  # sentences, as HotpotQA's Wikipedia
        value = " ".join(part.strip() for part in value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and plain_name(name) not in _TEXT:
        value = str(value)
    if not isinstance(value, str):
        raise DataError(f"{where}: the field {name!r} must be text, found {type(value).__name__}")
    return whole_text(value)
