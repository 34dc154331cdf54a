"""Rows of a JSON document: an array, an object with an array inside, rows by their ids, columns, or lines after all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zerosearch.errors import DataError

_LISTS = ("data", "questions", "examples", "items", "rows", "instances", "results")
_TEXTS = ("question", "query", "text")


def parse_json(text: str | bytes, path: Path | str, line: int | None = None) -> Any:
    """`json.loads`, of bytes in UTF-8; `line` is that of the text's beginning in the file `path`, None: say no line.

    Raises `DataError` for all that `json.loads` may raise: also for bytes that are not UTF-8, values that are nested
    too deeply and numbers of thousands of digits. A byte order mark in front is passed over: joined files hold one.
    """
    try:
        return json.loads((text if isinstance(text, str) else text.decode("utf-8")).removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise _no_json(error, path, line) from None


def json_rows(text: str, path: Path) -> Iterator[tuple[str, Any]]:
    """Yield `("file:line", value)` for each row of the document `text`. Raises `DataError`, naming the line."""
    start = _after(text, 0)
    if start == len(text):
        return
    if text[start] == "[":
        yield from array_items(text, path)
        return
    line = 1 + text.count("\n", 0, start)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        if not _lines_of_json(text[start:].partition("\n")[0]):
            raise _no_json(error, path, 1) from None
        for number, one in enumerate(text.split("\n"), start=1):
            if one.strip():
                yield f"{path}:{number}", parse_json(one, path, number)
        return
    yield from _inside(value, path, line)


def array_items(text: str, path: Path) -> Iterator[tuple[str, Any]]:
    """The items of the JSON array `text`, each with its line, one after the other."""
    decoder = json.JSONDecoder()
    at = _after(text, text.index("[") + 1)
    line, counted = 1, 0
    closed = text[at : at + 1] == "]"
    while not closed:
        line, counted = line + text.count("\n", counted, at), at
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise _no_json(error, path, 1 if isinstance(error, json.JSONDecodeError) else line) from None
        yield f"{path}:{line}", value
        at = _after(text, end)
        closed = text[at : at + 1] == "]"
        if not closed:
            if text[at : at + 1] != ",":
                place = line + text.count("\n", counted, at)
                raise DataError(f"{path}:{place}: not valid JSON (a comma or the end of the array is missing)")
            at = _after(text, at + 1)
    rest = _after(text, at + 1)
    if rest < len(text):
        place = line + text.count("\n", counted, rest)
        raise DataError(f"{path}:{place}: not valid JSON (there is more behind the end of the array)")


def _inside(value: Any, path: Path, line: int) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield f"{path}:{line}", value
        return
    names = {str(key).lower(): key for key in value}
    texts = [names[name] for name in _TEXTS if name in names]
    lists = [key for key in value if _objects(value[key])]
    listed = [names[name] for name in _LISTS if names.get(name) in lists] or (lists if not texts else [])
    if len(listed) == 1 or (listed and str(listed[0]).lower() in _LISTS):
        for number, row in enumerate(value[listed[0]], start=1):
            yield from _nested(row, f"{path}: {listed[0]} {number}")
    elif texts and isinstance(value[texts[0]], (list, dict)):
        yield from _columns(value, path)
    elif len(value) > 0 and not texts and all(isinstance(row, dict) and row for row in value.values()):
        for key, row in value.items():
            yield f"{path}: {key}", {"id": key, **row}
    else:
        yield f"{path}:{line}", value


def _nested(row: Any, where: str) -> Iterator[tuple[str, Any]]:
    """SQuAD's files hold articles of paragraphs of questions; the hub's server wraps each row."""
    if isinstance(row, dict) and _objects(row.get("paragraphs")) and "question" not in row:
        for number, paragraph in enumerate(row["paragraphs"], start=1):
            questions = paragraph.get("qas")
            for place, question in enumerate(questions if isinstance(questions, list) else (), start=1):
                yield f"{where}, paragraph {number}, question {place}", question
    elif isinstance(row, dict) and isinstance(row.get("row"), dict):
        yield where, row["row"]
    else:
        yield where, row


def _columns(value: dict[str, Any], path: Path) -> Iterator[tuple[str, Any]]:
    """Columns of equal length, as lists or, as pandas writes them, as objects by row number."""
    columns = {key: list(c.values()) if isinstance(c, dict) else c for key, c in value.items()}
    columns = {key: column for key, column in columns.items() if isinstance(column, list)}
    if len({len(column) for column in columns.values()}) != 1:
        raise DataError(f"{path}: its columns ({', '.join(map(str, columns))}) are not of one length")
    for number, cells in enumerate(zip(*columns.values(), strict=True), start=1):
        yield f"{path}: row {number}", dict(zip(columns, cells, strict=True))


def _objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _lines_of_json(first: str) -> bool:
    try:
        return isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def _after(text: str, at: int) -> int:
    """The first place from `at` on that is not blank."""
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _no_json(error: Exception, path: Path | str, line: int | None) -> DataError:
    at = 0
    if isinstance(error, json.JSONDecodeError):
        why, at = f"{error.msg} at column {error.colno}", error.lineno - 1
    elif isinstance(error, UnicodeDecodeError):
        why = f"not UTF-8 at byte {error.start}"
    else:
        why = "nested too deeply" if isinstance(error, RecursionError) else "a number of thousands of digits"
    return DataError(f"{path if line is None else f'{path}:{line + at}'}: not valid JSON ({why})")
