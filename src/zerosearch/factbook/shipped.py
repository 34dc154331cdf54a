"""The files that ship with the package: the corpus, three splits of questions, and a manifest with their digests."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import zstandard

from zerosearch.errors import DataError, RunError, install
from zerosearch.files.jsonl import atomic_write
from zerosearch.models.embedded import cache_dir

CORPUS = "corpus.jsonl"
SPLITS = ("train", "dev", "test")


@cache
def manifest() -> dict[str, Any]:
    """Version, seed, source and licence; sha256 and size of each file; counts and countries of each split."""
    return dict(json.loads(_packed("manifest.json")))


def unpacked(name: str) -> bytes:
    """The file `name` of the manifest as plain lines. Raises `DataError` where the installed package is damaged."""
    try:
        data = zstandard.ZstdDecompressor().decompress(_packed(f"{name}.zst"))
    except zstandard.ZstdError as error:
        raise _damaged(name, error) from None
    if not _is(data, name):
        raise _damaged(name, "its sha256 is another")
    return data


def corpus_path() -> Path:
    """The corpus as a plain file, unpacked once into the cache folder (8 MB).

    Raises `DataError` where it cannot be written.
    """
    path = cache_dir() / "factbook" / f"v{manifest()['version']}" / CORPUS
    try:
        if _is(path.read_bytes(), CORPUS):
            return path
    except OSError:  # not there yet, or unreadable: then writing says why
        pass
    try:
        atomic_write(path, unpacked(CORPUS))
    except RunError as error:
        raise DataError(f"the Factbook's corpus: {error}") from None
    return path


def _packed(name: str) -> bytes:
    try:
        return files("zerosearch.factbook").joinpath("data", name).read_bytes()
    except OSError as error:
        raise _damaged(name, error.strerror or error) from None


def _is(data: bytes, name: str) -> bool:
    return hashlib.sha256(data).hexdigest() == str(manifest()["files"][name]["sha256"])


def _damaged(name: str, why: object) -> DataError:
    return DataError(f"the Factbook's {name} in the installed package is damaged ({why}): {install(None)}")
