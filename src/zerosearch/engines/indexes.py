"""The index of a corpus on disk: stored in the cache folder, built once, shared by all processes.

    folder = open_index(corpus, cache, key, build, what="BM25")
    passages = folder.passages()        # the corpus, passage by passage

An index lies under the sha256 of its corpus and a key made from everything else that shapes it; nothing is written
beside the corpus. One that is not plain JSONL is written there as lines, since passages are read by their place in
the file.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zerosearch.engines.corpus import PassageReader, has_text, lies_as_lines, no_passages, scan, unpack
from zerosearch.episodes.search import Document
from zerosearch.errors import DataError, RunError
from zerosearch.files.folders import built_once, sweep
from zerosearch.files.formats import reading, stem_of
from zerosearch.files.identity import sha256_of
from zerosearch.files.jsonl import write_json

log = logging.getLogger(__name__)

_META = "index.json"
_OFFSETS = "offsets.npy"
_UNPACKED = "corpus.jsonl"
_BLOCK, _BLOCKS = 1 << 20, 64  # what is read of a file to know it again

Passages = Callable[[], Iterator[Document]]
"""Goes through the corpus from its first passage; may be called more than once."""

Build = Callable[[Path, Passages], dict[str, Any]]
"""Writes an index into an empty folder; what it returns is kept as the index's notes."""


@dataclass(frozen=True)
class IndexFolder:
    """A whole index. `digest` is the sha256 of the corpus, `notes` what its builder had to say."""

    path: Path
    corpus: Path
    digest: str
    documents: int
    notes: dict[str, Any]

    @property
    def name(self) -> str:
        """What the corpus is called in the names of engines: its file name without the endings."""
        return stem_of(self.corpus)

    def passages(self) -> PassageReader:
        unpacked = self.path / _UNPACKED
        source = unpacked if unpacked.exists() else self.corpus
        return PassageReader(source, np.load(self.path / _OFFSETS, mmap_mode="r"))


def recipe_key(*parts: Any) -> str:
    """A short key of everything besides the corpus that shapes an index; the parts must be plain JSON values."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def open_index(corpus: Path, cache: Path, key: str, build: Build, *, what: str) -> IndexFolder:
    """The index of `corpus` below the folder `cache`, made by `build` where there is none yet.

    Two processes may build at once; a kill leaves no half index. The corpus is recognised by size and modification
    time, and otherwise by its sha256. `what` names the kind of index in messages.

    Raises `DataError` for a corpus that is missing, empty, malformed (with the line) or changed while it is indexed,
    and for a cache that cannot be written.
    """
    before = _stat(corpus)
    digest = file_digest(corpus, cache)
    folder = cache / f"{digest[:24]}-{key}"
    meta = _read_meta(folder)
    if meta is None:
        if folder.exists():
            log.warning("%s: the %s index is damaged and is built again", folder, what)
        try:
            with built_once(folder, lambda: _read_meta(folder) is not None) as work:
                _build(work, corpus, digest, build, what)
        except OSError as error:
            said = error.strerror or error
            raise DataError(f"{folder.parent}: the search index could not be written ({said})") from None
        if _stat(corpus) != before:
            shutil.rmtree(folder, ignore_errors=True)
            raise DataError(f"{corpus}: was changed while it was being indexed; start again when it is complete")
        meta = _read_meta(folder)
        if meta is None:
            raise DataError(f"{folder}: the index that was just built is damaged; is the disk full?")
    return IndexFolder(folder, corpus, digest, int(meta["documents"]), dict(meta.get("notes") or {}))


def file_digest(path: Path, cache: Path) -> str:
    """sha256 of a file, remembered in `cache` by its path, size and modification time."""
    stat = _stat(path)
    place = str(path.resolve())
    note = cache / "digests" / f"{hashlib.sha256(place.encode('utf-8', 'surrogateescape')).hexdigest()[:24]}.json"
    with suppress(OSError):
        sweep(note)  # a killed process may have left its half of it
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
        if known["path"] == place and known["stat"] == stat:
            return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no note yet, or one that cannot be used: the file itself is asked
    digest = sha256_of(path)
    try:
        write_json(note, {"path": place, "stat": stat, "sha256": digest})
    except (OSError, RunError) as error:  # a cache that others filled may be read-only to us
        log.warning("%s: the digest of %s is not remembered (%s)", note, path.name, error)
    return digest


def folder_digest(folder: Path, cache: Path) -> str:
    """sha256 over the names and contents of a model's or an adapter's files; not of hidden ones, nor of its card."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "card.json"):
        if not any(part.startswith(".") for part in file.relative_to(folder).parts):
            digest.update(f"{file.relative_to(folder).as_posix()}\0{file_digest(file, cache)}\n".encode())
    return digest.hexdigest()


def _stat(path: Path) -> list[int]:
    with reading(path):
        stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _read_meta(folder: Path) -> dict[str, Any] | None:
    """What the build noted last, None unless every file that it wrote is there as it was written."""
    try:
        meta: dict[str, Any] = json.loads((folder / _META).read_text(encoding="utf-8"))
        whole = all(_mark(folder / name) == tuple(mark) for name, mark in meta["files"].items())
        return meta if whole and meta["documents"] > 0 else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _mark(path: Path) -> tuple[int, int]:
    """Size and CRC-32 of a file; of a large one the CRC of `_BLOCKS` blocks from its beginning to its end."""
    size = path.stat().st_size
    step = (size - _BLOCK) // (_BLOCKS - 1) if size > _BLOCK * _BLOCKS else _BLOCK
    with path.open("rb") as file:
        crc = 0
        for start in range(0, max(size, 1), max(step, 1)):
            file.seek(start)
            crc = zlib.crc32(file.read(_BLOCK), crc)
    return size, crc


def _build(work: Path, corpus: Path, digest: str, build: Build, what: str) -> None:
    log.info("building the %s index of %s (once)", what, corpus)
    start = time.perf_counter()
    source = corpus
    if not lies_as_lines(corpus):
        source = work / _UNPACKED
        unpack(corpus, source)
    offsets: list[int] = []
    empty: list[int] = []  # places of passages

    def passages() -> Iterator[Document]:
        offsets.clear()
        empty.clear()
        for offset, document in scan(source, corpus):
            if not has_text(document):
                empty.append(len(offsets))
            offsets.append(offset)
            yield document
        if len(empty) == len(offsets):
            raise no_passages(corpus, empty=len(empty))

    notes = build(work, passages)
    np.save(work / _OFFSETS, np.array([*offsets, source.stat().st_size], dtype=np.int64))
    files = sorted(path for path in work.rglob("*") if path.is_file())
    marks = {file.relative_to(work).as_posix(): _mark(file) for file in files}
    meta = {"corpus": str(corpus), "sha256": digest, "documents": len(offsets), "files": marks, "notes": notes}
    write_json(work / _META, meta)
    if empty:
        log.warning(
            "%s: %d of %d passages are empty (first: passage %d)", corpus, len(empty), len(offsets), empty[0] + 1
        )
    log.info("indexed %d passages in %.1f s", len(offsets), time.perf_counter() - start)
