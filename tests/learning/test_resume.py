"""Killed at any moment and resumed, a run gives the numbers that it would have given, to the last digit."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from learning.test_books import evaluations
from learning.test_trainer import rows_of
from learning.toy import changed, toy_config, toy_trainer

from zerosearch.episodes.predictions import read_predictions
from zerosearch.episodes.trajectory import read_trajectories
from zerosearch.errors import RunError
from zerosearch.files.jsonl import read_rows
from zerosearch.learning.checkpoints import list_checkpoints

ALGORITHMS: dict[str, dict[str, Any]] = {
    "grpo": {"name": "grpo", "kl": "loss", "updates_per_batch": 2, "epochs": 2},
    "ppo": {"name": "ppo", "kl": "none", "critic_learning_rate": 3e-3},
}
STEPS, KILLS = 32, 12


def _config(folder: Path, algorithm: str, *, sampler: str = "plain") -> Any:
    steps = {"steps": STEPS, "checkpoint_every": 2, "questions_per_step": 8, "warmup_steps": 3}
    config = toy_config(folder, ALGORITHMS[algorithm], **steps)
    return changed(config, logging__trajectories_every=1, evaluation__every=5, model__sampler=sampler)


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Seen with two: gradients were added up as threads arrived, and two runs of one seed parted in the last digit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def _run(folder: Path, algorithm: str, sampler: str) -> None:
    torch.set_num_threads(2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    toy_trainer(_config(folder, algorithm, sampler=sampler)).run()


def _lines(folder: Path) -> int:
    path = folder / "toy" / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _everything_is_readable(folder: Path) -> None:
    run = folder / "toy"
    list(read_rows(run / "metrics.jsonl"))
    for path in run.glob("trajectories/*.zst"):
        assert list(read_trajectories(path))
    for path in run.glob("evaluations/*.jsonl"):
        assert read_predictions(path).rows
    for path in run.glob("evaluations/*.json"):
        json.loads(path.read_text())
    for checkpoint in list_checkpoints(run / "checkpoints"):
        json.loads((checkpoint.folder / "state.json").read_text())


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(("algorithm", "sampler"), [("grpo", "native"), ("ppo", "plain")])
def test_killed_ten_times_and_resumed_gives_the_same_numbers(algorithm: str, sampler: str, tmp_path: Path) -> None:
    whole = _config(tmp_path / "whole", algorithm, sampler=sampler)
    assert toy_trainer(whole).run()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["learning.test_resume"])
    moments = random.Random(algorithm)
    folder = tmp_path / "killed"
    for kill in range(KILLS):
        process = context.Process(target=_run, args=(folder, algorithm, sampler))
        process.start()
        # each time a little further, and then at a random moment of whatever it does next
        while process.is_alive() and _lines(folder) < 1 + kill * (STEPS - 4) // KILLS:
            process.join(timeout=0.005)
        process.join(timeout=moments.uniform(0, 0.12))
        assert process.is_alive(), f"the run ended before kill {kill}"
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        _everything_is_readable(folder)
    process = context.Process(target=_run, args=(folder, algorithm, sampler))
    process.start()
    process.join()
    assert process.exitcode == 0
    killed = _config(folder, algorithm, sampler=sampler)
    assert rows_of(killed) == rows_of(whole)
    assert len(rows_of(killed)) == STEPS
    assert evaluations(killed) == evaluations(whole)


def test_a_full_disk_keeps_the_older_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = toy_config(tmp_path, ALGORITHMS["grpo"], steps=3, checkpoint_every=1)
    trainer = toy_trainer(config)
    saved = []

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    def save(step: int, original: Any = trainer._checkpoint) -> None:
        if saved:
            monkeypatch.setattr("torch.save", full)
        original(step)
        saved.append(step)

    monkeypatch.setattr(trainer, "_checkpoint", save)
    with pytest.raises(RunError, match=r"No space left on device.*older ones are kept"):
        trainer.run()
    assert [c.step for c in list_checkpoints(config.run_folder / "checkpoints")] == [1]
    assert len(list(read_rows(config.run_folder / "metrics.jsonl"))) == 2
