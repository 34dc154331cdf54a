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
        raise RunError(
            f"{path}: could not be written ({error.strerror or error}); what was there before is kept"
        ) from None


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

    Raises `RunError` where the disk is full or not writable.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as out:
            _drop_cut_line(out)
            out.write(json_lines(rows))
            out.flush()
            os.fsync(out.fileno())
    except OSError as error:
        raise RunError(f"{path}: could not be written ({error.strerror or error})") from None


def _drop_cut_line(file: IO[bytes]) -> None:
    """Cut the file back to its last newline, so that the next line is not glued to half a one."""
    size = os.fstat(file.fileno()).st_size
    if size == 0:
        return
    file.seek(size - 1)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of an append-only JSONL file; a last line without its newline (a kill cut it off) is left out.

    Raises `DataError`, naming the line, where the file is damaged in another way.
    """
    if not path.exists():
        return
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.endswith(b"\n"):
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise DataError(f"{path}:{number}: not valid JSON ({error})") from None


def trim_rows(path: Path, *, keep_below: int) -> None:
    """Keep the rows whose `step` is below `keep_below`: what a resumed run will write again is taken out first."""
    if path.exists():
        write_jsonl(path, [row for row in read_rows(path) if row["step"] < keep_below])
