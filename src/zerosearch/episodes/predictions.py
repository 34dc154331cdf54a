"""The record of an evaluation: a file a benchmark and method, a header first, then one row a prediction.

    {"version": 2, "benchmark": "nq", "method": "rag", "model": ..., "engine": ..., "questions_digest": ..., ...}
    {"id": "nq/test_1", "sample": 0, "question": ..., "golden_answers": [...], "answer": ..., "em": 1.0, ...}

`zerosearch evaluate` appends rows as they come; a training run writes the file of each of its evaluations whole.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from zerosearch.episodes.questions import Question
from zerosearch.episodes.replies import visible
from zerosearch.episodes.scoring import score_answer
from zerosearch.episodes.search import shows_answer
from zerosearch.episodes.trajectory import SearchRecord, Trajectory
from zerosearch.errors import DataError
from zerosearch.files.identity import differences
from zerosearch.files.jsonl import append_jsonl, read_rows, shown, write_jsonl
from zerosearch.usage import NOTHING, Usage

log = logging.getLogger(__name__)

SCHEMA_VERSION = 3
CUT_OFF = "cut_off"
"""The stop reason of a prediction without an answer in which a reply was used up by its thoughts."""
_NUMBER, _OR_NONE = (int, float), type(None)
_KINDS: dict[str, Any] = (
    dict.fromkeys(("id", "question", "benchmark", "method", "stop_reason", "text"), str)
    | dict.fromkeys(("sample", "turns"), int)
    | dict.fromkeys(("answer", "error"), (str, _OR_NONE))
    | dict.fromkeys(("em", "cover_em", "f1", "seconds"), _NUMBER)
    | {"valid_actions": (*_NUMBER, _OR_NONE), "saw_answer": (bool, _OR_NONE)}
)
_HEADER_KINDS = dict.fromkeys(("benchmark", "method", "model", "engine", "questions_digest"), str) | dict.fromkeys(
    ("top_k", "count", "samples"), int
)


@dataclass(frozen=True)
class Header:
    """What it takes to make the predictions of a file again; two files are alike where these say so.

    `count` questions were asked `samples` times each. `questions_digest` is that of the questions asked, in order
    (`questions.questions_digest`). `limit` and `sample_seed` say how they were drawn from `source`, None: all of them.
    `engine` is the engine's name, and "none" for a method that never searches; `engine_identity` is all that its pages
    depend on (`files/identity.py`). `settings` holds whatever else the method was told, JSON-ready.
    """

    benchmark: str
    method: str
    model: str
    engine: str
    top_k: int
    questions_digest: str
    count: int
    temperature: float = 0.0
    seed: int = 0
    samples: int = 1
    source: str = ""
    limit: int | None = None
    sample_seed: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    engine_identity: str = ""
    version: int = SCHEMA_VERSION

    def differences(self, other: Header) -> dict[str, tuple[Any, Any]]:
        """The fields in which two headers differ, with both values; an engine is what its identity says."""
        pairs = {f.name: (getattr(self, f.name), getattr(other, f.name)) for f in fields(self)}
        if self.engine_identity and self.engine_identity == other.engine_identity:
            del pairs["engine"]  # a corpus by another name is the same corpus
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


@dataclass(frozen=True)
class Outcome:
    """What a method made of a question.

    `answer` is None where none was given. `usage` is the model's, summed over its calls. `valid_actions` is the share
    of turns that did something the protocol knows, None for a method without a protocol. `text` is the
    transcript. `error` names what failed.
    """

    answer: str | None
    searches: tuple[SearchRecord, ...] = ()
    turns: int = 1
    usage: Usage = NOTHING
    valid_actions: float | None = None
    stop_reason: str = "answer"
    seconds: float = 0.0
    text: str = ""
    error: str | None = None

    @classmethod
    def of(cls, trajectory: Trajectory) -> Outcome:
        """The outcome of an episode: its text is the policy's turns, and each turn reads all that is before it."""
        turns = trajectory.turns
        last = turns[-1] if turns and trajectory.answer is None else None
        thought_out = last is not None and last.stop_reason == "length" and not visible(last.text).strip()
        return cls(
            trajectory.answer,
            trajectory.searches,
            turns=len(turns),
            usage=trajectory.usage,
            valid_actions=sum(turn.action != "invalid" for turn in turns) / len(turns) if turns else None,
            stop_reason=CUT_OFF if thought_out else trajectory.stop_reason,
            seconds=trajectory.seconds,
            text="\n".join(turn.text.strip() for turn in turns),
            error=next((search.error for search in trajectory.searches if search.error is not None), None),
        )


