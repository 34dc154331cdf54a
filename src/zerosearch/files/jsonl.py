"""The run folder: files that a kill at any moment leaves readable.

runs/<name>/  config.toml  manifest.json  metrics.jsonl  trajectories/*.jsonl.zst  tensorboard/  checkpoints/
              evaluations/  spending.jsonl  cost.json
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from zerosearch.errors import DataError, RunError
from zerosearch.files.formats import reading
from zerosearch.files.json_rows import parse_json


def atomic_write(path: Path, data: bytes) -> None:
    """Write `path` whole or not at all: a sibling file, flushed to disk, then renamed over it.

    Raises `RunError` where the disk is full or not writable; an older file at `path` is left as it was.
    """
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        kept = "; what was there before is kept" if os.path.exists(path) else ""
        raise RunError(f"{path}: could not be written ({error.strerror or error}){kept}") from None


def write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
    atomic_write(path, text.encode("utf-8", "replace"))  # "replace": half a character in a web page must not end a run


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """A line a row, all of them or none."""
    atomic_write(path, json_lines(rows))


def json_lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """A line of JSON a row, in UTF-8; half a character in a web page becomes `?`."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return text.encode("utf-8", "replace")


def append_jsonl(path: Path, *rows: dict[str, Any]) -> None:
    """Append a line a row and flush them, all at once.

    A line cut off by a kill is left out by `read_rows` and removed by the next append.

    Raises `RunError` where the disk is full or not writable, `DataError` where the file does not end as one of ours.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as out:
            _mend_last_line(out, path)
            out.write(json_lines(rows))
            out.flush()
            os.fsync(out.fileno())
    except OSError as error:
        raise RunError(f"{path}: could not be written ({error.strerror or error})") from None


def _mend_last_line(file: IO[bytes], path: Path) -> None:
    """Take out a last line that was cut off, so that the next one is not glued to it; end one that only lacks its end.

    A power cut may leave zeros there. Anything else was not written here, and is not thrown away.
    """
    size = os.fstat(file.fileno()).st_size
    if size == 0:
        return
    file.seek(size - 1)
    if file.read(1) == b"\n":
        return
    file.seek(0)
    begins = file.read().rfind(b"\n") + 1
    file.seek(begins)
    last = file.read()
    if _whole(last):
        file.write(b"\n")
    elif last.startswith(b"{") or not last.strip(b"\0"):
        file.truncate(begins)
    else:
        raise DataError(f"{path}: its last line was not written by this command; name another file")


def _whole(line: bytes) -> bool:
    """Whether a last line without its newline is an object all the same."""
    try:
        return isinstance(parse_json(line, ""), dict)
    except DataError:
        return False


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of an append-only JSONL file, none where there is no file; a last line that a kill cut off is left out.

    Raises `DataError`, naming the line, where the file is damaged in another way or cannot be read.
    """
    if not os.path.lexists(path):
        return
    with reading(path), path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.endswith(b"\n") or _whole(line):
                where = f"{path}:{number}"
                try:
                    row = parse_json(line, where)
                except DataError as error:
                    advice = "remove this line to go on" if number > 1 else "is this the file that was meant?"
                    raise DataError(f"{error}; {advice}") from None
                if not isinstance(row, dict):
                    raise DataError(f"{where}: not an object of JSON (found {shown(row)})")
                yield row


def read_metrics(path: Path, *, rewards: bool = False) -> list[dict[str, Any]]:
    """The rows of a run's metrics, each with its `step` (`rewards`: and its `reward`).

    Raises `DataError` that names the line.
    """
    rows = list(read_rows(path))
    for number, row in enumerate(rows, start=1):
        reward = row.get("reward")  # NaN may be there, a number that no float can hold not
        number_like = type(reward) is float or (type(reward) is int and abs(reward) < 1 << 63)
        if type(row.get("step")) is not int or (rewards and not number_like):
            raise DataError(f"{path}:{number}: not a row of metrics; remove this line")
    return rows


def trim_rows(path: Path, *, keep_below: int) -> None:
    """Keep the metrics whose `step` is below `keep_below`: what a resumed run will write again is taken out first."""
    if path.exists():
        write_jsonl(path, [row for row in read_metrics(path) if row["step"] < keep_below])


def read_object(path: Path) -> dict[str, Any]:
    """A file that holds one object of JSON. Raises `DataError` that names the file, whatever is wrong with it."""
    with reading(path):
        text = path.read_bytes()
    value = parse_json(text, str(path))
    if not isinstance(value, dict):
        raise DataError(f"{path}: not an object of JSON (found {shown(value)})")
    return value


def holds(path: Path, *keys: str) -> bool:
    """Whether a file is an object of JSON with all of `keys`: by what a command knows its own output."""
    with contextlib.suppress(DataError):
        return set(keys) <= read_object(path).keys()
    return False


def shown(value: Any) -> str:
    """A value of a foreign file as a message shows it: its JSON, at most 40 characters of it."""
    return text if len(text := json.dumps(value)) <= 40 else f"{text[:40]}..."
