"""Questions with golden answers: read from files of all usual forms or from a hub data set, and known by a digest."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, count
from pathlib import Path
from typing import Any

from zerosearch.episodes.question_rows import Fields as Fields
from zerosearch.episodes.question_rows import QuestionRow, read_row
from zerosearch.episodes.scoring import normalize
from zerosearch.errors import ConfigError, DataError, first_line, install
from zerosearch.files.formats import read_file

log = logging.getLogger(__name__)

_YES_OR_NO = ("yes", "no", "true", "false")
_BARE = re.compile(r"[\d\s.,-]*|(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)", re.IGNORECASE)
"""A number and nothing else."""


@dataclass(frozen=True)
class Question:
    """One question. `golden_answers` holds every accepted answer, aliases included.

    It is empty only where nobody knows the answer (`Question.asked`): such a question scores 0 and is never trained on.
    """

    id: str
    text: str
    golden_answers: tuple[str, ...]
    extra: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def hops(self) -> int | None:
        """How many facts it takes, where its row said so (`"hops": 2`)."""
        hops = self.extra.get("hops")
        return hops if type(hops) is int else None

    @property
    def yes_or_no(self) -> bool:
        """Whether the answer is yes or no: then a page that holds that word says nothing."""
        answers = self.golden_answers
        return bool(answers) and all(answer.strip().lower() in _YES_OR_NO for answer in answers)

    @property
    def evident_answers(self) -> tuple[str, ...]:
        """The golden answers that a page can be said to hold: yes, no and a bare number stand on many by chance."""
        normal = [(answer, normalize(answer)) for answer in self.golden_answers]
        return tuple(answer for answer, plain in normal if plain not in _YES_OR_NO and not _BARE.fullmatch(plain))

    @classmethod
    def asked(cls, text: str) -> Question:
        """A user's question, without golden answers. Raises `DataError` where it is empty or holds half a character."""
        text = " ".join(text.removeprefix("\ufeff").split())  # a byte order mark, of a file that was piped in
        if not text:
            raise DataError("the question is empty")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise DataError("the question holds half a character (a byte that is not UTF-8)") from None
        return cls(_stable_id(text, ()), text, ())

    def as_dict(self) -> dict[str, Any]:
        """Id, text and answers: what makes it this question (see `questions_digest`)."""
        return {"id": self.id, "question": self.text, "golden_answers": list(self.golden_answers)}

    def as_row(self) -> dict[str, Any]:
        """`as_dict`, with the hops where they are known: as files of trajectories and pages keep it."""
        return self.as_dict() if self.hops is None else {**self.as_dict(), "hops": self.hops}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Question:
        """What `as_row` wrote. Raises `KeyError` or `TypeError` for anything else."""
        extra = {"hops": row["hops"]} if "hops" in row else {}
        texts = (row["id"], row["question"], *row["golden_answers"])
        if isinstance(row["golden_answers"], str) or not all(isinstance(text, str) for text in texts):
            raise TypeError("a question whose id, text or answers are no texts")
        return cls(row["id"], row["question"], tuple(row["golden_answers"]), extra)


def load_questions(
    source: str, *, limit: int | None = None, fields: Fields | None = None, answered: bool = True
) -> list[Question]:
    """The questions of `read_questions`; what it notes is logged as a warning."""
    reading = read_questions(source, limit=limit, fields=fields, answered=answered)
    for note in reading.notes():
        log.warning("%s: %s", source, note)
    return reading.questions


