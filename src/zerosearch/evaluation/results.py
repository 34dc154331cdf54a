"""Files of predictions brought together: found, checked to be alike, and turned into one value a question.

`evaluate` writes FOLDER/BENCHMARK/METHOD.jsonl, but what a file is about is read from its header, never from its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from zerosearch.episodes.predictions import Header, PredictionFile, is_predictions, read_predictions
from zerosearch.episodes.statistics import Values, pass_at_k, question_means
from zerosearch.errors import DataError
from zerosearch.files.identity import differences

NO_ENGINE = "none"
METRIC_TITLES = {"em": "EM", "f1": "F1", "cover_em": "cover-EM", "searches": "searches"}
_PASS = "pass@"
_EVALUATIONS = "evaluations"  # the folder of a training run that holds its own


def find_results(target: str) -> list[PredictionFile]:
    """The files of predictions that `target` means, ordered by benchmark and method.

    A file; all of a folder, but none of training runs in it; FOLDER:METHOD, those of one method; RUN, the last
    evaluation of a training run; RUN@STEP, its evaluation after so many steps. Raises `DataError` where there are none.
    """
    path, method = Path(target), None
    run, _, step = target.rpartition("@")
    if is_training_run(path):
        return [read_predictions(_of_run(path, None))]
    if run and not path.exists() and is_training_run(Path(run)):
        return [read_predictions(_of_run(Path(run), step))]
    if not path.exists() and ":" in target:
        folder, method = target.rsplit(":", 1)
        path = Path(folder)
    if path.is_dir():
        files = [read_predictions(found) for found in prediction_files(path)]
    elif path.suffix == ".zst":
        raise DataError(f"{path}: holds episodes of training, no predictions; name the run, or RUN@STEP")
    else:
        files = [read_predictions(path)]
    methods = sorted({file.header.method for file in files})
    if method is not None:
        files = [file for file in files if file.header.method == method]
    if not files and method is not None and methods:
        raise DataError(f"{path}: has no predictions of {method!r}; it has {', '.join(methods)}")
    if not files:
        runs = sorted({str(found.parent) for found in path.glob(f"*/{_EVALUATIONS}")})
        more = f"; it holds training runs: name one, such as {runs[0]}" if runs else " (see zerosearch evaluate)"
        raise DataError(f"{path}: has no files of predictions{more}")
    return sorted(files, key=lambda file: (file.header.benchmark, file.header.method))


def prediction_files(folder: Path) -> list[Path]:
    """The files of predictions in `folder` and below, sorted; not those that a training run below it made."""
    of_run = f"{_EVALUATIONS}/step-*.jsonl"
    found = sorted(folder.rglob("*.jsonl"))
    return [path for path in found if not path.relative_to(folder).match(of_run) and is_predictions(path)]


def is_training_run(path: Path) -> bool:
    """Whether `path` is the folder of a training run, of which `find_results` takes one evaluation."""
    return (path / _EVALUATIONS).is_dir() or (path / "metrics.jsonl").is_file()


def _of_run(run: Path, step: str | None) -> Path:
    """The predictions of a run's evaluation after `step` steps, or of its last one."""
    found = {int(path.stem[5:]): path for path in (run / _EVALUATIONS).glob("step-*.jsonl") if path.stem[5:].isdigit()}
    if not found:
        raise DataError(f"{run}: is a training run without an evaluation that holds predictions")
    number = max(found) if step is None else int(step) if step.isdigit() else None
    if number not in found:
        raise DataError(f"{run}@{step}: no such evaluation; there are {', '.join(f'@{n}' for n in sorted(found))}")
    return found[number]


def one_run(target: str) -> dict[str, PredictionFile]:
    """The one file a benchmark that `target` means. Raises `DataError` where there are several."""
    files = find_results(target)
    run = {file.header.benchmark: file for file in files}
    if len(run) < len(files):
        methods = sorted({file.header.method for file in files})
        if len(methods) > 1:
            raise DataError(f"{target}: holds several methods ({', '.join(methods)}): write {target}:{methods[0]}")
        raise DataError(f"{target}: holds several files of {methods[0]} on one benchmark: name one of them")
    return run


def runs_of(target: str) -> dict[str, PredictionFile]:
    """`one_run`, or several that are pooled: their targets, separated by commas."""
    if "," not in target or Path(target).exists():
        return one_run(target)
    return pooled([one_run(one) for one in target.split(",")])


