"""Read what a name on the command line means: a run's trajectories, or the predictions of an evaluation."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from zerosearch.episodes.trajectory import read_trajectories
from zerosearch.errors import DataError
from zerosearch.evaluation.results import find_results
from zerosearch.reports.played import Played
from zerosearch.spending.ledger import counted

_STEP = re.compile(r"step-(\d+)\.jsonl\.zst")


def trajectory_files(run: Path) -> dict[int, Path]:
    """The files of a run's episodes by their step, which counts from 0; in order."""
    found = ((match, path) for path in (run / "trajectories").glob("*.zst") if (match := _STEP.fullmatch(path.name)))
    return dict(sorted((int(match[1]), path) for match, path in found))


def run_settings(run: Path) -> dict[str, Any]:
    """A run's `config.toml` as it stands there; empty where there is none. Raises `DataError` where it is damaged."""
    path = run / "config.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):  # the target may be a file of predictions
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None


def begun(folder: Path) -> bool:
    """Whether a run has begun in `folder`: it has what a run writes first."""
    return (folder / "manifest.json").is_file() and (folder / "config.toml").is_file()


def reward_name(run: Path) -> str:
    """Which score the run's reward is: `reward.name`."""
    reward = run_settings(run).get("reward")
    return str(reward.get("name", "f1")) if isinstance(reward, dict) else "f1"


def episodes(target: str, step: int | None = None, question: str | None = None) -> list[Played]:
    """The episodes that `target` means, as they stand in its files.

    A run: those of `step` (None: its newest; or where a `question` is named, the newest that asked it). A `.zst` file,
    or a folder of them: all. Anything else is read as `zerosearch compare` reads it: RUN@STEP, FOLDER, FOLDER:METHOD, a
    file of predictions. `question` is a question's id.

    Raises `DataError` where there are none.
    """
    path = Path(target)
    if files := trajectory_files(path):
        found = _of_run(target, files, step, question)
    else:
        if step is not None and begun(path):
            raise DataError(f"{target}: this run has no episodes of training yet (logging.trajectories_every)")
        if step is not None:
            raise DataError(f"{target}: --step is for a run with trajectories; an evaluation of a run is RUN@STEP")
        if begun(path) and not any((path / "evaluations").glob("step-*")):
            raise DataError(f"{target}: this run has no episodes yet (logging.trajectories_every)")
        written = _trajectories_in(path)
        found = list(_of_files(written) if written else _of_evaluation(target))
        if question is not None:
            found = [one for one in found if one.question.id == question]
    if not found:
        raise DataError(f"{target}: no episode of question {question!r}" if question else f"{target}: holds no episode")
    return found


def _of_run(target: str, files: dict[int, Path], step: int | None, question: str | None) -> list[Played]:
    if step is not None and step not in files:
        steps = sorted(files)
        raise DataError(
            f"{target}: has no episodes of step {step + 1}; it has {counted(len(steps), 'step')}, from {steps[0] + 1} "
            f"to {steps[-1] + 1} (logging.trajectories_every)"
        )
    for number in [step] if step is not None else sorted(files, reverse=True):
        found = [Played.of_training(t) for t in read_trajectories(files[number])]
        if question is not None:
            found = [one for one in found if one.question.id == question]
        if found:
            return found
    return []


def _trajectories_in(path: Path) -> list[Path]:
    """The `.zst` files of `path` itself, as `zerosearch collect` writes them, or `path` where it is one."""
    if path.is_file():
        return [path] if path.suffix == ".zst" else []
    return sorted(path.glob("*.jsonl.zst")) if path.is_dir() else []


def _of_files(files: Iterable[Path]) -> Iterator[Played]:
    return (Played.of_training(t, path.name.partition(".")[0]) for path in files for t in read_trajectories(path))


def _of_evaluation(target: str) -> Iterator[Played]:
    for file in find_results(target):
        for group, rows in enumerate(file.by_question.values()):
            for row in rows:
                yield Played.of_evaluation(row, group=group)