def read_questions(
    source: str, *, limit: int | None = None, fields: Fields | None = None, answered: bool = True
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
    if source.startswith("hub:"):
        rows: Iterable[tuple[str, Any]] = _hub_rows(source)
    else:
        rows = read_file(Path(source).expanduser(), is_header=fields.names)
    reading = Reading()
    for where, row in rows:
        reading.add(row, where, fields, answered)
        if limit is not None and len(reading.questions) >= limit:
            break
    if not reading.questions:
        left_out = f" ({len(reading.unanswerable)} marked as unanswerable)" if reading.unanswerable else ""
        raise DataError(f"{source}: holds no questions{left_out}")
    return reading


@dataclass
class Reading:
    """What a file of questions was understood to hold; places are file and line."""

    questions: list[Question] = field(default_factory=list)
    forms: Counter[str] = field(default_factory=Counter)  # of answers: how many rows have each
    other_fields: dict[str, None] = field(default_factory=dict)  # in their order
    without_id: int = 0
    repeated: list[tuple[str, str, str]] = field(default_factory=list)  # place, id, the id it got instead
    doubled: list[str] = field(default_factory=list)  # places of questions that an earlier row has too
    unanswerable: list[str] = field(default_factory=list)  # places of rows left out
    unmatched: list[tuple[str, str]] = field(default_factory=list)  # place, answer: normalisation leaves nothing
    semicolons: list[tuple[str, str]] = field(default_factory=list)  # place, answer: one text that may be several
    _ids: set[str] = field(default_factory=set)

    def add(self, row: Any, where: str, fields: Fields, answered: bool = True) -> None:
        """Raises `DataError` that begins with `where`."""
        found = read_row(row, where, fields, answered=answered)
        if found.unanswerable and answered:
            self.unanswerable.append(where)
            return
        question = _question(found)
        self.without_id += found.id is None
        if question.id in self._ids:
            told_apart = self._told_apart(question.id, found.source)
            if found.id is None:
                self.doubled.append(where)
            else:
                self.repeated.append((where, question.id, told_apart))
            question = replace(question, id=told_apart)
        self._ids.add(question.id)
        if question.golden_answers and not any(map(normalize, question.golden_answers)):
            self.unmatched.append((where, question.golden_answers[0]))
        self.forms.update(found.answers.forms)
        if fields.separator is None and found.answers.forms == {"text"} and ";" in question.golden_answers[0]:
            self.semicolons.append((where, question.golden_answers[0]))
        self.other_fields.update(dict.fromkeys(found.other))
        self.questions.append(question)

    def _told_apart(self, identifier: str, source: str | None) -> str:
        """Depends on the rows before alone, so that the first so many questions of a file have the ids of all."""
        wanted = f"{source}/{identifier}" if source else identifier
        numbered = (f"{wanted}#{number}" for number in count(2))
        return next(one for one in chain([wanted], numbered) if one not in self._ids)

    def notes(self) -> list[str]:
        """What a user must know, a line each."""
        notes = []
        if self.repeated:
            where, identifier, instead = self.repeated[0]
            notes.append(
                f"{_counted(len(self.repeated), 'id')} stood at an earlier row already and got another, so that all "
                f"differ (first {identifier!r} at {where}, now {instead!r})"
            )
        if self.doubled:
            notes.append(f"{_counted(len(self.doubled), 'question')} there more than once (first at {self.doubled[0]})")
        if self.unanswerable:
            notes.append(
                f"{_counted(len(self.unanswerable), 'question')} left out, marked as unanswerable (first at "
                f"{self.unanswerable[0]})"
            )
        if self.unmatched:
            where, answer = self.unmatched[0]
            notes.append(
                f"{_counted(len(self.unmatched), 'question')} with golden answers of which scoring leaves nothing "
                f"(articles, punctuation): only the very same text is right (first {answer!r} at {where})"
            )
        if len(self.semicolons) > len(self.questions) / 20:
            where, answer = self.semicolons[0]
            notes.append(
                f"{_counted(len(self.semicolons), 'answer')} with a semicolon taken as one text (first {answer[:60]!r} "
                f"at {where}): if it stands between several answers, --fields separator=; says so"
            )
        return notes


def parse_question(row: Any, where: str) -> Question:
    """Turn one row into a `Question`; `where` (file and line) begins every complaint."""
    found = read_row(row, where, Fields())
    if not found.answers.texts:
        raise DataError(f"{where}: the question {found.text[:60]!r} has no answer: it is marked as unanswerable")
    return _question(found)


def _question(row: QuestionRow) -> Question:
    answers = row.answers.texts
    identifier = row.id if row.id is not None else _stable_id(row.text, answers)
    return Question(identifier, row.text, answers, {} if row.hops is None else {"hops": row.hops})


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number > 1 else ''}"


def questions_digest(questions: Iterable[Question]) -> str:
    """sha256 over ids, texts and answers in order: two runs with one digest were asked the same things."""
    digest = hashlib.sha256()
    for question in questions:
        digest.update(json.dumps(question.as_dict(), ensure_ascii=False, sort_keys=True).encode())
        digest.update(b"\n")
    return digest.hexdigest()


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
