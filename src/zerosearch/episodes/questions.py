"""Questions with golden answers: read from files of all usual forms or from a hub data set, and known by a digest."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, count
from pathlib import Path
from typing import Any

from zerosearch.episodes.question_rows import Fields as Fields
from zerosearch.episodes.question_rows import QuestionRow, read_chain, read_row
from zerosearch.episodes.scoring import contains_answer, each_answer, normalize
from zerosearch.errors import ConfigError, DataError, first_line, install
from zerosearch.files.formats import read_file

log = logging.getLogger(__name__)

_YES_OR_NO = ("yes", "no", "true", "false")
_BARE = re.compile(r"[\d\s.,-]*|(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)", re.IGNORECASE)
"""A number and nothing else."""


@dataclass(frozen=True)
class Question:
    """One question. `golden_answers` contains every accepted answer, including aliases.

    It is empty only if the answer is unknown (`Question.asked`): such a question scores 0 and is never used for
    training. If the data has them: `hops`, the number of facts that the answer needs; `facts`, one sentence for each
    hop; `bridge`, the entity that the first of two hops finds.
    """

    id: str
    text: str
    golden_answers: tuple[str, ...]
    hops: int | None = field(default=None, compare=False)
    bridge: str = field(default="", compare=False)
    facts: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.golden_answers, tuple):  # a list, or one text, of a program that nobody type-checks
            object.__setattr__(self, "golden_answers", each_answer(self.golden_answers))

    @property
    def yes_or_no(self) -> bool:
        """Whether the answer is yes or no, a word that any page can contain by chance."""
        answers = self.golden_answers
        return bool(answers) and all(answer.strip().lower() in _YES_OR_NO for answer in answers)

    @property
    def evident_answers(self) -> tuple[str, ...]:
        """The golden answers that can be looked for in a page: not yes, no or a bare number, which many pages contain
        by chance."""
        normal = [(answer, normalize(answer)) for answer in self.golden_answers]
        return tuple(answer for answer, plain in normal if plain not in _YES_OR_NO and not _BARE.fullmatch(plain))

    @property
    def compares(self) -> bool:
        """Whether it asks which of two things that it names, or yes or no."""
        return self.yes_or_no or contains_answer(self.text, self.golden_answers)

    @property
    def compared_facts(self) -> tuple[str, ...]:
        """What its data states of each thing that it compares; empty where it compares nothing, or that is unknown."""
        return self.facts if len(self.facts) > 1 and not self.bridge and self.compares else ()

    @classmethod
    def asked(cls, text: str) -> Question:
        """A user's question, without golden answers. Raises `DataError` if it is empty or contains half a character."""
        text = " ".join(text.removeprefix("\ufeff").split())  # a byte order mark, of a file that was piped in
        if not text:
            raise DataError("the question is empty")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise DataError("the question holds half a character (a byte that is not UTF-8)") from None
        return cls(_stable_id(text, ()), text, ())

    def as_dict(self) -> dict[str, Any]:
        """Id, text and answers, which identify the question (see `questions_digest`)."""
        return {"id": self.id, "question": self.text, "golden_answers": list(self.golden_answers)}

    def as_row(self) -> dict[str, Any]:
        """`as_dict`, with hops, bridge and facts if they are known: the form in files of trajectories and pages."""
        known = {"hops": self.hops, "bridge": self.bridge, "facts": list(self.facts)}
        return self.as_dict() | {name: value for name, value in known.items() if value}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Question:
        """What `as_row` wrote. Raises `KeyError` or `TypeError` for anything else."""
        hops, (bridge, facts) = row.get("hops"), read_chain(row)
        texts = (row["id"], row["question"], *row["golden_answers"])
        if isinstance(row["golden_answers"], str) or not all(isinstance(text, str) for text in texts):
            raise TypeError("a question whose id, text or answers are no texts")
        known = hops if type(hops) is int else None
        return cls(row["id"], row["question"], tuple(row["golden_answers"]), known, bridge, facts)


