"""Questions with golden answers, read from JSONL (also .gz), Parquet or a hub data set."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zerosearch.errors import ConfigError, DataError

_QUESTION_FIELDS = ("question", "query", "text")
_ANSWER_FIELDS = ("golden_answers", "answers", "answer", "possible_answers")


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
        return bool(answers) and all(answer.strip().lower() in ("yes", "no") for answer in answers)

    @classmethod
    def asked(cls, text: str) -> Question:
        """A user's question, without golden answers. Raises `DataError` where it is empty or holds half a character."""
        text = " ".join(text.split())
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
        return cls(row["id"], row["question"], tuple(row["golden_answers"]), extra)


def load_questions(source: str, *, limit: int | None = None) -> list[Question]:
    """Read questions from `source`.

    `source` is a `.jsonl`, `.jsonl.gz` or `.parquet` file, or `hub:NAME[:CONFIG]:SPLIT` for a data set of the
    Hugging Face hub (needs the `datasets` package and a network). A row has `question`, `golden_answers` (or
    `answers` / `answer`) and, if it likes, `id`; other fields are kept in `Question.extra`.

    Raises `DataError` for a missing or empty file, a malformed line (with its number), a question without answers,
    and two questions with one id; `ConfigError` for a `limit` below 1.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"the limit on questions is {limit}; it must be at least 1")
    if source.startswith("hub:"):
        rows: Iterable[tuple[str, Any]] = _hub_rows(source)
    else:
        rows = _file_rows(Path(source))
    questions: list[Question] = []
    seen: dict[str, str] = {}
    for where, row in rows:
        question = parse_question(row, where)
        if question.id in seen:
            raise DataError(f"{where}: id {question.id!r} was already used at {seen[question.id]}")
        seen[question.id] = where
        questions.append(question)
        if limit is not None and len(questions) >= limit:
            break
    if not questions:
        raise DataError(f"{source}: holds no questions")
    return questions


def parse_question(row: Any, where: str) -> Question:
    """Turn one row into a `Question`; `where` (file and line) begins every complaint."""
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected an object, found {type(row).__name__}")
    text = next((row[f] for f in _QUESTION_FIELDS if isinstance(row.get(f), str)), None)
    if text is None or not text.strip():
        raise DataError(f"{where}: has no text in the field 'question'")
    answers_field = next((f for f in _ANSWER_FIELDS if row.get(f) is not None), None)
    answers = _answers(row[answers_field]) if answers_field else ()
    if not answers:
        raise DataError(f"{where}: the question {text.strip()[:60]!r} has no answer in the field 'golden_answers'")
    try:
        "\n".join((text, *answers)).encode()
    except UnicodeEncodeError:
        raise DataError(f"{where}: the text holds half a character (a lone surrogate escape such as \\ud83d)") from None
    identifier = str(row["id"]) if row.get("id") is not None else _stable_id(text, answers)
    known = {"id", "question", answers_field}
    extra = {key: value for key, value in row.items() if key not in known}
    return Question(identifier, text.strip(), answers, extra)


def questions_digest(questions: Iterable[Question]) -> str:
    """sha256 over ids, texts and answers in order: two runs with one digest were asked the same things."""
    digest = hashlib.sha256()
    for question in questions:
        digest.update(json.dumps(question.as_dict(), ensure_ascii=False, sort_keys=True).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def read_jsonl(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield `("file:line", value)` for every non-blank line of a JSONL file (plain or gzip)."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    where = f"{path}:{number}"
                    try:
                        yield where, json.loads(line)
                    except json.JSONDecodeError as error:
                        raise DataError(f"{where}: not valid JSON ({error.msg} at column {error.colno})") from None
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None


def _file_rows(path: Path) -> Iterator[tuple[str, Any]]:
    if path.suffix == ".parquet":
        return _parquet_rows(path)
    if path.name.endswith((".jsonl", ".jsonl.gz", ".json.gz")):
        return read_jsonl(path)
    raise DataError(f"{path}: unknown kind of question file (use .jsonl, .jsonl.gz, .parquet or hub:NAME:SPLIT)")


def _parquet_rows(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise DataError(f"{path}: reading Parquet needs pyarrow (pip install 'zerosearch[data]')") from None
    try:
        table = parquet.read_table(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except Exception as error:  # pyarrow raises its own family for damaged files
        raise DataError(f"{path}: cannot be read as Parquet ({str(error).splitlines()[0]})") from None
    for number, row in enumerate(table.to_pylist(), start=1):
        yield f"{path}: row {number}", row


def _hub_rows(source: str) -> Iterator[tuple[str, Any]]:
    parts = source.split(":")[1:]
    if len(parts) not in (2, 3):
        raise DataError(f"{source}: write hub:NAME:SPLIT or hub:NAME:CONFIG:SPLIT")
    try:
        import datasets
    except ImportError:
        raise DataError(f"{source}: hub data sets need the datasets package (pip install 'zerosearch[data]')") from None
    name, config, split = parts[0], parts[1] if len(parts) == 3 else None, parts[-1]
    try:
        data = datasets.load_dataset(name, config, split=split)
    except Exception as error:  # the hub client raises many kinds: no network, no such set, no such split
        raise DataError(f"{source}: could not be loaded ({str(error).splitlines()[0]})") from None
    for number, row in enumerate(data, start=1):
        yield f"{source}: row {number}", row


def _answers(value: Any) -> tuple[str, ...]:
    if isinstance(value, dict):  # TriviaQA, SQuAD: {"aliases": [...]}, {"text": [...]}
        value = value.get("aliases") or value.get("text") or value.get("value") or []
    if isinstance(value, str) and value.lstrip().startswith("["):  # PopQA keeps its list as JSON text
        with contextlib.suppress(ValueError):
            value = json.loads(value)
    items = value if isinstance(value, (list, tuple)) else [value]
    # A null, a NaN, a list in a list or an object is no answer: its Python spelling must not become one.
    texts = [str(item).strip() for item in items if isinstance(item, (str, int, float)) and item == item]
    return tuple(dict.fromkeys(text for text in texts if text))


def _stable_id(text: str, answers: tuple[str, ...]) -> str:
    return hashlib.sha256("\x1f".join((text.strip(), *answers)).encode()).hexdigest()[:16]
