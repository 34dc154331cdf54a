"""Compare two evaluations question by question: which is better, by how much, and whether it may be chance."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from zerosearch.episodes.predictions import Prediction, PredictionFile
from zerosearch.episodes.statistics import Interval, Values, average, between_runs, paired_p_value
from zerosearch.errors import DataError
from zerosearch.evaluation.benchmarks import in_order
from zerosearch.evaluation.results import question_values, unlike
from zerosearch.spending.ledger import counted

MEASURES = ("em", "f1", "searches")
Run = Mapping[str, PredictionFile]


@dataclass(frozen=True)
class Difference:
    """Means of A and of B, A minus B with its 95 % interval, and the p value of the sign-flip test."""

    a: float
    b: float
    difference: Interval
    p_value: float


@dataclass(frozen=True)
class Wins:
    """Questions by EM: only A right, only B right, both, neither. Of several tries, whoever is right more often."""

    a_only: int
    b_only: int
    both: int
    neither: int


@dataclass(frozen=True)
class Side:
    """What one run did on a question: the answer (None: none), its queries, and whether a page held the answer, None
    where no page can be said to."""

    answer: str | None
    queries: tuple[str, ...]
    saw_answer: bool | None


@dataclass(frozen=True)
class Disagreement:
    benchmark: str
    id: str
    question: str
    golden_answers: tuple[str, ...]
    a: Side
    b: Side


@dataclass(frozen=True)
class Part:
    """One benchmark."""

    benchmark: str
    questions: int
    measures: dict[str, Difference]
    wins: Wins


@dataclass(frozen=True)
class Comparison:
    """`macro` and `micro` are None where there is one benchmark. `notes` say what was unlike and what was left out.

    `a_runs` and `b_runs`: EM over all questions of each run where a side is the mean of several. `between_runs`: the
    difference of their means, with an interval over runs and not over questions.
    """

    a: str
    b: str
    parts: tuple[Part, ...]
    macro: dict[str, Difference] | None
    micro: dict[str, Difference] | None
    wins: Wins
    a_wins: tuple[Disagreement, ...]
    b_wins: tuple[Disagreement, ...]
    notes: tuple[str, ...]
    a_runs: tuple[float, ...] = ()
    b_runs: tuple[float, ...] = ()
    between_runs: Interval | None = None

    @property
    def questions(self) -> int:
        return sum(part.questions for part in self.parts)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def compare_runs(
    a: Run, b: Run, names: tuple[str, str], *, allow_unlike: bool = False, examples: int = 3
) -> Comparison:
    """Compare two runs, each a file a benchmark; `names` are what the user called them.

    Raises `DataError` where both are the same file, and where the runs are unlike: other benchmarks, questions, engines
    or numbers of tries, or predictions missing or failed. With `allow_unlike` the questions that both answered are
    compared, and the notes say so: what failed is no answer.
    """
    shared = in_order(name for name in a if name in b)
    same = next((path for name in shared for path in _paths(a[name]) if path in _paths(b[name])), None)
    if same is not None:
        raise DataError(f"{names[0]} and {names[1]} are the same predictions ({same}): name two different ones")
    notes = _unlike(a, b, names)
    if notes and not allow_unlike:
        more = f" (and {len(notes) - 1} more)" if len(notes) > 1 else ""
        raise DataError(f"{notes[0]}{more}; --unlike compares the questions that both answered")
    ids = {}
    for name in shared:
        ids[name], left_out = _common(a[name], b[name])
        if left_out:
            notes.append(f"{name}: left out: {counted(left_out, 'question')}, not answered by both or not the same")
    kept = [name for name in shared if ids[name]]
    if not kept:
        raise DataError(f"{names[0]} and {names[1]} have no question in common")
    em = {name: _values(a[name], b[name], "em", ids[name]) for name in kept}

    def measured(names: Sequence[str], *, macro: bool = True) -> dict[str, Difference]:
        pairs = {m: [_values(a[name], b[name], m, ids[name]) for name in names] for m in MEASURES}
        return {measure: _difference(of, macro=macro) for measure, of in pairs.items()}

    parts = tuple(Part(name, len(ids[name]), measured([name]), _wins(*em[name])) for name in kept)
    several = len(kept) > 1
    chosen = {name: ids[name] for name in kept}
    a_runs, b_runs = _by_run(a, chosen), _by_run(b, chosen)
    ahead = {(name, one): by for name in kept for one, by in zip(ids[name], np.subtract(*em[name]), strict=True)}
    a_won, b_won = [place for place in ahead if ahead[place] > 0], [place for place in ahead if ahead[place] < 0]
    return Comparison(
        *_labels(a, b, names),
        parts=parts,
        macro=measured(kept) if several else None,
        micro=measured(kept, macro=False) if several else None,
        wins=Wins(*(sum(getattr(part.wins, f.name) for part in parts) for f in fields(Wins))),
        a_wins=tuple(islice(_examples(a, b, a_won, a_won=True), examples)),
        b_wins=tuple(islice(_examples(a, b, b_won, a_won=False), examples)),
        notes=tuple(notes),
        a_runs=a_runs if len(a_runs) > 1 else (),
        b_runs=b_runs if len(b_runs) > 1 else (),
        between_runs=between_runs(a_runs, b_runs) if len(a_runs) + len(b_runs) > 2 else None,
    )


def _paths(file: PredictionFile) -> list[Path]:
    return [path.resolve() for path in (file.path, *file.also)]


def _by_run(run: Run, ids: Mapping[str, Sequence[str]]) -> tuple[float, ...]:
    """Mean EM over all questions of each run that was pooled."""
    several = 1 + max(len(run[name].also) for name in ids)
    scores: list[list[float]] = [[] for _ in range(several)]
    for name, chosen in ids.items():
        for question in chosen:
            for row in run[name].by_question[question]:
                scores[row.sample // run[name].header.samples].append(row.em)
    return tuple(float(np.mean(of)) for of in scores)


def _values(a: PredictionFile, b: PredictionFile, measure: str, ids: Sequence[str]) -> tuple[Values, Values]:
    return question_values(a, measure, ids), question_values(b, measure, ids)


def _unlike(a: Run, b: Run, names: tuple[str, str]) -> list[str]:
    """What makes the runs unlike, a line each."""
    lines = []
    for mine, theirs, name in ((a, b, names[1]), (b, a, names[0])):
        if missing := [benchmark for benchmark in mine if benchmark not in theirs]:
            lines.append(f"{name} has no {', '.join(missing)}")
    for benchmark in (name for name in a if name in b):
        reasons = unlike(a[benchmark].header, b[benchmark].header)
        if reasons:
            lines.append(f"{names[0]} and {names[1]} differ on {benchmark}: {'; '.join(reasons)}")
        for file in (a[benchmark], b[benchmark]):
            if file.missing:
                lines.append(f"{file.path}: lacks {file.missing} of its predictions")
            if file.failures:
                lines.append(file.told_failures)
    return lines


def _common(a: PredictionFile, b: PredictionFile) -> tuple[list[str], int]:
    """Ids of the questions that both were asked with the same text and answers, sorted; and how many others there are.

    A question of which a run lacks tries, or of which one failed, counts as not answered.
    """

    def asked(file: PredictionFile) -> dict[str, tuple[str, tuple[str, ...]]]:
        return {
            name: (tries[0].question, tries[0].golden_answers)
            for name, tries in file.by_question.items()
            if len(tries) == file.tries and all(row.error is None for row in tries)
        }

    mine, theirs = asked(a), asked(b)
    common = sorted(name for name in mine if theirs.get(name) == mine[name])
    return common, len(set(a.by_question) | set(b.by_question)) - len(common)


def _difference(pairs: Sequence[tuple[Values, Values]], *, macro: bool) -> Difference:
    """Over the strata of both runs. The test has the weights of the average that it is about."""
    differences = [one - other for one, other in pairs]
    weights = [1 / len(pairs)] * len(pairs) if macro else None
    return Difference(
        a=_mean([one for one, _ in pairs], macro),
        b=_mean([other for _, other in pairs], macro),
        difference=average(differences, macro=macro, differences=True),
        p_value=paired_p_value(differences, weights),
    )


def _mean(strata: Sequence[Values], macro: bool) -> float:
    return float(np.mean([values.mean() for values in strata])) if macro else float(np.concatenate(strata).mean())


def _wins(a: Values, b: Values) -> Wins:
    equal = a == b
    return Wins(*(int(np.sum(rows)) for rows in (a > b, b > a, equal & (a > 0), equal & (a == 0))))


def _examples(a: Run, b: Run, won: Sequence[tuple[str, str]], *, a_won: bool) -> Iterator[Disagreement]:
    """The questions (benchmark and id) that a side has won, in an order drawn by a fixed seed."""

    def lot(place: tuple[str, str]) -> bytes:
        return hashlib.sha256(f"0\x1f{place[0]}\x1f{place[1]}".encode()).digest()

    for name, question in sorted(won, key=lot):
        one = _typical(a[name].by_question[question], right=a_won)
        other = _typical(b[name].by_question[question], right=not a_won)
        yield Disagreement(name, question, one.question, one.golden_answers, _side(one), _side(other))


def _typical(tries: Sequence[Prediction], *, right: bool) -> Prediction:
    """The first try that is right, or wrong; the first of all where there is none."""
    return next((row for row in tries if (row.em == 1.0) == right), tries[0])


def _side(row: Prediction) -> Side:
    return Side(row.answer, tuple(search.query for search in row.searches), row.saw_answer)


def _labels(a: Run, b: Run, names: tuple[str, str]) -> tuple[str, str]:
    """Short names that differ: methods, methods with models, or what the user wrote."""
    one, other = next(iter(a.values())).header, next(iter(b.values())).header
    if one.method != other.method:
        return one.method, other.method
    if one.model != other.model:
        return f"{one.method}, {one.model}", f"{other.method}, {other.model}"
    return names
