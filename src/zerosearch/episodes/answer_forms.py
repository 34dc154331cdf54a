"""Golden answers from the forms that data sets keep them in: text, list, object, number, true or false, printed list.

>>> read_answers("['Lima' 'City of Kings']").texts       # a numpy array that went through a CSV
('Lima', 'City of Kings')
>>> read_answers({"value": "Lima", "aliases": ["Lima", "Lima, Peru"]}).texts
('Lima', 'Lima, Peru')
>>> read_answers(True).texts
('yes',)
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Any

from zerosearch.episodes.scoring import normalize

_DEEPEST = 8
_OF_OBJECT = (
    "value", "text", "texts", "answer", "answers", "goldenanswers", "target", "targets", "groundtruth", "spans",
    "number", "shortanswers", "aliases", "answeraliases", "humananswers",
)  # fmt: skip
"""Fields of an object that hold answers: of TriviaQA, SQuAD, KILT, DROP, MuSiQue and Search-R1."""
_NORMALISED = ("normalizedvalue", "normalizedaliases")
_PRINTED_LIST = re.compile(r"""(?:[A-Za-z_.]+\(\s*)?\[\s*u?(?:'|"|np\.str_\(|array\()""")
_PRINTED_OTHER = re.compile(r"""array\(\s*[\[(]|[A-Za-z_.]+\(\s*[\[({]\s*u?['"]|\(\s*u?['"]|\{\s*u?['"]""")
_PRINTED_BY_PANDAS = re.compile(r"<\w+>\s*(\[.*\])\s*Length: \d+, dtype: .*", re.DOTALL)
_CERTAIN = re.compile(r"\|\||<\|[A-Za-z_ ]+\|>|<sep>|\[SEP\]")
"""What separates answers wherever it stands; a single | or a tab does so only in a text that is the whole field."""


@dataclass(frozen=True)
class Answers:
    """Golden answers, each once, and the names of the forms they were found in."""

    texts: tuple[str, ...] = ()
    forms: frozenset[str] = frozenset()


@lru_cache(maxsize=4096)
def plain_name(name: str) -> str:
    """A field's name without capitals, blanks, hyphens and underscores: `Answer_Aliases` becomes `answeraliases`."""
    return re.sub(r"[\s_-]", "", str(name)).lower()


def read_answers(value: Any, *, separator: str | None = None) -> Answers:
    """The golden answers in `value`, in its order.

    Null, NaN and empty texts are no answers. `separator` splits a text that is the whole field (or the only item of
    its list); without it, `||`, `|`, a tab, `<sep>`, `[SEP]` and `<|words|>` do. A number is written without a needless
    `.0`; true and false become yes and no, and the lone texts True, False and 7.0 are right as yes, no and 7 too.

    Raises `ValueError` for a text that begins like a printed list and is none: one cut off, say.
    """
    if isinstance(value, (list, tuple)) and len(value) == 1 and isinstance(value[0], str) and separator:
        value = value[0]
    found = _Found(separator)
    found.add(value, whole=True)
    texts = list(dict.fromkeys(found.texts))
    if len(texts) == 1 and texts[0].lower() in ("true", "false"):
        found.forms.append("true or false")
        texts = ["yes" if texts[0].lower() == "true" else "no", texts[0]]
    if len(texts) == 1 and re.fullmatch(r"-?\d{1,15}\.0", texts[0]):
        found.forms.append("number")
        texts = [texts[0].removesuffix(".0"), texts[0]]
    return Answers(tuple(texts), frozenset(found.forms))


@dataclass
class _Found:
    separator: str | None
    texts: list[str] = field(default_factory=list)
    forms: list[str] = field(default_factory=list)

    def add(self, value: Any, *, whole: bool = False, depth: int = 0) -> None:
        """`whole`: `value` is all that the field holds, not one item of several."""
        if depth > _DEEPEST:
            return
        if isinstance(value, bool):
            self._take(["yes" if value else "no"], "true or false")
        elif isinstance(value, str):
            self._add_text(value.strip(), whole, depth)
        elif isinstance(value, (int, float, Decimal, date)):
            self._take(_written(value), "number" if not isinstance(value, date) else "date")
        elif isinstance(value, Mapping):
            self.forms.append("object")
            fields = {plain_name(name): inner for name, inner in value.items()}
            for name in _OF_OBJECT:
                self.add(fields.get(name), whole=whole, depth=depth + 1)
            known = {normalize(text) for text in self.texts}
            more = _Found(self.separator)
            for name in _NORMALISED:
                more.add(fields.get(name), depth=depth + 1)
            self.texts += [text for text in more.texts if normalize(text) not in known]
        elif isinstance(value, (list, tuple, set)):
            if depth == 0 and value:
                self.forms.append("list")
            for item in value:
                self.add(item, depth=depth + 1)

    def _add_text(self, text: str, whole: bool, depth: int) -> None:
        printed = read_printed(text)
        if printed is not None:
            self.forms.append("printed list")
            self.add(printed, depth=depth + 1)
            return
        if _PRINTED_LIST.match(text):
            raise ValueError(f"{text[:40]!r} begins like a printed list, but cannot be read as one")
        if self.separator:
            parts = text.split(self.separator) if whole else [text]
        else:
            parts = _CERTAIN.split(text)
            for mark in ("|", "\t"):
                if whole and len(parts) == 1 and mark in text and all(part.strip() for part in text.split(mark)):
                    parts = text.split(mark)
        self._take(parts, "text" if len(parts) == 1 else "joined text")

    def _take(self, texts: Iterable[str], form: str) -> None:
        kept = [text for text in (part.strip() for part in texts) if text]
        if kept:
            self.texts += kept
            self.forms.append(form)


def _written(value: float | Decimal | date) -> list[str]:
    if isinstance(value, date):
        return [value.isoformat()]
    if not math.isfinite(value):
        return []
    whole = isinstance(value, int) or (value == int(value) and -1e15 < value < 1e15)
    return [str(int(value)) if whole else str(value)]


def read_printed(text: str) -> Any:
    """What Python, numpy, pandas or JSON printed as `text`: a list, tuple, set, array or object. None where it is none.

    `ast.literal_eval` would not do: in numpy's print no comma stands between the texts, which Python then joins.
    """
    if of_pandas := _PRINTED_BY_PANDAS.fullmatch(text):
        text = of_pandas[1]
    if not text.startswith("[") and not _PRINTED_OTHER.match(text):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return _Printed(text).read()
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


_WORDS = {"None": None, "null": None, "nan": None, "NaN": None, "<NA>": None} | dict.fromkeys(
    ("True", "true", "np.True_"), True
) | dict.fromkeys(("False", "false", "np.False_"), False)  # fmt: skip
_TOKEN = re.compile(
    r"""\s*(?:
    (?P<text>[uU]?(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"))
    |(?P<number>[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?(?![\w.]))
    |(?P<call>(?:[A-Za-z_]+\.)*(?:array|[A-Za-z_]+\d*_?)\()
    |(?P<word>[\w.<>]+)
    |(?P<mark>[\[\](){},:=])
    )""",
    re.VERBOSE | re.DOTALL,
)
_CLOSING = {"[": "]", "(": ")", "{": "}"}


class _Printed:
    """A reader of printed values; every method raises `ValueError` at what it does not know."""

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(text.rstrip()):
            match = _TOKEN.match(text, at)
            if match is None:
                raise ValueError(at)
            self._tokens.append((str(match.lastgroup), match[str(match.lastgroup)]))
            at = match.end()
        self._next = 0

    def read(self) -> Any:
        value = self._value(0)
        if self._next < len(self._tokens):
            raise ValueError("more text")
        return value

    def _token(self) -> tuple[str, str]:
        if self._next >= len(self._tokens):
            raise ValueError("cut off")
        self._next += 1
        return self._tokens[self._next - 1]

    def _value(self, depth: int) -> Any:
        kind, token = self._token()
        if depth > _DEEPEST:
            raise ValueError("too deep")
        if kind == "text":
            return ast.literal_eval(token)
        if kind == "number":
            return int(token) if re.fullmatch(r"[-+]?\d{1,300}", token) else float(token)
        if kind == "call":  # array(['a'], dtype=object), np.str_('a')
            value = self._value(depth + 1)
            while self._token() != ("mark", ")"):
                pass
            return value
        if kind == "mark" and token in _CLOSING:
            return self._items(_CLOSING[token], depth + 1)
        if kind == "word" and token in _WORDS:
            return _WORDS[token]
        raise ValueError(token)

    def _items(self, closing: str, depth: int) -> Any:
        items: list[Any] = []
        named: dict[Any, Any] = {}
        while self._tokens[self._next : self._next + 1] != [("mark", closing)]:
            item = self._value(depth)
            following = self._tokens[self._next : self._next + 1]
            if closing == "}" and following == [("mark", ":")]:
                self._next += 1
                named[str(item)] = self._value(depth)
                following = self._tokens[self._next : self._next + 1]
            else:
                items.append(item)
            if following == [("mark", ",")]:
                self._next += 1
        self._next += 1
        return named or items
