"""One row of a question file of any origin: which fields contain the question, the golden answers and the id.

Known are the fields of NQ, TriviaQA, PopQA, HotpotQA, 2WikiMultiHopQA, MuSiQue, Bamboogle, SQuAD, StrategyQA, KILT,
FlashRAG, BEIR, and of the sets in verl's form (Search-R1, ReSearch, ReCall, DeepResearcher). Case, `_` and blanks in a
field's name do not matter. `Fields` names them for any other set.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zerosearch.episodes.answer_forms import Answers, plain_name, read_answers, read_printed
from zerosearch.errors import ConfigError, DataError
from zerosearch.files.formats import names_of

_QUESTION = ("question", "query", "text", "questiontext", "input", "utterance", "problem")
_ANSWERS = (
    "goldenanswers", "answers", "answer", "possibleanswers", "goldanswers", "goldanswer", "correctanswers",
    "correctanswer", "shortanswers", "targets", "target", "groundtruths", "groundtruth", "gold", "output",
)  # fmt: skip
_ALIASES = ("answeraliases", "answeralias", "aliases")
_ID = ("id", "qid", "questionid", "queryid", "exampleid", "uid")
_NESTED_ANSWERS = (
    "reward_model.ground_truth", "extra_info.golden_answers", "extra_info.answers", "extra_info.answer",
    "extra_info.ground_truth", "metadata.golden_answers", "metadata.answers", "metadata.answer",
)  # fmt: skip
_MUSIQUE_ID = re.compile(r"(\d)hop\d*__")
_ASKED = re.compile(r"question\s*:", re.IGNORECASE)


@dataclass(frozen=True)
class Fields:
    """Which fields of a row hold what, where the usual names are not used: `question=Frage,answers=Antwort,id=Nr`.

    A dotted name goes into an object: `answers=reward_model.ground_truth.target`. `separator` is what stands between
    several answers in one text.
    """

    question: str | None = None
    answers: str | None = None
    id: str | None = None
    separator: str | None = None

    @classmethod
    def parse(cls, text: str | None) -> Fields:
        """Read `question=NAME,answers=NAME,id=NAME,separator=MARK`. Raises `ConfigError` for anything else."""
        if not text or not text.strip():
            return cls()
        names = "question|answers|id|separator"
        found: dict[str, str] = {}
        for pair in re.split(rf",\s*(?=(?:{names})\s*=)", text):
            name, given, value = pair.partition("=")
            name, value = name.strip(), value if name.strip() == "separator" else value.strip()
            if not given or name not in names.split("|") or not value or (name != "separator" and "=" in value):
                raise ConfigError(f"fields {text!r}: write question=NAME,answers=NAME,id=NAME,separator=MARK")
            if name in found:
                raise ConfigError(f"fields {text!r}: {name} is there twice")
            found[name] = value
        return cls(**found)

    def names(self, column: str) -> bool:
        """Whether `column` is one that holds question, answers or id."""
        return column in (self.question, self.answers, self.id) or plain_name(column) in (*_QUESTION, *_ANSWERS, *_ID)


@dataclass(frozen=True)
class QuestionRow:
    """What a row says. `id` is None where it says none; `answers` is empty where it is marked as unanswerable."""

    text: str
    answers: Answers
    id: str | None
    source: str | None
    hops: int | None
    other: tuple[str, ...]
    unanswerable: bool = False
    chain: tuple[str, tuple[str, ...]] = ("", ())


def read_row(row: Any, where: str, fields: Fields, *, answered: bool = True) -> QuestionRow:
    """Read one row; `where` (file and line) begins every complaint.

    Raises `DataError`: no object, no question, no answer (unless the row itself says that there is none, or `answered`
    is false), a text with half a character, a field that `fields` names and that is not there.
    """
    return _Row(_object(row, where), where, fields).read(answered)


def read_chain(row: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The bridge and the facts of a row, empty where it does not say: its `bridge` and `facts`; the bridge also from
    MuSiQue's `question_decomposition` or 2WikiMultiHopQA's `evidences`, where these have two steps.
    """
    bridge, facts = row.get("bridge"), row.get("facts")
    sentences = tuple(facts) if isinstance(facts, list) and all(isinstance(fact, str) for fact in facts) else ()
    steps, triples = row.get("question_decomposition"), row.get("evidences")
    if bridge is None and isinstance(steps, list) and len(steps) == 2 and isinstance(steps[0], Mapping):
        bridge = steps[0].get("answer")
    if bridge is None and isinstance(triples, list) and len(triples) == 2 and isinstance(triples[0], list):
        bridge = triples[0][-1] if triples[0] and triples[0][-1] == triples[1][0] else None
    return (bridge if isinstance(bridge, str) else ""), sentences


def _object(row: Any, where: str) -> Mapping[str, Any]:
    if isinstance(row, list) and row and all(isinstance(cell, str) for cell in row):  # a table without a header
        answers = [cell for cell in row if read_printed(cell.strip()) is not None]
        texts = [cell for cell in row if cell.strip() and cell not in answers]
        if len(answers) == len(texts) == 1:  # as DPR's question files
            return {"question": texts[0], "answers": answers[0]}
        raise DataError(
            f"{where}: no column is called question, query or text (found {', '.join(map(_short, row[:12]))}): "
            "name them with --fields question=NAME,answers=NAME"
        )
    if not isinstance(row, Mapping):
        raise DataError(f"{where}: expected an object, found {type(row).__name__}")
    return row