@dataclass(frozen=True, kw_only=True)
class Prediction(Outcome):
    """An outcome with its question and its scores in [0, 1].

    `sample` counts the tries at one question from 0. `saw_answer`: a page held a golden answer; None where no page can
    be said to, as the answer is yes, no or a bare number. A row with an `error` scores 0 and counts until it is asked
    again.
    """

    id: str
    question: str
    golden_answers: tuple[str, ...]
    benchmark: str
    method: str
    sample: int
    em: float
    cover_em: float
    f1: float
    saw_answer: bool | None

    @classmethod
    def scored(cls, question: Question, outcome: Outcome, benchmark: str, method: str, sample: int = 0) -> Prediction:
        """Every method's predictions, and a training run's, are scored here."""
        scores = score_answer(outcome.answer, question.golden_answers, well_formed=outcome.answer is not None)
        return cls(
            **vars(outcome),
            id=question.id,
            question=question.text,
            golden_answers=question.golden_answers,
            benchmark=benchmark,
            method=method,
            sample=sample,
            em=scores.em,
            cover_em=scores.cover_em,
            f1=scores.f1,
            saw_answer=shows_answer((search.documents for search in outcome.searches), question),
        )

    @property
    def key(self) -> tuple[str, int]:
        """What makes a row of a file this row: the question's id and the number of the try."""
        return self.id, self.sample

    @property
    def answered_without_evidence(self) -> bool | None:
        """The answer is an exact match although no page of this prediction held a golden answer (`saw_answer`).

        What the model knew by heart, guessed or worked out. None where `saw_answer` is.
        """
        return None if self.saw_answer is None else self.em == 1.0 and not self.saw_answer


@dataclass(frozen=True)
class PredictionFile:
    """A file read back: its header, and its rows in the order in which they were written.

    `also` are the files of further runs that were pooled with it (`evaluation.results.pooled`); their rows follow.
    """

    path: Path
    header: Header
    rows: tuple[Prediction, ...]
    also: tuple[Path, ...] = ()

    @property
    def tries(self) -> int:
        """How often a question was asked, by all runs together."""
        return self.header.samples * (1 + len(self.also))

    @property
    def missing(self) -> int:
        """How many predictions the header promises that are not there: the evaluation was interrupted."""
        return self.header.count * self.tries - len(self.rows)

    @property
    def failures(self) -> dict[str, int]:
        """How many predictions failed, by what failed; empty where none did."""
        return dict(Counter(row.error for row in self.rows if row.error is not None))

    @property
    def told_failures(self) -> str:
        """The failures in one line that tells what to do about them."""
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self.failures.items()))
        count = f"{len(self.rows)} prediction{'s' * (len(self.rows) != 1)}"
        return (
            f"{self.path}: {sum(self.failures.values())} of {count} failed ({kinds}); "
            "the same zerosearch evaluate asks them again"
        )

    @cached_property
    def by_question(self) -> dict[str, list[Prediction]]:
        """The tries at each question by its id, in the order of their samples."""
        grouped: dict[str, list[Prediction]] = {}
        for row in sorted(self.rows, key=lambda row: row.sample):
            grouped.setdefault(row.id, []).append(row)
        return grouped


_OUTCOME = {f.name for f in fields(Outcome)}


def start_predictions(path: Path, header: Header) -> list[Prediction]:
    """Begin the file at `path`, or go on with it: the predictions that are there already (none in a new file).

    Rows that failed are taken out of the file, and so is a second row of one try.

    Raises `DataError` where the file was made with other settings, naming the first of them: its questions have
    changed, say, or it is another model's.
    """
    if next(read_rows(path), None) is None:
        append_jsonl(path, asdict(header))
        return []
    found = read_predictions(path)
    apart = found.header.differences(header)
    if "engine_identity" in apart:
        what = f"another engine ({', '.join(differences(*apart['engine_identity']))})"
    elif "questions_digest" in apart:
        before, now = found.header.count, header.count
        which = "as many, but another seed or file" if before == now else f"{before}, now {now}: another limit or file"
        what = f"other questions ({which})"
    elif apart:
        name, (old, new) = next(iter(apart.items()))
        what = f"{name} {_short(old)}, and is to go on with {_short(new)}"
    if apart:
        raise DataError(f"{path}: was made with {what}: take another folder, or remove the file to begin again")
    kept = [row for row in found.rows if row.error is None]
    if len(kept) < sum(1 for _ in read_rows(path)) - 1:
        write_predictions(path, header, kept)
    return kept


