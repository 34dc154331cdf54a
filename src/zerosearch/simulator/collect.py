"""Collect trajectories with a real engine: what a simulator is tuned on later.

Episodes are written in parts (`part-000000.jsonl.zst`, ...) of a few dozen. A kill loses at most the part that was not
yet written; the same call plays the questions and rollouts that no part holds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from zerosearch.episodes.questions import Question
from zerosearch.episodes.tasks import for_each
from zerosearch.episodes.trajectory import Trajectory, Try, read_trajectories, write_trajectories
from zerosearch.errors import DataError

PART_SIZE = 32


@dataclass
class Progress:
    """`done` of `total` episodes, those of earlier calls included. Of these: `right`, whose answer is an exact match,
    and the `searches`, those that `failed`, and what all cost in US dollars."""

    total: int
    done: int = 0
    right: int = 0
    searches: int = 0
    failed: int = 0
    cost_usd: float = 0.0

    def add(self, trajectories: Sequence[Trajectory]) -> None:
        self.done += len(trajectories)
        for t in trajectories:
            self.right += t.scores.em == 1.0
            self.searches += len(t.searches)
            self.failed += sum(s.error is not None for s in t.searches)
            self.cost_usd += sum(s.usage.usd for s in t.searches)


def read_collection(folder: Path) -> Iterator[Trajectory]:
    """Every trajectory of a collection, in the order of its parts. Raises `DataError` where there is none."""
    parts = list_parts(folder)
    if not parts:
        raise DataError(f"{folder}: holds no part-*.jsonl.zst; is it what `zerosearch collect` wrote?")
    for part in parts:
        yield from read_trajectories(part)


def list_parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-[0-9]*.jsonl.zst"))


async def collect(
    questions: Sequence[Question],
    play: Callable[[Try], Awaitable[Trajectory]],
    folder: Path,
    *,
    rollouts: int = 1,
    concurrency: int = 64,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Play `rollouts` episodes for each question that `folder` does not hold yet; at most `concurrency` at a time.

    `play` is `run_episode` with its generator, engine, settings and error rate filled in.

    Episodes whose search failed are kept, as trajectories that say so, and are not played again. An error that ends the
    run (the error-rate limit, a full disk, a budget) leaves the finished episodes written.
    """
    held = [t for part in list_parts(folder) for t in read_trajectories(part)]
    progress = Progress(len(questions) * rollouts)
    wanted = {
        (question.id, rollout): Try(question, group=group, rollout=rollout)
        for group, question in enumerate(questions)
        for rollout in range(rollouts)
    }
    progress.add([t for t in held if (t.question.id, t.rollout) in wanted])
    report(progress)
    for t in held:
        wanted.pop((t.question.id, t.rollout), None)
    number = int(list_parts(folder)[-1].name[5:11]) + 1 if held else 0
    ready: list[Trajectory] = []

    def write() -> None:
        nonlocal number
        if ready:
            write_trajectories(folder / f"part-{number:06d}.jsonl.zst", ready)
            progress.add(ready)
            number += 1
            ready.clear()
            report(progress)

    def keep(played: Trajectory) -> None:
        ready.append(played)
        if len(ready) >= PART_SIZE:
            write()

    try:
        await for_each(wanted.values(), play, keep, limit=concurrency)
    finally:
        write()
    return progress
