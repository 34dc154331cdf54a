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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import lru_cache, partial
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
    found = list(_found(value, separator, whole=True))
    forms = {form for form, _ in found}
    texts = list(dict.fromkeys(text for _, text in found if text))
    if len(texts) == 1 and texts[0].lower() in ("true", "false"):
        forms.add("true or false")
        texts = ["yes" if texts[0].lower() == "true" else "no", texts[0]]
    if len(texts) == 1 and re.fullmatch(r"-?\d{1,15}\.0", texts[0]):
        forms.add("number")
        texts = [texts[0].removesuffix(".0"), texts[0]]
    return Answers(tuple(texts), frozenset(forms))


def _found(value: Any, separator: str | None, *, whole: bool = False, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Each text in `value`, after the form that it has; a form that only holds others comes with no text.

    `whole`: `value` is all that the field holds, not one item of several.
    """
    inner = partial(_found, separator=separator, depth=depth + 1)
    if depth > _DEEPEST:
        return
    if isinstance(value, bool):
        yield "true or false", "yes" if value else "no"
    elif isinstance(value, str):
        printed = read_printed(value.strip())
        if printed is None:
            yield from _parts(value.strip(), separator, whole=whole)
        else:
            yield "printed list", ""
            yield from inner(printed)
    elif isinstance(value, date):
        yield "date", value.isoformat()
    elif isinstance(value, (int, float, Decimal)) and math.isfinite(value):
        whole_number = isinstance(value, int) or (value == int(value) and -1e15 < value < 1e15)
        yield "number", str(int(value) if whole_number else value)
    elif isinstance(value, Mapping):
        yield "object", ""
        fields = {plain_name(name): field for name, field in value.items()}
        texts = [pair for name in _OF_OBJECT for pair in inner(fields.get(name), whole=whole)]
        yield from texts
        known = {normalize(text) for _, text in texts if text}
        normal = (pair for name in _NORMALISED for pair in inner(fields.get(name)))
        yield from (("object", text) for _, text in normal if text and normalize(text) not in known)
    elif isinstance(value, (list, tuple, set)):
        if depth == 0 and value:
            yield "list", ""
        for item in value:
            yield from inner(item)


def _parts(text: str, separator: str | None, *, whole: bool) -> Iterator[tuple[str, str]]:
    """The answers that a text joins."""
    if _PRINTED_LIST.match(text):
        raise ValueError(f"{text[:40]!r} begins like a printed list, but cannot be read as one")
    if separator:
        parts = text.split(separator) if whole else [text]
    else:
        parts = _CERTAIN.split(text)
        for mark in ("|", "\t"):
            if whole and len(parts) == 1 and mark in text and all(part.strip() for part in text.split(mark)):
                parts = text.split(mark)
    yield from (("joined text" if len(parts) > 1 else "text", part.strip()) for part in parts if part.strip())


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
        with_commas = _PIECE.sub(lambda m: ("None" if m[1] == "<NA>" else m[1]) + ("," if m[2] else ""), text)
        return _value(ast.parse(with_commas.strip(), mode="eval").body)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


_PIECE = re.compile(
    r"""([uU]?'(?:[^'\\]|\\.)*'|[uU]?"(?:[^"\\]|\\.)*"|<NA>|[\w.)\]}]+)(\s+(?=[\w'"(\[{<+-]))?""", re.DOTALL
)
"""A text, a name, a number or the end of a list; and the blank after it, where no comma stands before the next one."""
_NAMES = dict.fromkeys(("null", "nan", "NaN")) | {"true": True, "True_": True, "false": False, "False_": False}


def _value(node: ast.expr, depth: int = 0) -> Any:
    """Raises `ValueError` for what is no printed value."""
    if depth > _DEEPEST:
        raise ValueError("too deep")
    inner = partial(_value, depth=depth + 1)
    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None):
            return node.value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
            return [inner(item) for item in items]
        case ast.Dict(keys=keys, values=values):
            return {str(key and inner(key)): inner(value) for key, value in zip(keys, values, strict=True)}
        case ast.Call(args=[first, *_]):  # array(['a'], dtype=object), np.str_('a')
            return inner(first)
        case ast.Name(id=name) | ast.Attribute(attr=name) if name in _NAMES:
            return _NAMES[name]
    raise ValueError(ast.dump(node)[:40])
