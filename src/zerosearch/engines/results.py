"""Read the answer of a search service: its results, and boxes with direct answers.

Services send what they like: null, numbers and lists where text belongs, boxes of forms that nobody documented. A row
that says nothing is left out, and the page keeps the others; only an answer in which no row can be read is malformed.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from zerosearch.cleaning import plain
from zerosearch.episodes.protocol import one_line
from zerosearch.episodes.search import Document
from zerosearch.models.retry import AttemptError

MAX_BOX_CHARS = 1200  # a box is a glance: tables and forecasts end somewhere

_ELEMENTS = (
    "a abbr address article aside b bdi bdo blockquote body br button center cite code dd del details dfn dir div dl "
    "dt em embed figcaption figure font footer form frame h[1-6] head header hr html i iframe img input ins kbd label "
    "li  link main map mark menu meta nav nobr object ol option p param picture pre q rp rt ruby s samp script "
    "section  select small source span strike strong style sub summary sup svg table tbody td textarea tfoot th thead "
    "time  title tr tt u ul var video wbr"
)
_INLINE = "a|abbr|b|em|i|mark|s|small|span|strong|sub|sup|u|wbr"
# An attribute of a tag has a value: `a<b and c>d` is no tag, but arithmetic.
_REST = r"(?:\s+[\w:.-]+\s*=\s*(?:\"[^\"<>]*\"|'[^'<>]*'|[^\s\"'<>=]+))*\s*/?>"
_INLINE_TAG = re.compile(rf"</?(?:{_INLINE}){_REST}", re.IGNORECASE)
_TAG = re.compile(rf"<!--[^<>]*-->|</?(?:{'|'.join(_ELEMENTS.split())}){_REST}", re.IGNORECASE)

_ANSWERS = ("answer", "result", "population", "price", "temperature", "translation", "definitions", "definition", "to")
_PROSE = (
    "snippet",
    "description",
    "content",
    "text",
    "snippet_highlighted_words",
    "snippetHighlighted",
    "list",
    "table",
)
_NAMES = ("title", "name", "label", "infobox", "place", "word")
_UNSAID = re.compile(  # of a box: addresses, pictures, and what only programs need
    r"(?:^|_)(?:links?|urls?|images?|img|src|icons?|thumbnails?|ids?|kgmid|stick|position|favicon|serpapi|template|"
    r"engines?|audio|source|profiles|forecast|also|other|results|header|chips|token|parsed|type)(?:_|$)",
    re.IGNORECASE,
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_ADDRESS = re.compile(r"^(?:https?|data):|^//", re.IGNORECASE)
_DEPTH = 4


def plain_text(text: str) -> str:
    """`text` in one line, without HTML tags and with its entities written out.

    >>> plain_text("<b>Kathmandu</b> &amp; valley,<br>pop. &lt; 1M, a<b and c>d")
    'Kathmandu & valley, pop. < 1M, a<b and c>d'
    """
    return one_line(html.unescape(_TAG.sub(" ", _INLINE_TAG.sub("", text))))


def text_of(value: Any) -> str:
    """Text without control characters, or a number as text; empty for anything else, also for NaN.

    >>> text_of(2024), text_of(1.5), text_of(None), text_of(["x"])
    ('2024', '1.5', '', '')
    """
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    if isinstance(value, float):
        if not math.isfinite(value):
            return ""
        if value.is_integer() and abs(value) < 1e15:
            return str(int(value))
    return str(value)


def rows_of(answer: dict[str, Any], name: str, texts: Sequence[str], where: str) -> Iterator[dict[str, Any]]:
    """The objects in the list `answer[name]` that may be results; others are left out.

    Raises `AttemptError` of kind `malformed` where it is no list, or not one of its rows could be a result: an object
    whose first field of `texts` that is there holds text, a number or null.
    """
    rows = answer[name]
    if not isinstance(rows, list):
        raise malformed(where, f"{name} is no list of results")
    found = [row for row in rows if isinstance(row, dict) and _readable(row, texts)]
    if rows and not found:
        raise malformed(where, f"{name} holds no result that can be read")
    return iter(found)


def _readable(row: dict[str, Any], texts: Sequence[str]) -> bool:
    value = next((row[name] for name in texts if name in row), None)
    return value is None or isinstance(value, str | int | float)


def web_result(row: dict[str, Any], text: str, link: str) -> Document:
    """A result whose snippet stands in `text` and whose address, its id, in `link`."""
    title, snippet = (plain_text(text_of(row.get(name))) for name in ("title", text))
    return Document(title, snippet, one_line(text_of(row.get(link))))


def boxes(found: Any) -> Iterator[Document]:
    """The box above or beside the results, or a list of them, as documents; nothing where it holds no text.

    A box's text is its answer, then its prose, its lists and tables, then whatever else it names (`Capital: Lima`).
    """
    for box in found if isinstance(found, list) else [found]:
        if isinstance(box, dict):
            title = next((said for name in _NAMES if (said := plain_text(text_of(box.get(name))))), "")
            link = next((said for name in ("link", "url") if (said := text_of(box.get(name)))), "")
            yield Document(title, one_line(_box_text(box, title)[:MAX_BOX_CHARS]), one_line(link))
        elif said := plain_text(text_of(box)):
            yield Document("", said)


def google_results(answer: dict[str, Any], box_names: Sequence[str], rows_name: str, where: str) -> Iterator[Document]:
    """The boxes of an answer of Google's, then its results, in the form that SerpAPI and Serper share."""
    for name in box_names:
        yield from boxes(answer.get(name))
    if rows_name in answer:
        for row in rows_of(answer, rows_name, ("snippet",), where):
            yield web_result(row, "snippet", "link")


