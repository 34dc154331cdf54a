"""The record of a finished episode. One artefact serves reward, training, evaluation and the pages to look at."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import zstandard

from zerosearch.episodes.episode import Done, Episode
from zerosearch.episodes.questions import Question
from zerosearch.episodes.scoring import Scores, score_answer
from zerosearch.episodes.search import Document, SearchPage, SearchRequest
from zerosearch.errors import DataError, EngineError
from zerosearch.files.jsonl import atomic_write, json_lines, shown
from zerosearch.usage import NOTHING, Usage

SCHEMA_VERSION = 2


@dataclass(frozen=True)
class Try:
    """One try at a question: what an episode is played for.

    `group` counts the questions of a batch, `rollout` the tries at one of them, and `repeat` the times that the batch
    had this question before. `noise` is the chance that a page is noisy; None: the engine is a real one.
    """

    question: Question
    step: int = 0
    group: int = 0
    rollout: int = 0
    repeat: int = 0
    noise: float | None = None

    @property
    def key(self) -> tuple[int | str, ...]:
        """What tells this try from every other of a run: its draws are seeded by it."""
        rollout = f"{self.rollout} again {self.repeat}" if self.repeat else self.rollout
        return self.step, self.question.id, rollout


def tries(questions: Sequence[Question], rollouts: int = 1, *, step: int = 0, noise: float | None = None) -> list[Try]:
    """`rollouts` tries at each question of a batch, ordered by question, then rollout."""
    asked: list[Try] = []
    before: Counter[str] = Counter()
    for group, question in enumerate(questions):
        asked += [Try(question, step, group, rollout, before[question.id], noise) for rollout in range(rollouts)]
        before[question.id] += 1
    return asked


@dataclass(frozen=True, kw_only=True)
class SearchRecord(SearchPage):
    """One search of an episode: the page that it got. `error` is None, or the kind of the failure that ended the
    episode; then there are no documents.

    `noise` is the probability in force when the page was drawn. With a real engine there is no quality and no noise.
    """

    query: str
    noise: float | None = None
    error: str | None = None

    @classmethod
    def of(cls, query: str, page: SearchPage, noise: float | None) -> SearchRecord:
        return cls(**vars(page), query=query, noise=noise if page.quality is not None else None)

    @classmethod
    def failed(
        cls, request: SearchRequest, engine: str, error: EngineError, seconds: float, noise: float | None = None
    ) -> SearchRecord:
        """A search that failed. `noise` is None where the engine is a real one, or is asked for useful pages only."""
        return cls(
            (), engine, None if noise is None else request.quality, seconds=seconds, usage=Usage() + error.usage,
            attempts=error.attempts, query=request.query, noise=noise, error=error.kind,
        )  # fmt: skip

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> SearchRecord:
        """What `asdict` gave, read back from JSON. Raises `KeyError` or `TypeError` for anything else."""
        documents = tuple(Document(**document) for document in row["documents"])
        texts = (row["query"], *(text for d in documents for text in (d.title, d.text)))
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("a query, title or text that is no text")
        values = {**row, "documents": documents, "usage": Usage.from_row(row["usage"])}
        values.pop("asked", None)  # of older rows: what each document was to be
        return cls(**values)


@dataclass(frozen=True)
class TurnRecord:
    """A policy segment `ids[start:end]`, its text and what it did (`search`, `answer`, `invalid`)."""

    start: int
    end: int
    text: str
    action: str
    well_formed: bool
    stop_reason: str
    last: bool


@dataclass(frozen=True)
class Trajectory:
    """A finished episode. `ids`, `mask` and `logprobs` have one length; `mask` is 1 on the policy's own tokens.

    A policy behind a URL has no log-probs: they are NaN, and null in files. `usage` is the policy's: what its server
    counted and charged, or its ids. `valid` is False where the engine failed: such a trajectory is kept and counted,
    and takes no part in the loss.
    """

    question: Question
    ids: tuple[int, ...]
    mask: tuple[int, ...]
    logprobs: tuple[float, ...]
    prompt_length: int
    turns: tuple[TurnRecord, ...]
    searches: tuple[SearchRecord, ...]
    answer: str | None
    scores: Scores
    reward: float
    stop_reason: str
    step: int = 0
    group: int = 0
    rollout: int = 0
    seconds: float = 0.0
    usage: Usage = NOTHING
    version: int = field(default=SCHEMA_VERSION)

    @property
    def valid(self) -> bool:
        return self.stop_reason != "engine_error"

    @property
    def policy_tokens(self) -> int:
        return sum(self.mask)


Reward = Callable[[Trajectory], float]
"""Of a finished episode whose `reward` is still 0; everything else of it is there."""


def finish(
    one: Try, episode: Episode, searches: Iterable[SearchRecord], *, seconds: float = 0.0, usage: Usage = NOTHING
) -> Trajectory:
    """Score a finished episode and freeze it, its reward still 0. The answer is the policy's own; none scores 0."""
    done = episode.next()
    if not isinstance(done, Done):
        raise RuntimeError("the episode is not finished")
    return Trajectory(
        question=one.question,
        ids=tuple(episode.ids),
        mask=tuple(episode.mask),
        logprobs=tuple(episode.logprobs),
        prompt_length=episode.prompt_length,
        turns=tuple(
            TurnRecord(t.start, t.end, t.text, t.action.kind, t.action.well_formed, t.stop_reason, t.last)
            for t in episode.turns
        ),
        searches=tuple(searches),
        answer=episode.answer,
        scores=score_answer(episode.answer, one.question.golden_answers, well_formed=episode.well_formed),
        reward=0.0,
        stop_reason=done.stop_reason,
        step=one.step,
        group=one.group,
        rollout=one.rollout,
        seconds=seconds,
        usage=usage,
    )


