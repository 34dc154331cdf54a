"""Where a run starts: at its newest complete checkpoint, at step 0, or not at all if results would be lost.

    begin = look(config)                     # before anything is loaded or written
    checkpoint = load_newest(begin, learner, config)
    tidy(folder, keep=2)                     # what kills have left

A run notes in `checkpoints/start.json` that it has begun, until its first checkpoint stands: killed before that it
begins again, by the same settings. Results without either are never begun over.
"""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from zerosearch.config import TrainConfig
from zerosearch.errors import CheckpointError, DataError, FolderError
from zerosearch.files.folders import aside, listed
from zerosearch.files.jsonl import read_metrics, read_object, trim_rows
from zerosearch.learning.checkpoints import (
    START,
    DamagedCheckpoint,
    check_settings,
    list_checkpoints,
    load_checkpoint,
)
from zerosearch.learning.learner import Learner
from zerosearch.run_folder import Checkpoint, step_folders
from zerosearch.spending.ledger import counted

_OUT = "--fresh sets them aside and starts over, or take another --name"


@dataclass
class Beginning:
    """The checkpoints to try, newest first (none: step 0), those that cannot be used, and what to say about it."""

    folder: Path
    whole: list[Checkpoint] = field(default_factory=list)
    damaged: list[Checkpoint] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    @property
    def step(self) -> int:
        return self.whole[0].step if self.whole else 0


def check_run_folder(folder: Path) -> None:
    """Raises `FolderError` for a folder that holds something and is no run's: its files could be overwritten."""
    try:
        names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    except FileNotFoundError:
        return
    except OSError as error:
        raise FolderError(f"{folder}: cannot be run in ({error.strerror or error}); take another --name") from None
    if not names or (folder / "checkpoints").is_dir():
        return
    try:
        known = "packages" in read_object(folder / "manifest.json")
    except DataError:
        known = False
    if not known:
        raise FolderError(f"{folder}: holds {listed(names)} and no manifest of a run; take another --name")


def look(config: TrainConfig) -> Beginning:
    """What the run folder of `config` holds to go on with.

    Raises `CheckpointError` where its newest whole checkpoint, or its beginning, has other settings (naming the first),
    and where it holds results and nothing whole to go on from.
    """
    folder = config.run_folder
    begin = Beginning(folder)
    for checkpoint in reversed(step_folders(folder / "checkpoints")):
        try:
            check_settings(checkpoint, config)
            if not zipfile.is_zipfile(checkpoint.folder / "learner.pt"):
                raise DamagedCheckpoint(f"{checkpoint.folder / 'learner.pt'}: is not whole")
        except DamagedCheckpoint as error:
            if not begin.whole:
                begin.damaged.append(checkpoint)
                begin.said.append(f"warning: {error}")
            continue
        except CheckpointError:
            if begin.whole:  # only the newest one that can be read speaks for the run
                continue
            raise
        begin.whole.append(checkpoint)
    held = results(folder)
    if begin.whole or not held:
        return begin
    start = Checkpoint(folder / "checkpoints", 0)
    try:
        if begin.damaged:
            raise DamagedCheckpoint("; ".join(text.removeprefix("warning: ") for text in begin.said))
        check_settings(start, config, name=START)
    except DamagedCheckpoint as error:
        why = str(error) if begin.damaged or (start.folder / START).exists() else "it has no checkpoint"
        raise CheckpointError(
            f"{folder}: holds results ({listed(held)}) that cannot be gone on with ({why}): {_OUT}"
        ) from None
    begin.said.append(f"{folder}: was stopped before its first checkpoint; it begins again")
    return begin


def results(folder: Path) -> list[str]:
    """What a run has left in its folder that beginning over would lose, by name."""
    found = [name for name in ("metrics.jsonl",) if (folder / name).is_file() and (folder / name).stat().st_size]
    for name in ("evaluations", "trajectories", "checkpoints"):
        if any(not path.name.startswith(".") and path.name != START for path in (folder / name).glob("*")):
            found.append(f"{name}/")
    return found


def load_newest(begin: Beginning, learner: Learner, config: TrainConfig) -> Checkpoint | None:
    """Load the newest checkpoint that can be loaded; the others count as damaged from then on. None: step 0.

    Raises `CheckpointError` where there are some and none can be loaded.
    """
    reasons: list[str] = []
    while begin.whole:
        try:
            load_checkpoint(begin.whole[0], learner, config)
        except DamagedCheckpoint as error:
            reasons.append(str(error))
            begin.damaged.append(begin.whole.pop(0))
            begin.said.append(f"warning: {error}")
        else:
            return begin.whole[0]
    if reasons:
        raise CheckpointError(f"{begin.folder}: no checkpoint can be loaded ({'; '.join(reasons)}): {_OUT}")
    return None


def tidy(begin: Beginning, keep: int) -> None:
    """Rename damaged checkpoints newer than the one gone on from, and remove what kills left: half-written ones, and
    those that would have been dropped next. Only the process that owns the folder may."""
    for checkpoint in begin.damaged:
        name = checkpoint.folder.with_name(f"{checkpoint.folder.name}.damaged")
        checkpoint.folder.rename(aside(name) if name.exists() else name)
        begin.said.append(f"{checkpoint.folder} is now {name.name}")
    root = begin.folder / "checkpoints"
    for pattern in (".step-*.partial", ".step-*.before"):
        for left in root.glob(pattern):
            shutil.rmtree(left, ignore_errors=True)
    for old in list_checkpoints(root)[:-keep]:
        shutil.rmtree(old.folder, ignore_errors=True)


def take_back(begin: Beginning, start: int | None) -> None:
    """Take out what was written after the checkpoint of step `start`: it will be written again.

    Without a checkpoint (None) that is everything: nothing says that an older evaluation was made with these settings.
    Metrics that the checkpoint's run had and the folder has not are said.
    """
    path = begin.folder / "metrics.jsonl"
    trim_rows(path, keep_below=start or 0)
    for record in sorted((begin.folder / "evaluations").glob("step-[0-9]*.json*")):
        if start is None or (record.stem[5:].isdigit() and int(record.stem[5:]) > start):
            record.unlink()
    lost = (start or 0) - len({row["step"] for row in read_metrics(path)})
    if lost > 0:
        steps = counted(start or 0, "step")
        begin.said.append(f"warning: {path} lacks {lost} of the {steps} before the checkpoint; the run continues")
