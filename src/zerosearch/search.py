"""What passes between an episode and a search engine: a request out, a page of ranked documents back."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from zerosearch.questions import Question


class Quality(StrEnum):
    """What a simulator is asked for. Real engines ignore it."""

    USEFUL = "useful"
    NOISY = "noisy"


@dataclass(frozen=True)
class Document:
    """One result. `id` is the corpus's or a web page's address, empty where a simulator wrote the document."""

    title: str
    text: str
    id: str = ""


@dataclass(frozen=True)
class SearchRequest:
    """A query together with the very question it was asked for: the two are never parted.

    `seed` makes a simulated page a function of the request. `question` is None outside training.
    """

    query: str
    top_k: int
    question: Question | None = None
    quality: Quality = Quality.USEFUL
    seed: int = 0


@dataclass(frozen=True)
class SearchPage:
    """A result page. `seconds` is the time the engine took; `cost_usd` what it charged, all attempts included.

    `parsed` is False where a simulator's text did not have the form of a page and its documents were guessed. The
    tokens are those that a simulator read and wrote; 0 for other engines, and where a server does not tell.
    """

    documents: tuple[Document, ...]
    engine: str
    quality: Quality | None = None
    cached: bool = False
    seconds: float = 0.0
    cost_usd: float = 0.0
    attempts: int = 1
    parsed: bool = True
    prompt_tokens: int = 0
    completion_tokens: int = 0
