"""Pages that an engine gives for queries, as rows of a file (`engines/page_rows.py`).

Such a file, or search traces from elsewhere, is what `label` takes beside (or instead of) a collection, and what the
`recorded` engine replays. Recorded deeper than a policy sees, a page also says what the engine ranks next: what a noisy
page for that query looks like.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from zerosearch.engines.page_rows import RecordedPage, parse_page_row, with_question
from zerosearch.engines.snippets import cut
from zerosearch.episodes.questions import Question
from zerosearch.episodes.rollout import ErrorRate
from zerosearch.episodes.search import SearchEngine, SearchRequest
from zerosearch.episodes.tasks import for_each
from zerosearch.errors import DataError, EngineError
from zerosearch.files.formats import read_jsonl
from zerosearch.files.identity import differences
from zerosearch.files.jsonl import append_jsonl, read_rows


@dataclass(frozen=True)
class Query:
    """A query as it was asked, with the question it was asked for; `turn` counts the searches before it."""

    text: str
    question: Question
    turn: int = 0


def read_recorded_pages(path: Path, *, snippet_words: int | None = None) -> tuple[list[RecordedPage], int]:
    """The pages of a file whose rows have a question and its golden answers, and how many rows have none.

    `snippet_words` cuts the documents as `engine.snippet_words` does. Raises `DataError`, naming the line, for rows
    that are no recordings.
    """
    pages, without = [], 0
    for where, row in read_jsonl(path):
        page = with_question(parse_page_row(row, where), row, where)
        if page is None:
            without += 1
            continue
        if snippet_words is not None:
            page = replace(page, documents=tuple(cut(d, page.query, snippet_words) for d in page.documents))
        pages.append(page)
    return pages, without


@dataclass
class Recorded:
    """`recorded` of `total` queries are in the file, those of earlier calls included; `failed` this time.

    `missed`: the engine is itself a recording, which has no page for them. `nothing`: the engine found nothing for
    them; their pages are recorded, and empty.
    """

    recorded: int
    total: int
    failed: int = 0
    missed: int = 0
    nothing: int = 0


@dataclass(frozen=True)
class RecordSettings:
    """`depth` documents are asked for a query, `concurrency` queries at a time."""

    depth: int = 20
    concurrency: int = 16


async def record(
    queries: Sequence[Query],
    engine: SearchEngine,
    path: Path,
    errors: ErrorRate,
    settings: RecordSettings = RecordSettings(),
    report: Callable[[Recorded], None] = lambda progress: None,
) -> Recorded:
    """Ask `engine` each query and append what it gives to `path`.

    A query that the file holds for the same question is not asked again; one whose search fails is left out, and asked
    by the next call. Raises `DataError` where the file holds pages of another engine (another identity), and what ends
    a run: a budget, or too many failures; the pages so far are then in the file.
    """
    held = set(_held(path, engine))
    total = {(q.question.id, q.text): q for q in queries}
    wanted = [query for key, query in total.items() if key not in held]
    done, asked = Recorded(len(total) - len(wanted), len(total)), 0

    async def ask(query: Query) -> RecordedPage | None:
        try:
            page = await engine.search(SearchRequest(query.text, settings.depth, query.question))
        except EngineError as error:
            done.failed += 1
            errors.failure(error)
            return None
        errors.found(page)
        if page.missed:  # then there is no page to record
            done.missed += 1
            return None
        done.nothing += not page.documents
        return RecordedPage(query.text, page.documents, engine.name, engine.identity, query.question, query.turn)

    def keep(found: RecordedPage | None) -> None:
        nonlocal asked
        asked += 1
        if found is not None:
            append_jsonl(path, found.as_row())
            done.recorded += 1
        if asked % 500 == 0:
            report(done)

    await for_each(wanted, ask, keep, limit=settings.concurrency)
    return done


def _held(path: Path, engine: SearchEngine) -> Iterator[tuple[str, str]]:
    """Question and query of each row of `path`. Raises `DataError` for rows that `engine` did not give."""
    for number, row in enumerate(read_rows(path), start=1):
        if "labels" in row or not all(isinstance(row.get(name), str) for name in ("id", "query")):
            raise DataError(f"{path}:{number}: not a row that `zerosearch record` wrote; take another --out")
        theirs = row.get("identity")
        if theirs != engine.identity:
            what = ", ".join(differences(str(theirs), engine.identity)) if theirs else "an engine that is not recorded"
            raise DataError(
                f"{path}: holds pages of another engine than {engine.name} as it is now ({what}); take another --out"
            )
        yield row["id"], row["query"]
