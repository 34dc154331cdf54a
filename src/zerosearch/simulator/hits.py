"""Predict whether an engine's page for a query would contain the answer, from question and query.

    predictor = HitPredictor.open("hits.json")             # `zerosearch tune --by hits` makes it; `default` ships
    predictor.probability(Asked(question, query, bridge="Jane Austen"))
    predictor.decide(Asked(question, query, bridge="Jane Austen"))         # True: the page shall hold the answer

A logistic regression over a few features of question and query. A draw belongs to the question, and not to the words of
the query: who rewords a query that missed draws no second lot.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import Stemmer

from zerosearch.engines.lexical import tokenize
from zerosearch.engines.scripts import spaced
from zerosearch.episodes.questions import Question
from zerosearch.episodes.scoring import contains_answer, normalize
from zerosearch.episodes.seeds import derive_seed
from zerosearch.episodes.shared_pages import same_query
from zerosearch.errors import DataError
from zerosearch.files.identity import digest_of
from zerosearch.files.jsonl import read_object, write_json

DEFAULT = "default"
"""The predictor that comes with the package."""
VERSION = 1
QueryKind = Literal["whole", "part", "whole_multi_hop", "first_hop", "second_hop", "beside"]
KINDS: tuple[QueryKind, ...] = get_args(QueryKind)

_WHOLE = 0.75  # of the question's words, from which on a query is the whole question
_NAMED = 0.5  # of the bridge's words
_NAME = re.compile(r"(?<!\w)[A-Z0-9][\w'’-]*")
_ASKING_WORDS = (
    "who what when where which whose whom how why did do doe does has have had were am can could would name many much "
    "whi wa he her his him she you your their them they from after befor into about also been"
)
_ASKING = frozenset(_ASKING_WORDS.split())
_STEMMER = Stemmer.Stemmer("english")
_WH = ("who", "when", "where", "how many")


@dataclass(frozen=True)
class Asked:
    """A query and what it was asked for.

    `bridge` is what the first of two hops finds. Where it is not known, `earlier` (the pages that the episode has seen,
    as text) says what a query may have been told.
    """

    question: Question
    query: str
    bridge: str = ""
    earlier: str = ""


def stems(text: str) -> frozenset[str]:
    """The stemmed words of a text, without stop words and words that only ask.

    >>> sorted(stems("Where was the director of Emma born?"))
    ['born', 'director', 'emma']
    """
    (words,) = tokenize([spaced(text)], _STEMMER, return_ids=False)
    return frozenset(words) - _ASKING


def anchors(question: str) -> frozenset[str]:
    """The words of what a question names: those with a capital letter, else all that `stems` leaves."""
    _, _, rest = question.partition(" ")  # the first word has its capital anyway
    return stems(" ".join(_NAME.findall(rest))) or stems(question)


@dataclass(frozen=True)
class _Words:
    """The words of one `Asked`: what all features are made from."""

    question: frozenset[str]
    query: frozenset[str]
    anchors: frozenset[str]
    several: bool
    hop: bool

    @classmethod
    def of(cls, asked: Asked) -> _Words:
        question, query = stems(asked.question.text), stems(asked.query)
        named = anchors(asked.question.text)
        told = stems(asked.bridge) if asked.bridge else stems(" ".join(_NAME.findall(asked.earlier)))
        new = (told - question) & query
        enough = len(new) >= _NAMED * len(told - question) if asked.bridge else True
        several = (asked.question.hops or 1) > 1
        return cls(question, query, named, several, bool(new) and enough and several)

    @property
    def coverage(self) -> float:
        return _share(self.question & self.query, self.question)

    @property
    def anchored(self) -> float:
        return _share(self.anchors & self.query, self.anchors)


def kind_of(asked: Asked) -> QueryKind:
    """What a query is: the `whole` question or a `part` of it, where it takes one hop; the whole question, a
    `first_hop` (what it names), or a `second_hop` (names the bridge) where it takes several; `beside` the point.
    """
    return _kind(_Words.of(asked))


def _kind(words: _Words) -> QueryKind:
    if words.hop:
        return "second_hop"
    if words.coverage >= _WHOLE:
        return "whole_multi_hop" if words.several else "whole"
    if not words.anchors & words.query:
        return "beside"
    return "first_hop" if words.several else "part"


def features(asked: Asked) -> dict[str, float]:
    """The features by name, each about between 0 and 1."""
    answers = asked.question.golden_answers
    words, golds = _Words.of(asked), [normalize(answer) for answer in answers]
    answer = min((stems(gold) for gold in golds), key=len, default=frozenset())
    kind, text = _kind(words), asked.question.text.lower()
    made = {f"is {name}": float(kind == name) for name in KINDS}
    made |= {
        "coverage": words.coverage,
        "coverage, several hops": words.coverage * words.several,
        "anchored": words.anchored,
        "anchored, several hops": words.anchored * words.several,
        "new words": _share(words.query - words.question, words.query),
        "asks, second hop": _share(words.query & words.question, words.query) * words.hop,
        "query holds the answer": float(contains_answer(asked.query, answers)),
        "query shares words with the answer": _share(answer & words.query, answer),
        "question names the answer": float(contains_answer(asked.question.text, answers)),
        "query length": math.log1p(len(words.query)) / 3,
        "question length": math.log1p(len(words.question)) / 3,
        "answer length": math.log1p(min((len(gold.split()) for gold in golds), default=0)) / 2,
        "answers": math.log1p(len(golds)) / 2,
        "answer has a digit": float(any(c.isdigit() for gold in golds for c in gold)),
        "answer in brackets": float(any("(" in answer for answer in answers)),
        "several hops, question length": words.several * math.log1p(len(words.question)) / 3,
    }
    return made | {f"asks {wh}": float(re.search(rf"\b{wh}\b", text) is not None) for wh in _WH}


def _share(some: frozenset[str], of: frozenset[str]) -> float:
    return len(some) / len(of) if of else 0.0


@dataclass(frozen=True)
class HitPredictor:
    """`weights` by the names of `features`, and `bias`. `recorded`: by question (`question_key`) the queries whose page
    is known, and whether it held the answer. `made`: what it was fitted on, and what came of it.
    """

    bias: float
    weights: Mapping[str, float]
    recorded: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)
    made: Mapping[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """A digest of all that decisions depend on."""
        return digest_of([VERSION, self.bias, sorted(self.weights.items()), self.recorded])

    def probability(self, asked: Asked) -> float:
        """That the page holds an answer, in [0, 1]; where the query or one of the same words was recorded, 0 or 1."""
        known = self._known(asked)
        if known is not None:
            return float(known)
        score = self.bias + sum(self.weights.get(name, 0.0) * value for name, value in features(asked).items())
        return float(1 / (1 + np.exp(-score)))

    def decide(self, asked: Asked) -> bool:
        """Whether the page shall hold the answer. Depends on question and query alone, whoever asks and when.

        All queries of a question have one draw, but second hops, which have another: what is sooner found is found
        where the less likely is, and rewording changes nothing but the probability.
        """
        return draw(asked) < self.probability(asked)

    def _known(self, asked: Asked) -> bool | None:
        queries = self.recorded.get(question_key(asked.question)) if self.recorded else None
        if not queries:
            return None
        exact = queries.get(same_query(asked.query))
        if exact is not None:
            return exact
        words = stems(asked.query)
        return next((hit for query, hit in queries.items() if words and stems(query) == words), None)

    def save(self, path: Path) -> None:
        """Write the predictor as JSON."""
        row = {"hits": VERSION, "bias": self.bias, "weights": dict(self.weights), "recorded": self.recorded}
        write_json(path, {**row, "made": dict(self.made)})

    @classmethod
    def open(cls, source: str) -> HitPredictor:
        """From a file that `save` wrote, or `default`. Raises `DataError` for anything else."""
        if source == DEFAULT:
            return cls._read(json.loads((files("zerosearch.simulator") / "hits.json").read_text("utf-8")), source)
        path = Path(source).expanduser()
        if not path.is_file():
            raise DataError(f"engine.simulated.hits: {source}: no such file (zerosearch tune --by hits makes one)")
        return cls._read(read_object(path), source)

    @classmethod
    def _read(cls, row: Any, source: str) -> HitPredictor:
        try:
            if row["hits"] != VERSION:
                raise DataError(f"{source}: a hit predictor of version {row['hits']}; this release reads {VERSION}")
            weights = {str(name): float(weight) for name, weight in row["weights"].items()}
            recorded = {str(key): {str(q): bool(hit) for q, hit in of.items()} for key, of in row["recorded"].items()}
            return cls(float(row["bias"]), weights, recorded, row.get("made") or {})
        except (KeyError, TypeError, ValueError, AttributeError):
            raise DataError(f"{source}: no hit predictor (zerosearch tune --by hits makes one)") from None


def question_key(question: Question) -> str:
    """What a question is known by in `recorded`: its text, whatever its id."""
    return digest_of(" ".join(normalize(question.text).split()))[:16]


def chance(question: Question, *, second_hop: bool) -> float:
    """The question's draw in [0, 1)."""
    return min(derive_seed("hit", question.id, "second hop" if second_hop else "") / 2**63, 1 - 2**-53)


def draw(asked: Asked) -> float:
    """The draw in [0, 1) that a query has: below the probability it hits."""
    return chance(asked.question, second_hop=kind_of(asked) == "second_hop")


def matrix(rows: Sequence[Mapping[str, float]], names: Sequence[str]) -> npt.NDArray[np.float64]:
    """Features as an array (rows, names); a feature that a row lacks is 0."""
    return np.array([[row.get(name, 0.0) for name in names] for row in rows], dtype=np.float64)
