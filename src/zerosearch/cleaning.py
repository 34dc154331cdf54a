"""The one place that cleans output: no key, no password and no control character leaves the program.

    register_secret(key)                   # from now on it is hidden, wherever it turns up
    shown = clean(answer_of_a_server)[:200]   # always before anything is cut: half of a key is part of a key

Errors, logs, pages and whatever a command prints go through `clean`. Where colours are printed they are the program's
own, and `hide` alone is for that.
"""

from __future__ import annotations

import base64
import logging
import os
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any
from urllib.parse import unquote, urlsplit

SHORTEST_SECRET = 8  # characters; local servers are given keys such as EMPTY, which are no secret and common words
PLACEHOLDER = "[key]"
_PREFIX = 8  # so much of a key's beginning is enough to hide it: whoever sent it may have cut it
_SECRETS: set[str] = set()

# Terminals obey what follows ESC (or its one-byte forms). An operating system command ends with BEL or ST.
_SEQUENCE = re.compile(
    r"(?:\x1b\]|\x9d)[^\x07\x1b\x9c\n]{0,2000}(?:\x07|\x1b\\|\x9c)"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b[ -/]*[0-Z\\^-~]"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_BLANK = "\r\x0b\x0c\x1c\x1d\x1e\x1f\x85"  # control characters that part words

_GAP = r"(?:[\s\u00ad\u200b-\u200d\u2060\ufeff]|\\[nrt])*"  # what may stand inside of a key that was broken
_SCHEME = r"[a-z][a-z0-9+.-]*:/{1,3}"
_QUERY = r"([?&;](?:api[_-]?key|key|(?:access[_-]?)?token|auth|secret|passw(?:or)?d|pwd)=)[^\s&;#\"'<>]+"
_STRUCTURE: tuple[tuple[str, re.Pattern[str], str], ...] = (  # what has to be there for the form to be looked for
    # user:password@ of an address; a password may hold / and @ where it follows a colon that no port does
    ("@", re.compile(rf"({_SCHEME})[^\s\"'<>/?#@]*:(?!\d+/)[^\s\"'<>]*@", re.I), rf"\1{PLACEHOLDER}@"),
    ("@", re.compile(rf"({_SCHEME})[^\s\"'<>/?#]*@", re.I), rf"\1{PLACEHOLDER}@"),
    ("=", re.compile(_QUERY, re.I), rf"\1{PLACEHOLDER}"),
    ("Bearer", re.compile(r"(Bearer\s+)(?=[^\s\"']*\d)[\w.~+/=-]{12,}"), rf"\1{PLACEHOLDER}"),
    ("Basic", re.compile(r"(Basic\s+)(?=[^\s\"']*[\d=])[\w+/=-]{12,}"), rf"\1{PLACEHOLDER}"),
    ("sk-", re.compile(r"\bsk-(?=[\w-]*\d)[\w-]{16,}"), PLACEHOLDER),
    ("_", re.compile(r"\b(?:hf|gsk|gh[pousr])_\w{20,}"), PLACEHOLDER),
    ("AIza", re.compile(r"AIza[\w-]{30,}"), PLACEHOLDER),
)


def register_secret(value: str) -> None:
    """Hide `value` from now on in whatever is cleaned. What is shorter than `SHORTEST_SECRET` is no secret."""
    if len(value.strip()) >= SHORTEST_SECRET:
        _SECRETS.add(value.strip())
        _pieces.cache_clear()


def register_address(text: str) -> bool:
    """Hide what may be a user and password in the address `text`, however badly it is written; whether there is any.

    Everything before the last @ counts: no host, port or path needs an @, and a password may hold what it likes.
    """
    rest = re.sub(rf"^\s*(?:{_SCHEME}|(?:https?|ftp|socks\w*|wss?):)", "", text, flags=re.I)
    if "@" not in rest and "@" in unquote(rest.partition("/")[0]):
        rest = unquote(rest)
    told, at, _ = rest.rpartition("@")
    queries = re.findall(r"[?&;][^=&;#]*=([^&;#]+)", rest)
    for secret in (told, told.partition(":")[2], *queries):
        for form in (secret, unquote(secret)):
            register_secret(form)
            register_secret(base64.b64encode(form.encode("utf-8", "replace")).decode())
    return bool(at)


def shown_address(text: str) -> str:
    """The address `text` as it may be shown: without what stands before an @, and without its query.

    >>> shown_address("proxy_user:a/b@c@proxy:3128")
    'proxy:3128'
    """
    scheme = re.match(rf"\s*({_SCHEME})?", text, re.I)
    told = register_address(text)
    host = unquote(text).rpartition("@")[2] if told else text[scheme.end() if scheme else 0 :]
    return clean((scheme[1] or "" if scheme else "") + host.partition("?")[0])


def check_address(text: str, example: str = "http://localhost:8000/v1") -> str:
    """`text`. Raises `ValueError` where it is no http address, or holds a password or query: those are shown nobody."""
    if register_address(text):
        raise ValueError("must hold no user and password: name the key's environment variable in api_key_env")
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != -1
    except ValueError as error:
        raise ValueError(f"cannot be used ({error}); write for example {example}") from None
    if parts.query:
        raise ValueError("must hold no query: name the key's environment variable in api_key_env")
    if not usable:
        raise ValueError(f"{text!r} is not an http address; write for example {example}")
    return text


def clean(text: str) -> str:
    """`text` without secrets and without control characters; line ends and tabs stay.

    Escape sequences go as a whole, and lone surrogates become `?`: what comes back can be written anywhere.

    >>> clean("\\x1b[31mGET http://me:hunter2@host/v1?api_key=1234\\x1b[0m")
    'GET http://[key]@host/v1?api_key=[key]'
    """
    return hide(plain(text))


def plain(text: str) -> str:
    """`text` without control characters and what terminals obey; see `clean`."""
    if not _CONTROL.search(text):
        return text
    text = _SEQUENCE.sub("", text).replace("\r\n", "\n")
    return _CONTROL.sub(lambda c: " " if c[0] in _BLANK else "?" if c[0] >= "\ud800" else "", text)


def hide(text: str) -> str:
    """`text` without secrets: registered ones, whole or begun, also broken by blanks and line ends or quoted as in
    addresses, HTML and JSON; and what has the form of one: passwords and keys in addresses, `Bearer ...`, `sk-...`."""
    text = _without_secrets(text)
    for mark, pattern, shown in _STRUCTURE:
        if mark in text:
            text = pattern.sub(shown, text)
    return text


def check_variable(name: str) -> str:
    """`name`. Raises `ValueError`, without it, where it is no name of an environment variable but may be a key.

    A key may do as a name (`hf_...`, hexadecimal ones), but mixes digits into small letters, or is long.
    """
    if name in os.environ:
        return name
    parts = name.split("_")
    mixed = any(len(part) >= 8 and re.search("[a-z]", part) and re.search(r"\d", part) for part in parts)
    if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) or max(map(len, parts)) > 24 or mixed:
        register_secret(name)
        raise ValueError("write the name of an environment variable, such as OPENAI_API_KEY, and not the key itself")
    return name


