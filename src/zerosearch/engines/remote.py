"""A retriever behind `/retrieve`, the HTTP protocol of Search-R1 and the trainers that follow it.

    engine = RemoteEngine(HttpOptions(url="http://localhost:8000/retrieve"))
    page = await engine.search(SearchRequest("capital of Nepal", top_k=3))

POST {"queries": [query], "topk": 3, "return_scores": true} is answered by one list of rows a query:

    {"result": [[{"document": {"id": "7", "contents": "\\"Nepal\\"\\nKathmandu is the capital."}, "score": 0.9}, ...]]}

Servers differ: without scores a row is the document itself, some send plain texts, some `title` and `text` instead of
(or besides) `contents`, some `content` or `passage`, and some one list for the one query. All of these are read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import httpx

from zerosearch.engines.results import malformed, text_of
from zerosearch.engines.web import HttpEngine
from zerosearch.episodes.protocol import one_line
from zerosearch.episodes.search import Document
from zerosearch.models.client import error_message
from zerosearch.models.retry import AttemptError

_TEXTS = ("text", "contents", "content", "passage")
_SAID = ("error", "detail", "message")


class RemoteEngine(HttpEngine):
    """See `HttpEngine`. `url` is the whole address; where it has no path, `/retrieve` is meant.

    Texts are kept as they are, but in one line: a corpus is not a web page.
    """

    kind = "remote"
    example_url = "http://localhost:8000/retrieve"

    def _address(self, url: httpx.URL) -> httpx.URL:
        return url if url.path.strip("/") else url.copy_with(path="/retrieve")

    async def _ask(self, query: str, top_k: int) -> Any:
        return await self._client.post({"queries": [query], "topk": top_k, "return_scores": True})

    def _read(self, answer: Any) -> Iterable[Document]:
        pages = answer.get("result") if isinstance(answer, dict) else None
        if pages is None and isinstance(answer, dict) and any(name in answer for name in _SAID):
            raise AttemptError("http", f"{self.name}: an error instead of a page: {error_message(answer)}")
        if isinstance(pages, list) and all(isinstance(row, dict) for row in pages):
            pages = [pages]  # there is one query: some servers leave the outer list out
        if not isinstance(pages, list) or len(pages) != 1 or not isinstance(pages[0], list):
            raise malformed(self.name, "result is not one list of documents for the one query")
        read = [self._document(row) for row in pages[0]]
        found = [document for document in read if isinstance(document, Document)]
        if read and not found:
            raise malformed(self.name, str(read[0]))
        return found

    def _document(self, row: Any) -> Document | str:
        """The document of a row, or what is wrong with it."""
        found = row.get("document", row) if isinstance(row, dict) else row
        if isinstance(found, str):
            return _from_contents(found, "")
        if not isinstance(found, dict):
            return f"a document is {type(found).__name__}"
        field = next((name for name in _TEXTS if name in found), None)
        if field is None:
            return f"a document has no {', '.join(_TEXTS)}, but {one_line(', '.join(found))[:80] or 'nothing'}"
        if not isinstance(found[field], str | int | float | None):
            return f"{field} of a document is {type(found[field]).__name__}, not text"
        name, title, contents = (text_of(found.get(part)) for part in ("id", "title", field))
        name, title = one_line(name), one_line(title)
        if field == "text":
            return Document(title, one_line(contents), name)
        document = _from_contents(contents, name)
        return Document(title, one_line(contents), name) if title not in ("", document.title) else document


def _from_contents(contents: str, name: str) -> Document:
    """`"Nepal"` and a line end, then the text; one line alone is a text without a title."""
    title, line_end, text = contents.lstrip().partition("\n")
    title, text = one_line(title), one_line(text)
    quoted = len(title) > 1 and title[0] == title[-1] == '"'
    if not line_end or not (text or quoted):
        return Document("", title, name)
    return Document(title[1:-1] if quoted else title, text, name)
