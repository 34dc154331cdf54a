"""What passes between an episode and a search engine: a request out, a page of ranked documents back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal, Protocol, Self

from zerosearch.episodes.questions import Question
from zerosearch.episodes.scoring import contains_answer
from zerosearch.usage import NOTHING, Usage


class Quality(StrEnum):
    """What a simulator is asked for. Real engines ignore it."""

    USEFUL = "useful"
    NOISY = "noisy"


class Noise(StrEnum):
    """What a noisy document is. `PLAIN` is the paper's: asked for by the word *noisy* alone."""

    PLAIN = "plain"
    OFF_TOPIC = "off-topic"
    NEAR_MISS = "near-miss"
    OUTDATED = "outdated"
    CONTRADICTING = "contradicting"


DocumentKind = Literal[Quality.USEFUL] | Noise
PageQuality = Quality | Literal["mixed"]


def page_quality(kinds: Iterable[DocumentKind]) -> PageQuality:
    """`useful` or `noisy` where all documents are, else `mixed`; a page of no documents is useful."""
    qualities = {Quality.USEFUL if kind is Quality.USEFUL else Quality.NOISY for kind in kinds}
    if len(qualities) > 1:
        return "mixed"
    return qualities.pop() if qualities else Quality.USEFUL


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

    `seed` makes a simulated page a function of the request. `question` is None outside training. `kinds` requests a
    kind for each of the `top_k` documents; without it (the paper's pages) all are of `quality`.

    Raises `ValueError` where `kinds` are not `top_k` many, or do not make a page of this `quality`.
    """

    query: str
    top_k: int
    question: Question | None = None
    quality: PageQuality = Quality.USEFUL
    seed: int = 0
    kinds: tuple[DocumentKind, ...] = ()

    def __post_init__(self) -> None:
        if self.kinds and len(self.kinds) != self.top_k:
            raise ValueError(f"{len(self.kinds)} kinds for a page of {self.top_k} documents")
        if (self.kinds or self.quality == "mixed") and page_quality(self.kinds) != self.quality:
            raise ValueError(f"these kinds do not make a page that is {self.quality}: {', '.join(self.kinds)}")

    @property
    def asked(self) -> tuple[DocumentKind, ...]:
        """The requested kind of each document, `top_k` long."""
        return self.kinds or (Quality.USEFUL if self.quality == Quality.USEFUL else Noise.PLAIN,) * self.top_k


@dataclass(frozen=True)
class SearchPage:
    """A result page. `seconds` is the time the engine took; `usage` a simulator's tokens and what the page cost, all
    attempts included.

    `parsed` is False if a simulator's text did not have the form of a page, so that its documents were guessed. `asked`
    is the requested kind of each document of a simulated page; if `parsed` is False it is matched by order. `missed`:
    the engine replays recordings and has none for this query. `hit`: whether it was decided that the page contains a
    golden answer, before it was written; None: nothing was decided.
    """

    documents: tuple[Document, ...]
    engine: str
    quality: PageQuality | None = None
    cached: bool = False
    seconds: float = 0.0
    usage: Usage = NOTHING
    attempts: int = 1
    parsed: bool = True
    asked: tuple[DocumentKind, ...] = ()
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