class Screen:
    """A text stream that shows no secret, whoever writes to it: the last gate, for standard output and error."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        return int(self.stream.write(hide(text)))

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class CleanLogs(logging.Filter):
    """Cleans whatever is logged. httpx logs the address of every request, and some services take their key there."""

    def filter(self, record: logging.LogRecord) -> bool:
        said = record.getMessage()
        if (shown := clean(said)) != said:
            record.msg, record.args = shown, ()
        return True


def _without_secrets(text: str) -> str:
    """Cuts out every place where at least the beginning of a secret stands."""
    shown, last = "", 0
    for start, end in sorted(place for secret in _SECRETS for place in _places(text, *_pieces(secret))):
        if start >= last:
            shown += text[last:start] + PLACEHOLDER
        last = max(last, end)
    return shown + text[last:]


def _places(text: str, head: re.Pattern[str], rest: tuple[re.Pattern[str], ...]) -> Iterator[tuple[int, int]]:
    end = 0
    while found := head.search(text, end):
        end = found.end()
        for piece in rest:
            if not (more := piece.match(text, end)):
                break
            end = more.end()
        yield found.start(), end


@lru_cache(maxsize=256)
def _pieces(secret: str) -> tuple[re.Pattern[str], tuple[re.Pattern[str], ...]]:
    """How a secret begins, and what each further character of it looks like; a short one has to be there whole."""
    need = _PREFIX if len(secret) >= _PREFIX * 3 // 2 else len(secret)
    letters = [_letter(c) for c in secret if not c.isspace()]
    return re.compile(_GAP.join(letters[:need])), tuple(re.compile(_GAP + piece) for piece in letters[need:])


def _letter(c: str) -> str:
    """`c` as itself, and as it is written in an address, in JSON and in HTML."""
    quoted = "".join(f"%{byte:02x}" for byte in c.encode("utf-8", "replace"))
    if c.isalnum():
        return re.escape(c)
    named = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "/": r"\\/"}.get(c)
    forms = [f"(?i:{quoted})", rf"(?i:\\u{ord(c):04x})", f"&#0*{ord(c)};", f"(?i:&#x0*{ord(c):x};)"]
    return f"(?:{'|'.join([*forms, *([named] if named else []), re.escape(c)])})"
