"""Result pages in the formats that trainers read. Pure functions.

Texts are data here: a document with tags or scripts in it goes out as the text that it is. Line ends and control
characters are gone by then (`plain`). Whoever puts it into a prompt neutralises it (`Episode` does).
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

from zerosearch.cleaning import clean
from zerosearch.episodes.protocol import one_line
from zerosearch.episodes.search import Document, SearchPage

Knowing = Literal["real", "blind", "question"]
"""Where pages come from: a real engine; a simulator that was not told the question; one that knows it."""

NOTES: dict[Knowing, str] = {
    "real": "a real engine: pages depend on the query alone",
    "blind": "simulated without the question: the simulator does not know what the query is asked for, nor the answer. "
    "POST /episodes, then /e/<id>/retrieve, for pages that do",
    "question": "simulated for the episode's question",
}


def about(engine: str, knowing: Knowing) -> dict[str, str]:
    """What every answer says of its pages, in a field that clients of `/retrieve` do not look at."""
    return {"engine": engine, "pages": knowing, "note": NOTES[knowing]}


def plain(document: Document) -> Document:
    """The document without line ends and control characters: an ESC would speak to somebody's terminal."""
    return Document(*(one_line(clean(part)) for part in (document.title, document.text, document.id)))


def retrieve_rows(page: SearchPage, *, scores: bool) -> list[dict[str, Any]]:
    """A page as Search-R1's server gives it: `{"id", "contents": '"Title"\\ntext'}`, the best first.

    With `scores` each row is `{"document": ..., "score": ...}`. Pages have an order and no scores of their own: a score
    is 1 / rank. A document without an id of its own gets one from its text.

    Source: Search-R1 `search_r1/search/retrieval_server.py`.
    """
    rows = []
    for rank, document in enumerate(page.documents, start=1):
        name = document.id or hashlib.sha1(f"{document.title}\n{document.text}".encode()).hexdigest()[:16]
        row: dict[str, Any] = {"id": name, "contents": f'"{document.title}"\n{document.text}'}
        rows.append({"document": row, "score": 1 / rank} if scores else row)
    return rows


def serpapi_answer(query: str, page: SearchPage, request_id: str) -> dict[str, Any]:
    """A page as SerpAPI gives Google's. One that finds nothing has an `error`, and status Success, as there.

    Source: serpapi.com/search-api and /organic-results.
    """
    results = [
        {
            "position": rank,
            "title": document.title,
            "snippet": document.text,
            **({"link": document.id} if document.id.startswith(("http://", "https://")) else {}),
        }
        for rank, document in enumerate(page.documents, start=1)
    ]
    found: dict[str, Any] = {"organic_results": results}
    if not results:
        found["error"] = "Google hasn't returned any results for this query."
    state = "Results for exact spelling" if results else "Fully empty"
    return {
        "search_metadata": {"id": request_id, "status": "Success", "total_time_taken": round(page.seconds, 3)},
        "search_parameters": {"engine": "google", "q": query},
        "search_information": {"query_displayed": query, "organic_results_state": state},
        **found,
    }


def page_text(page: SearchPage) -> str:
    """A page as plain text for a model: `[1] Title: text`, a line a document."""
    lines = [f"[{rank}] {f'{d.title}: ' if d.title else ''}{d.text}" for rank, d in enumerate(page.documents, start=1)]
    return "\n".join(lines) or "No results."
