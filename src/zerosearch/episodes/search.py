"""What passes between an episode and a search engine: a request out, a page of ranked documents back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol, Self

from zerosearch.episodes.questions import Question
from zerosearch.episodes.scoring import contains_answer
from zerosearch.usage import NOTHING, Usage


class Quality(StrEnum):
    """What a simulator is asked for. Real engines ignore it."""

    USEFUL = "useful"
    NOISY = "noisy"


@dataclass(frozen=True)
class Document:
    """One result. `id` is the corpus's or a web page's address, empty if a simulator wrote the document."""

    title: str
    text: str
    id: str = ""


def holds_answer(documents: Iterable[Document], golden_answers: Sequence[str]) -> bool:
    """Whether one of the documents, its title included, holds a golden answer as whole normalised tokens."""
    return any(contains_answer(f"{d.title}: {d.text}", golden_answers) for d in documents)


def shows_answer(pages: Iterable[Iterable[Document]], question: Question) -> bool | None:
    """Whether one of the pages holds a golden answer; None where none can be said to (`Question.evident_answers`)."""
    answers = question.evident_answers
    return any(holds_answer(documents, answers) for documents in pages) if answers else None


@dataclass(frozen=True)
class SearchRequest:
    """A query together with its question.

    `seed` makes a simulated page a function of the request. `question` is None outside training.
    """

    query: str
    top_k: int
    question: Question | None = None
    quality: Quality = Quality.USEFUL
    seed: int = 0


@dataclass(frozen=True)
class SearchPage:
    """A result page. `seconds` is the time the engine took; `usage` a simulator's tokens and what the page cost, all
    attempts included.

    `parsed` is False if a simulator's text did not have the form of a page, so that its documents were guessed.
    `missed`: the engine replays recordings and has none for this query. `hit`: whether it was decided that the page
    contains a golden answer, before it was written; None: nothing was decided.
    """

    documents: tuple[Document, ...]
    engine: str
    quality: Quality | None = None
    cached: bool = False
    seconds: float = 0.0
    usage: Usage = NOTHING
    attempts: int = 1
    parsed: bool = True
    missed: bool = False
    hit: bool | None = None

    def again(self, seconds: float = 0.0) -> Self:
        """This page again, without asking the engine: it costs nothing, and took `seconds`."""
        return replace(self, cached=True, seconds=seconds, usage=Usage(), attempts=1)


class SearchEngine(Protocol):
    """Answers queries. `name` is short, for people. `identity` contains everything that pages depend on besides the
    request (`files/identity.py`): equal identities promise equal pages.

    Raises `zerosearch.errors.EngineError` once its retries and its deadline are used up.
    """

    @property
    def name(self) -> str: ...

    @property
    def identity(self) -> str: ...

    async def search(self, request: SearchRequest) -> SearchPage: ...


async def close_connections(part: object) -> None:
    """Close the connections of an engine, or of something in it, to servers; nothing where it holds none.

    Connections belong to an event loop: call it in the loop in which `part` was used, once nothing uses it any more.
    """
    aclose = getattr(part, "aclose", None)
    if aclose is not None:
        await aclose()
