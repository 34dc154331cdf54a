"""A corpus of the tests' own."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path


def write_corpus(path: Path, passages: Iterable[tuple[str, str, str]]) -> Path:
    """A JSONL file of (id, title, text); its folders are made."""
    rows = [{"id": name, "title": title, "text": text} for name, title, text in passages]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path