def pooled(runs: Sequence[Mapping[str, PredictionFile]]) -> dict[str, PredictionFile]:
    """Runs that differ in their seed, as one run whose score of a question is the mean of theirs.

    Raises `DataError` where they are unlike, or where two are the same file.
    """
    found = {}
    for benchmark, first in runs[0].items():
        files = [run[benchmark] for run in runs if benchmark in run]
        paths = [file.path for file in files]
        if len(files) < len(runs) or any(len(run) != len(runs[0]) for run in runs):
            raise DataError(f"{first.path}: the runs do not have the same benchmarks")
        if len({path.resolve() for path in paths}) < len(paths):
            raise DataError(f"{first.path}: stands twice among the runs")
        for file in files[1:]:
            if reasons := unlike(first.header, file.header):
                raise DataError(f"{first.path} and {file.path} are not seeds of one run: {'; '.join(reasons)}")
        rows = [
            replace(row, sample=row.sample + place * first.header.samples)
            for place, file in enumerate(files)
            for row in file.rows
        ]
        method = f"mean of {', '.join(dict.fromkeys(file.header.method for file in files))} ({len(files)} runs)"
        found[benchmark] = PredictionFile(
            first.path, replace(first.header, method=method), tuple(rows), tuple(paths[1:])
        )
    return found


def unlike(one: Header, other: Header) -> list[str]:
    """Why the scores of two files of one benchmark must not stand side by side, in words; empty where they may.

    Other questions, another number of tries, another engine (by its identity) or number of documents. A method that
    never searches goes with any engine. Models, methods and their settings are what is compared.
    """
    reasons = []
    if one.questions_digest != other.questions_digest:
        counts = f"{one.count} with digest {one.questions_digest[:8]}, {other.count} with {other.questions_digest[:8]}"
        reasons.append(f"other questions ({counts})")
    if one.samples != other.samples:
        reasons.append(f"samples {one.samples} and {other.samples}")
    return reasons + other_engine(one, other)


def other_engine(one: Header, other: Header) -> list[str]:
    """What tells the engines of two files apart, a line each; empty where their pages are alike, or where one of them
    never searched."""
    if NO_ENGINE in (one.engine, other.engine):
        return []
    what = differences(one.engine_identity or one.engine, other.engine_identity or other.engine)
    lines = [f"engine {one.engine} and {other.engine} ({', '.join(what)})"] if what else []
    return lines if one.top_k == other.top_k else [*lines, f"top_k {one.top_k} and {other.top_k}"]


def unlike_files(files: Sequence[PredictionFile]) -> list[str]:
    """`unlike` over many files, each named: of one benchmark in everything, of different ones in the engine.

    A file that lacks predictions (an interrupted evaluation) is unlike too.
    """
    reasons = [f"{file.path}: lacks {file.missing} of its predictions" for file in files if file.missing]
    firsts: dict[str, PredictionFile] = {}
    searching = next((file for file in files if file.header.engine != NO_ENGINE), None)
    for file in files:
        first = firsts.setdefault(file.header.benchmark, file)
        reasons += [f"{first.path} and {file.path}: {reason}" for reason in unlike(first.header, file.header)]
        if searching is not None:
            apart = other_engine(searching.header, file.header)
            reasons += [f"{searching.path} and {file.path}: {reason}" for reason in apart]
    return list(dict.fromkeys(reasons))


def question_values(file: PredictionFile, metric: str, ids: Iterable[str] | None = None) -> Values:
    """One value a question, its tries averaged, (Q,), in the order of `ids` (None: all, sorted).

    `metric` is a score (`em`, `f1`, `cover_em`), `searches`, or `pass@K` with at most as many tries as there are.
    """
    rows = file.by_question
    chosen = [rows[name] for name in (sorted(rows) if ids is None else ids)]
    if metric.startswith(_PASS):
        k = int(metric.removeprefix(_PASS))
        return np.array([pass_at_k(sum(row.em == 1.0 for row in tries), len(tries), k) for tries in chosen])
    if metric == "searches":
        return question_means([[len(row.searches) for row in tries] for tries in chosen])
    return question_means([[getattr(row, metric) for row in tries] for tries in chosen])


def metric_title(metric: str) -> str:
    return METRIC_TITLES.get(metric, metric)