def _box_text(box: dict[str, Any], title: str) -> str:
    parts: list[str] = []
    kind = text_of(box.get("type"))
    if "_" not in kind and kind != kind.lower():  # "Country in South Asia", and not "organic_result"
        parts.append(plain_text(kind))
    ordered = [name for name in (*_ANSWERS, *_PROSE) if name in box]
    rest = [name for name in box if name not in ordered and name not in _NAMES]
    for name in (*ordered, *rest):
        said = _said(box[name], name if name in ordered else "", 0)
        if not said or (name in rest and _UNSAID.search(_CAMEL.sub("_", name))):
            continue
        if name in _ANSWERS[2:5] or (name in rest and name != "attributes"):
            said = f"{_CAMEL.sub(' ', name).replace('_', ' ')}: {said}"
        if not any(said in part for part in parts):
            parts.append(said)
    # an answer that the prose begins with is not said twice
    kept = [part for n, part in enumerate(parts) if not any(later.startswith(part) for later in parts[n + 1 :])]
    return _joined(part for part in kept if part != title or len(kept) == 1)


def _said(value: Any, name: str, depth: int) -> str:
    """What a value of a box says, in one line; empty for an address, and for what is nested too deep."""
    if depth > _DEPTH:
        return ""
    if isinstance(value, dict):
        if label := plain_text(text_of(value.get("label"))):  # SearXNG: {"label": "Capital", "value": "Lima"}
            return f"{label}: {said}" if (said := _said(value.get("value"), "", depth + 1)) else ""
        pairs = ((key, _said(inner, "", depth + 1)) for key, inner in value.items() if not _UNSAID.search(key))
        return ", ".join(
            said if key in ("text", "name", "title", "value") else f"{key}: {said}" for key, said in pairs if said
        )
    if isinstance(value, list):
        nested = depth == 0 and name not in (*_ANSWERS, *_PROSE)
        labelled = all(isinstance(item, dict) and "label" in item for item in value)
        items = value if not nested or labelled else [item for item in value if not isinstance(item, dict)]
        return ("; " if depth == 0 else ", ").join(filter(None, (_said(item, "", depth + 1) for item in items)))
    said = plain_text(text_of(value))
    return "" if _ADDRESS.match(said) else said


def _joined(parts: Iterable[str]) -> str:
    text = ""
    for part in parts:
        text += ("" if not text else " " if text[-1] in ".!?:;。！？" else ". ") + part
    return text


def malformed(where: str, what: str) -> AttemptError:
    return AttemptError("malformed", f"{where}: not the answer of this engine: {what}")