class _Row:
    def __init__(self, row: Mapping[str, Any], where: str, fields: Fields) -> None:
        self.row, self.where, self.fields = row, where, fields
        self._plain = {plain_name(name): name for name in reversed(list(row))}

    def read(self, answered: bool) -> QuestionRow:
        row = self.row
        question_name, text = self._question()
        answers_name, answers = self._answers()
        id_name, identifier = self._id()
        unanswerable = _is(row.get("is_impossible"), True) or _is(row.get("answerable"), False)
        if not answers.texts and not unanswerable and answered:
            held = f"missing or empty; its fields: {_short(', '.join(map(str, row)))}"  # a table leaves empty cells out
            if answers_name in row:
                held = f"it holds {_short(row[answers_name])}"
            raise self._wrong(f"the question {_short(text)} has no answer in the field '{answers_name}' ({held})")
        try:
            "\n".join((text, *answers.texts, identifier or "")).encode()
        except UnicodeEncodeError:
            raise self._wrong("the text holds half a character (a lone surrogate escape such as \\ud83d)") from None
        source = row.get("data_source")
        used = {question_name, answers_name, id_name, *self._there(_ALIASES)}
        return QuestionRow(
            text,
            answers,
            identifier,
            source if isinstance(source, str) and source else None,
            self._hops(identifier),
            tuple(str(name) for name in row if name not in used),
            unanswerable,
            read_chain(row),
        )

    def _wrong(self, text: str) -> DataError:
        return DataError(f"{self.where}: {text}")

    def _there(self, names: Sequence[str]) -> list[str]:
        """The row's fields that have these names, in their order."""
        return [self._plain[name] for name in names if name in self._plain]

    def _question(self) -> tuple[str, str]:
        """The field, and the question in it."""
        named = self.fields.question
        for name in self._there(_QUESTION) if named is None else [named]:
            value = self._field(name)
            if isinstance(value, str) and value.strip():
                return name, value.strip()
        if named is not None:
            raise self._wrong(f"the field {named!r} holds no text")
        nested = _inside(self.row, "extra_info.question")
        if isinstance(nested, str) and nested.strip():
            return "extra_info", nested.strip()
        if prompted := _prompted(self.row.get("prompt")):
            return "prompt", prompted
        raise self._wrong(
            f"has no text in the field 'question' (its fields: {names_of(self.row)}); --fields question=NAME names it"
        )

    def _answers(self) -> tuple[str, Answers]:
        """The field and what it holds; the first one that holds any answer."""
        named = self.fields.answers
        if named is not None:
            return named, self._read(self._field(named))
        known = self._there(_ANSWERS)
        for name in known:
            found = self._read(self.row[name])
            if found.texts:
                return name, self._with_aliases(found)
        for path in _NESTED_ANSWERS:
            found = self._read(_inside(self.row, path))
            if found.texts:
                return path.partition(".")[0], found
        there = [name for name in known if self.row[name] is not None]
        return next(iter([*there, *known]), "golden_answers"), Answers()

    def _with_aliases(self, found: Answers) -> Answers:
        for name in self._there(_ALIASES):
            more = self._read(self.row[name])
            if more.texts:
                texts = tuple(dict.fromkeys((*found.texts, *more.texts)))
                found = Answers(texts, found.forms | {f"with {name}"})
        return found

    def _read(self, value: Any) -> Answers:
        try:
            return read_answers(value, separator=self.fields.separator)
        except ValueError as error:
            raise self._wrong(str(error)) from None

    def _id(self) -> tuple[str, str | None]:
        for name in self._there(_ID) if self.fields.id is None else [self.fields.id]:
            value = self._field(name)
            if isinstance(value, float) and value.is_integer():
                value = int(value)
            if isinstance(value, (str, int)) and not isinstance(value, bool) and str(value).strip():
                return name, str(value)
        return "id", None

    def _hops(self, identifier: str | None) -> int | None:
        if type(self.row.get("hops")) is int:
            return int(self.row["hops"])
        steps = self.row.get("question_decomposition")
        if isinstance(steps, list) and steps:
            return len(steps)
        musique = _MUSIQUE_ID.match(identifier or "")
        return int(musique[1]) if musique else None

    def _field(self, path: str) -> Any:
        """A field by its name, or by its way into objects."""
        if path in self.row:
            return self.row[path]
        value = _inside(self.row, path)
        if value is None and path.partition(".")[0] not in self.row:
            raise self._wrong(f"has no field {path!r} (its fields: {names_of(self.row)})")
        return value


def _prompted(prompt: Any) -> str | None:
    """The question of a prompt, as text or messages: what follows the last `Question:`, or a whole single line."""
    if isinstance(prompt, list):
        said = [m.get("content") for m in prompt if isinstance(m, Mapping) and m.get("role", "user") == "user"]
        prompt = said[-1] if said else None
    if not isinstance(prompt, str):
        return None
    *_, asked = _ASKED.split(prompt)
    asked = asked.strip()
    return asked if asked and "\n" not in asked and "<" not in asked else None


def _inside(row: Any, path: str) -> Any:
    for name in path.split("."):
        row = row.get(name) if isinstance(row, Mapping) else None
    return row


def _is(value: Any, wanted: bool) -> bool:
    return value is wanted or (isinstance(value, str) and value.strip().lower() == str(wanted).lower())


def _short(value: Any, length: int = 60) -> str:
    text = value if isinstance(value, str) else repr(value)
    return repr(text.strip()[:length])