def load_questions(
    source: str | Path, *, limit: int | None = None, fields: Fields | None = None, answered: bool = True
) -> list[Question]:
    """Read the questions of `source`: a file of any usual form, or `hub:NAME[:CONFIG]:SPLIT` (docs/data.md).

    `limit` takes the first ones, `fields` has the names of the fields of a row, and `answered=False` also takes
    questions without golden answers. Skipped and changed rows are logged as warnings. Raises `DataError` and
    `ConfigError` as `read_questions` does.
    """
    reading = read_questions(source, limit=limit, fields=fields, answered=answered)
    for note in reading.notes():
        log.warning("%s: %s", source, note)
    return reading.questions


def read_questions(
    source: str | Path, *, limit: int | None = None, fields: Fields | None = None, answered: bool = True
) -> Reading:
    """Read questions from `source`, and note what was understood.

    `source` is a file that `formats.read_file` knows, or `hub:NAME[:CONFIG]:SPLIT` for a data set of the Hugging Face
    hub (needs the `datasets` package and a network). Which fields hold what is found out by `question_rows`, or said by
    `fields`. An id that an earlier row has is told apart by the row's `data_source`, or by a number. Questions without
    answers are taken too where `answered` is false.

    Raises `DataError` for a missing or empty file, a malformed line (with its number) and a question without answers;
    `ConfigError` for a `limit` below 1.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"the limit on questions is {limit}; it must be at least 1")
    fields = fields or Fields()
    if isinstance(source, str) and source.startswith("hub:"):
        rows: Iterable[tuple[str, Any]] = _hub_rows(source)
    else:
        rows = read_file(Path(source).expanduser(), is_header=fields.names)
    reading = Reading()
    for where, row in rows:
        reading.add(row, where, fields, answered)
        if limit is not None and len(reading.questions) >= limit:
            break
    if not reading.questions:
        unanswerable = len(reading.noted["unanswerable"])
        left_out = f" ({unanswerable} marked as unanswerable)" if unanswerable else ""
        raise DataError(f"{source}: holds no questions{left_out}")
    return reading


_NOTES = {
    "repeated": "{} id{s} stood at an earlier row already and got another, so that all differ (first {first})",
    "doubled": "{} question{s} there more than once (first at {first})",
    "unanswerable": "{} question{s} left out, marked as unanswerable (first at {first})",
    "unmatched": "{} question{s} with golden answers of which scoring leaves nothing (articles, punctuation): only the "
    "very same text is right (first {first})",
    "semicolons": "{} answer{s} with a semicolon taken as one text (first {first}): if it stands between several "
    "answers, --fields separator=; says so",
    "unstated": "{} fact{s} of things that are compared, which simulated pages leave out: a fact begins with the thing "
    "as its question names it, then is, was, a comma or a bracket (first {first})",
}
_SUBJECT = re.compile(r"^(.{2,80}?)(?: (?:is|was|are|were|has|had|stars|starred)\b|,| \()")
_LONGEST_TITLE = 8  # words
_FEW = 1 / 20  # so small a share of answers with a semicolon is not told


@dataclass
class Reading:
    """What a file of questions was understood to hold.

    `forms` counts the rows by the forms of their answers, `noted` holds the places (file and line) of what a user must
    know, by the names of `_NOTES`.
    """

    questions: list[Question] = field(default_factory=list)
    forms: Counter[str] = field(default_factory=Counter)
    other_fields: dict[str, None] = field(default_factory=dict)  # in their order
    without_id: int = 0
    noted: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in _NOTES})
    _ids: set[str] = field(default_factory=set)

    def add(self, row: Any, where: str, fields: Fields, answered: bool = True) -> None:
        """Raises `DataError` that begins with `where`."""
        found = read_row(row, where, fields, answered=answered)
        if found.unanswerable and answered:
            self.noted["unanswerable"].append(where)
            return
        question = _question(found)
        self.without_id += found.id is None
        if question.id in self._ids:
            told_apart = self._told_apart(question.id, found.source)
            if found.id is None:
                self.noted["doubled"].append(where)
            else:
                self.noted["repeated"].append(f"{question.id!r} at {where}, now {told_apart!r}")
            question = replace(question, id=told_apart)
        self._ids.add(question.id)
        answers = question.golden_answers
        if answers and not any(map(normalize, answers)):
            self.noted["unmatched"].append(f"{answers[0]!r} at {where}")
        if fields.separator is None and found.answers.forms == {"text"} and ";" in answers[0]:
            self.noted["semicolons"].append(f"{answers[0][:60]!r} at {where}")
        self.noted["unstated"] += [
            f"{fact[:60]!r} at {where}"
            for fact in question.compared_facts
            if not contains_answer(question.text, [subject(fact)])
        ]
        self.forms.update(sorted(found.answers.forms))  # a set has another order in each process
        self.other_fields.update(dict.fromkeys(found.other))
        self.questions.append(question)

    def _told_apart(self, identifier: str, source: str | None) -> str:
        """Depends on the rows before alone: the first questions of a file have the same ids without the rest."""
        wanted = f"{source}/{identifier}" if source else identifier
        numbered = (f"{wanted}#{number}" for number in count(2))
        return next(one for one in chain([wanted], numbered) if one not in self._ids)

    def notes(self) -> list[str]:
        """What a user must know, a line each."""
        return [
            text.format(len(places), s="s" if len(places) > 1 else "", first=places[0])
            for name, text in _NOTES.items()
            if len(places := self.noted[name]) > (_FEW * len(self.questions) if name == "semicolons" else 0)
        ]


def parse_question(row: Any, where: str) -> Question:
    """Turn one row into a `Question`; `where` (file and line) begins every complaint."""
    found = read_row(row, where, Fields())
    if not found.answers.texts:
        raise DataError(f"{where}: the question {found.text[:60]!r} has no answer: it is marked as unanswerable")
    return _question(found)


def _question(row: QuestionRow) -> Question:
    answers = row.answers.texts
    identifier = row.id if row.id is not None else _stable_id(row.text, answers)
    return Question(identifier, row.text, answers, row.hops, *row.chain)


def subject(fact: str) -> str:
    """What a sentence is about, as a title; empty where that is not plain.

    >>> subject("Emma is an 1815 novel by Jane Austen.")
    'Emma'
    """
    found = _SUBJECT.match(fact)
    return found[1].strip() if found and len(found[1].split()) <= _LONGEST_TITLE else ""


def questions_digest(questions: Iterable[Question]) -> str:
    """sha256 over ids, texts and answers in order: two runs with one digest were asked the same things."""
    digest = hashlib.sha256()
    for question in questions:
        digest.update(json.dumps(question.as_dict(), ensure_ascii=False, sort_keys=True).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def seen_in_training(training: Iterable[Question], evaluation: Sequence[Question]) -> str | None:
    """What to say where questions of an evaluation are asked in training too, by their text; None: none are."""

    def plain(question: Question) -> str:
        return " ".join(question.text.casefold().split())

    asked = set(map(plain, training))
    seen = sum(plain(question) in asked for question in evaluation)
    if not seen:
        return None
    count = f"{len(evaluation):,} question{'s' * (len(evaluation) != 1)}"
    return (
        f"{seen:,} of {count} of evaluation.questions {'is' if seen == 1 else 'are'} also in data.train: "
        "their scores do not tell what was learned for other questions"
    )


def _hub_rows(source: str) -> Iterator[tuple[str, Any]]:
    parts = source.split(":")[1:]
    if len(parts) not in (2, 3):
        raise DataError(f"{source}: write hub:NAME:SPLIT or hub:NAME:CONFIG:SPLIT")
    try:
        import datasets
    except ImportError:
        raise DataError(f"{source}: hub data sets need the datasets package ({install('data')})") from None
    name, config, split = parts[0], parts[1] if len(parts) == 3 else None, parts[-1]
    try:
        data = datasets.load_dataset(name, config, split=split)
    except Exception as error:  # the hub client raises many kinds: no network, no such set, no such split
        raise DataError(f"{source}: could not be loaded ({first_line(error)})") from None
    for number, row in enumerate(data, start=1):
        yield f"{source}: row {number}", row


def _stable_id(text: str, answers: tuple[str, ...]) -> str:
    return hashlib.sha256("\x1f".join((text.strip(), *answers)).encode()).hexdigest()[:16]
