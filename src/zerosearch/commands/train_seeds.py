"""`zerosearch train --seeds`: one run for each seed, one after the other or one on each GPU, and their mean."""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from rich.table import Table
from rich.text import Text

from zerosearch.commands.screen import console, heading, table, typed
from zerosearch.config import TrainConfig
from zerosearch.errors import ConfigError, RunError
from zerosearch.files.jsonl import read_object
from zerosearch.process import interrupts
from zerosearch.spending.ledger import counted

SCORES = {
    "f1": "F1",
    "em": "EM",
    "cover_em": "cover-EM",
    "searches": "searches per episode",
    "evidence": "page held the answer",
    "valid_actions": "valid actions",
    "answered": "answered",
}
"""Of an evaluation's summary: what is shown, and how it is called."""


def seeds_of(text: str) -> list[int]:
    """`0,1,2`. Raises `ConfigError` for what is no list of different seeds."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise ConfigError(f"--seeds {text}: write whole numbers with commas between them, such as 0,1,2")
    seeds = [int(part) for part in parts]
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"--seeds {text}: names a seed twice")
    return seeds


def check_folders(configs: Iterable[TrainConfig]) -> None:
    """Raises the first error for which a run would refuse its folder: it holds other things, or other settings."""
    from zerosearch.learning.beginning import check_run_folder, look

    for config in configs:
        check_run_folder(config.run_folder)
        look(config)


def train_seeds(configs: dict[int, TrainConfig], options: Sequence[str]) -> None:
    """Run `zerosearch train` with `options` for each seed; `configs` are the runs' own.

    Each run is a process of its own. A run that fails stops no other. Raises `RunError` at the end where one has
    failed, and `KeyboardInterrupt` once a signal has ended all of them.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("--seeds starts processes of its own, one a GPU: run it without accelerate launch")
    places = gpus(next(iter(configs.values())))
    how = "one after the other" if len(places) == 1 else f"on {len(places)} GPUs side by side"
    console.print(
        f"{counted(len(configs), 'run')}, {how}: " + ", ".join(str(config.run_folder) for config in configs.values())
    )
    runs = _Runs(places, options)
    with ThreadPoolExecutor(max_workers=len(places)) as pool:
        ended = {seed: pool.submit(runs.run, seed, config) for seed, config in configs.items()}
        try:
            statuses = {seed: future.result() for seed, future in ended.items()}
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            runs.stop(interrupts.received() or signal.SIGINT)
            raise
    done = {seed: config for seed, config in configs.items() if statuses[seed] == 0}
    if (shown := summary(done)) is not None:
        console.print(shown)
    if len(done) > 1:
        told = typed("report", *(config.run_folder for config in done.values()))
        console.print(f"their curves over each other: {told}")
        if not any(config.model.full for config in done.values()):
            console.print(
                f"the mean of their weights: {typed('export', *(config.run_folder for config in done.values()))}"
            )
    if failed := {seed: status for seed, status in statuses.items() if status}:
        said = ", ".join(f"seed {seed} (status {status})" for seed, status in failed.items())
        raise RunError(
            f"{len(failed)} of {counted(len(configs), 'run')} failed: {said}; their own lines say why, "
            "and the same command resumes them"
        )


def gpus(config: TrainConfig) -> list[str | None]:
    """CUDA_VISIBLE_DEVICES of the runs that go on side by side; [None]: one run at a time, where it likes."""
    if config.model.device not in ("auto", "cuda"):
        return [None]
    import torch

    count = torch.cuda.device_count()
    if count < 2:
        return [None]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return list(visible.split(",")[:count]) if visible else [str(index) for index in range(count)]


class _Runs:
    """Processes, at most one a place."""

    def __init__(self, places: Sequence[str | None], options: Sequence[str]) -> None:
        self._options = options
        self._free: SimpleQueue[str | None] = SimpleQueue()
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False
        for place in places:
            self._free.put(place)

    def run(self, seed: int, config: TrainConfig) -> int:
        """Run to the end and print its lines, the seed before each. Returns the status."""
        place = self._free.get()
        try:
            if self._stopped:
                return 128 + signal.SIGINT
            words = [*self._options, "--set", f"seed={seed}", "--name", config.name, "--folder", config.folder]
            environment = os.environ | ({} if place is None else {"CUDA_VISIBLE_DEVICES": place})
            with subprocess.Popen(
                [sys.executable, "-m", "zerosearch", "train", *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                errors="replace",
                env=environment | {"PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": "1"},
            ) as process:
                self._running.add(process)
                if self._stopped:  # just now
                    process.send_signal(signal.SIGINT)
                assert process.stdout is not None
                for line in process.stdout:
                    console.print(Text(f"seed {seed}  {line.rstrip()}"))
            self._running.discard(process)
            return process.returncode
        finally:
            self._free.put(place)

    def stop(self, number: int) -> None:
        """Pass a signal on; a process that a terminal has told already takes the two for one."""
        self._stopped = True
        for process in list(self._running):
            with contextlib.suppress(OSError):
                process.send_signal(number)


def summary(runs: dict[int, TrainConfig]) -> Table | None:
    """The last evaluation of each run, their mean and standard deviation; None where there is none."""
    last = {seed: found[-1] for seed, config in runs.items() if (found := evaluations_of(config.run_folder))}
    if not last:
        return None
    steps = sorted({evaluation["step"] for evaluation in last.values()})
    after = f"after {' or '.join(map(str, steps))} {'step' if steps == [1] else 'steps'}"
    first = next(iter(last.values()))
    shown = table(
        heading(counted(first["summary"]["questions"], "held-out question"), f"{first['engine']}, {after}"),
        "",
        *(f"seed {seed}" for seed in last),
        "mean",
        "standard deviation",
    )
    for key, name in SCORES.items():
        values = [float(evaluation["summary"][key]) for evaluation in last.values()]
        spread = f"{statistics.stdev(values):.3f}" if len(values) > 1 else "-"
        shown.add_row(name, *(f"{value:.3f}" for value in values), f"{statistics.mean(values):.3f}", spread)
    return shown


def evaluations_of(folder: Path) -> list[dict[str, Any]]:
    """The evaluations of a run's folder, the oldest first."""
    return [read_object(path) for path in sorted((folder / "evaluations").glob("step-[0-9]*.json"))]