def to_dict(trajectory: Trajectory) -> dict[str, Any]:
    """A JSON-ready dict; `from_dict` gives the same trajectory back."""
    row = {f.name: getattr(trajectory, f.name) for f in fields(trajectory)}  # asdict would copy every id by itself
    row["question"] = trajectory.question.as_row()
    row["turns"] = [asdict(turn) for turn in trajectory.turns]
    row["searches"] = [asdict(search) for search in trajectory.searches]
    row["scores"] = asdict(trajectory.scores)
    row["usage"] = asdict(trajectory.usage)
    row["logprobs"] = [None if math.isnan(x) else x for x in trajectory.logprobs]
    return row


def from_dict(row: Any, where: str = "trajectory") -> Trajectory:
    """Raises `DataError` for a row of another schema version, without the fields of this one, or of uneven lengths."""
    if not isinstance(row, dict):
        raise DataError(f"{where}: not a trajectory (expected an object, found {type(row).__name__})")
    if row.get("version") != SCHEMA_VERSION:
        raise DataError(f"{where}: schema version {shown(row.get('version'))}; this release reads {SCHEMA_VERSION}")
    try:
        values = dict(row)
        values["question"] = Question.from_row(values.pop("question"))
        values["turns"] = tuple(TurnRecord(**turn) for turn in values["turns"])
        values["searches"] = tuple(SearchRecord.from_row(row) for row in values["searches"])
        values["scores"] = Scores(**values["scores"])
        values["usage"] = Usage.from_row(values["usage"])
        for name in ("ids", "mask", "logprobs"):
            values[name] = tuple(values[name])
        values["logprobs"] = tuple(math.nan if x is None else x for x in values["logprobs"])
        trajectory = Trajectory(**values)
        _check(trajectory)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(f"{where}: not a trajectory ({error})") from None
    if not len(trajectory.ids) == len(trajectory.mask) == len(trajectory.logprobs):
        raise DataError(f"{where}: ids, mask and logprobs differ in length")
    return trajectory


def _check(trajectory: Trajectory) -> None:
    """Raises `TypeError` for values of other types than a trajectory's."""
    whole = (*trajectory.ids, *trajectory.mask, trajectory.step, trajectory.group, trajectory.rollout)
    scores = asdict(trajectory.scores).values()
    if not all(type(x) is int for x in whole):
        raise TypeError("an id, a mask or a place that is no whole number")
    if not all(isinstance(x, (int, float)) for x in (*trajectory.logprobs, *scores, trajectory.reward)):
        raise TypeError("a log-prob or a score that is no number")
    if not isinstance(trajectory.answer, str | None) or not isinstance(trajectory.stop_reason, str):
        raise TypeError("an answer or a stop reason that is no text")


def write_trajectories(path: Path, trajectories: Iterable[Trajectory]) -> None:
    """Write a `.jsonl.zst` file, whole or not at all (write, flush to disk, rename)."""
    atomic_write(path, zstandard.ZstdCompressor(level=6).compress(json_lines(map(to_dict, trajectories))))


def read_trajectories(path: str | Path) -> Iterator[Trajectory]:
    """Read a file of episodes: `trajectories/step-*.jsonl.zst` of a run, or `part-*.jsonl.zst` of `collect`.

    Raises `DataError` naming the file, and the line where there is one.
    """
    from zerosearch.files.json_rows import parse_json

    try:
        text = _decompress(Path(path).read_bytes()).decode()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, zstandard.ZstdError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if not line:
            continue
        yield from_dict(parse_json(line, f"{path}:{number}"), f"{path}:{number}")


def _decompress(data: bytes) -> bytes:
    """All frames of a zstd file. Raises `ZstdError` where it is cut off: a plain stream reader would just end there."""
    parts: list[bytes] = []
    while data or not parts:
        frame = zstandard.ZstdDecompressor().decompressobj()
        parts.append(frame.decompress(data))
        if not frame.eof:
            raise zstandard.ZstdError("the file is cut off")
        data = frame.unused_data
    return b"".join(parts)