def write_predictions(path: Path, header: Header, predictions: Sequence[Prediction]) -> None:
    """Write a file at once: whole or not at all. Raises `RunError` on a full disk."""
    write_jsonl(path, [asdict(header), *map(_as_row, predictions)])


def append_prediction(path: Path, *predictions: Prediction) -> None:
    """Add rows to a file that `start_predictions` has begun, flushed to disk once. Raises `RunError` on a full disk."""
    append_jsonl(path, *map(_as_row, predictions))


def read_predictions(path: str | Path) -> PredictionFile:
    """Read a file that `evaluate` wrote, or `evaluations/step-*.jsonl` of a run; its `rows` are the predictions.

    Of several rows for one try (two processes once wrote into one file) the first that did not fail is taken, and a
    warning says how many there are.

    Raises `DataError` for a file that is none of ours, and for a row that is no prediction of this file, with its line.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    rows = iter(read_rows(path))
    header = _header(next(rows, None), str(path))
    predictions: dict[tuple[str, int], Prediction] = {}
    doubled = 0
    for number, row in enumerate(rows, start=2):
        prediction = _prediction(row, f"{path}:{number}")
        if (prediction.benchmark, prediction.method) != (header.benchmark, header.method):
            raise DataError(
                f"{path}:{number}: is {prediction.method} on {prediction.benchmark}; the file is "
                f"{header.method} on {header.benchmark}"
            )
        first = predictions.get(prediction.key)
        doubled += first is not None and first.error is None
        if first is None or first.error is not None:
            predictions[prediction.key] = prediction
    if doubled:
        log.warning("%s: %s rows are of tries that have one already; the first of each is taken", path, doubled)
    return PredictionFile(path, header, tuple(predictions.values()))


def is_predictions(path: Path) -> bool:
    """Whether the first line of a JSONL file is a header of predictions (of any schema version)."""
    try:
        first: Any = next(read_rows(path), None)
    except DataError:
        return False
    return isinstance(first, dict) and "questions_digest" in first


def _header(row: Any, path: str) -> Header:
    if not isinstance(row, dict) or "questions_digest" not in row:
        raise DataError(f"{path}: not a file of predictions (its first line is no header)")
    if row.get("version") != SCHEMA_VERSION:
        raise DataError(f"{path}: schema version {shown(row.get('version'))}; this release reads {SCHEMA_VERSION}")
    try:
        header = Header(**row)
        _check_kinds(header, _HEADER_KINDS)
    except TypeError as error:
        raise DataError(f"{path}: not a header of predictions ({error})") from None
    return header


def _check_kinds(value: Header | Prediction, kinds: Mapping[str, Any]) -> None:
    """Raises `TypeError` that names the field."""
    for name, kind in kinds.items():
        if not isinstance(found := getattr(value, name), kind):
            raise TypeError(f"{name} is {type(found).__name__}")


def _as_row(prediction: Prediction) -> dict[str, Any]:
    """A row begins with the question and its scores."""
    names = sorted((f.name for f in fields(prediction)), key=_OUTCOME.__contains__)
    row = {name: getattr(prediction, name) for name in names}
    return row | {"searches": [asdict(search) for search in prediction.searches], "usage": asdict(prediction.usage)}


def _prediction(row: Any, where: str) -> Prediction:
    try:
        values = dict(row)
        values["golden_answers"] = tuple(values["golden_answers"])
        values["searches"] = tuple(SearchRecord.from_row(search) for search in values["searches"])
        values["usage"] = Usage.from_row(values["usage"])
        prediction = Prediction(**values)
        _check_kinds(prediction, _KINDS)
        if not all(0 <= score <= 1 for score in (prediction.em, prediction.cover_em, prediction.f1)):
            raise ValueError("a score is not between 0 and 1")
        if not all(isinstance(text, str) for text in prediction.golden_answers):
            raise ValueError("a golden answer is not text")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{where}: not a prediction ({error})") from None
    return prediction


def _short(value: Any) -> str:
    return text if len(text := repr(value)) <= 80 else f"{text[:77]}..."
