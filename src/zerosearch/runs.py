"""The run folder: files that a kill at any moment leaves readable.

runs/<name>/  config.toml  manifest.json  metrics.jsonl  trajectories/*.jsonl.zst  tensorboard/  checkpoints/  evaluations/
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zerosearch.errors import RunError


def atomic_write(path: Path, data: bytes) -> None:
    """Write `path` whole or not at all: a sibling file, flushed to disk, then renamed over it.

    Raises `RunError` where the disk is full or not writable; an older file at `path` is left as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        with partial.open("wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise RunError(
            f"{path}: could not be written ({error.strerror or error}); what was there before is kept"
        ) from None


def write_json(path: Path, value: Any) -> None:
    atomic_write(path, (json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n").encode())


def append_jsonl(path: Path, row: dict[str, Any]) -> None:
    """Append one line and flush it. A line cut off by a kill is dropped again by `read_rows` and `trim_rows`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as out:
            out.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
            out.flush()
            os.fsync(out.fileno())
    except OSError as error:
        raise RunError(f"{path}: could not be written ({error.strerror or error})") from None


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of an append-only JSONL file; a last line without its newline (a kill cut it off) is left out."""
    if not path.exists():
        return
    with path.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                yield json.loads(line)


def trim_rows(path: Path, *, keep_below: int) -> None:
    """Keep the rows whose `step` is below `keep_below`: what a resumed run will write again is taken out first."""
    if path.exists():
        rows = [row for row in read_rows(path) if row["step"] < keep_below]
        atomic_write(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
