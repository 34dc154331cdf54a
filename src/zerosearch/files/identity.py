"""The identity of an engine, in one line of text. Engines that can give different pages have different identities.

    identity_of("bm25", corpus="3f0c9a", k1=0.9, b=0.4)         # 'bm25 b=0.4 corpus=3f0c9a k1=0.9'
    differences(one, other)                                     # ['k1 0.9 and 0.1']

An engine's name is for the eye; its identity stands in the headers of evaluations, in page caches, collections,
recordings and run folders, and decides whether two pages are of the same engine. It holds no secret.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zerosearch.files.formats import reading

if TYPE_CHECKING:
    import httpx

_KIND = "kind"


def identity_of(kind: str, **parts: Any) -> str:
    """`kind` and then `key=value`, sorted by key; parts that are None are left out.

    >>> identity_of("dense", query_prefix="query: ", top=None)
    "dense 'query_prefix=query: '"
    """
    pairs = [f"{key}={value}" for key, value in sorted(parts.items()) if value is not None]
    return shlex.join([kind, *pairs])


def parts_of(identity: str) -> dict[str, str]:
    """The parts of an identity, its kind among them. Text that is no such line is a kind by itself."""
    try:
        kind, *pairs = shlex.split(identity)
    except ValueError:
        return {_KIND: identity}
    if not all("=" in pair for pair in pairs):
        return {_KIND: identity}
    split = (pair.partition("=") for pair in pairs)
    return {_KIND: kind, **{key: value for key, _, value in split}}


def with_parts(identity: str, **parts: Any) -> str:
    """`identity` with further parts, or another `kind`: how what wraps an engine makes its own."""
    known = {**parts_of(identity), **parts}
    return identity_of(known.pop(_KIND), **known)


def differences(one: str, other: str) -> list[str]:
    """What two identities differ in, in words; empty where they are equal.

    >>> differences("bm25 b=0.4 k1=0.9", "bm25 b=0.4 k1=0.1")
    ['k1 0.9 and 0.1']
    """
    if one == other:
        return []
    mine, theirs = parts_of(one), parts_of(other)
    if mine[_KIND] != theirs[_KIND]:
        return [f"kind {mine[_KIND] or 'not known'} and {theirs[_KIND] or 'not known'}"]
    keys = sorted(key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key))
    return [f"{key} {mine.get(key, 'none')} and {theirs.get(key, 'none')}" for key in keys]


def address_of(url: httpx.URL) -> str:
    """Where a server is asked, without user, password, query and fragment."""
    return f"{url.scheme}://{url.netloc.decode()}{url.path}"


def digest_of(value: Any) -> str:
    """16 hexadecimal digits of the sha256 of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal digits. Raises `DataError` where it cannot be read."""
    with reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
