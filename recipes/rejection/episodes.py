"""Rejection sampling: a policy's own successful episodes, as texts to tune it on.

The SFT baseline of search agents, as in STaR (Zelikman et al. 2022) and RFT (Yuan et al. 2023, arXiv 2308.01825): ask
each question several times, keep what came out right, train on that. The ids are those that were sampled, and the mask
is the episode's own: pages are read and never learned.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from zerosearch.episodes.examples import Example
from zerosearch.episodes.seeds import derive_seed
from zerosearch.episodes.trajectory import Trajectory
from zerosearch.errors import DataError
from zerosearch.files.jsonl import read_object
from zerosearch.simulator.collect import read_collection


def right_episodes(folder: Path, model: str, *, per_question: int = 1, limit: int, seed: int = 0) -> list[Example]:
    """The texts of a collection's right episodes. Raises `DataError` where it was collected with another model."""
    record = folder / "collect.json"
    policy = read_object(record).get("policy") if record.exists() else None
    if policy is not None and policy != model:
        raise DataError(
            f"{folder}: was collected with {policy}, whose tokens are not those of {model}; --model {policy}"
        )
    return successful_examples(read_collection(folder), per_question=per_question, limit=limit, seed=seed)


def successful_examples(
    trajectories: Iterable[Trajectory], *, per_question: int = 1, limit: int | None = None, seed: int = 0
) -> list[Example]:
    """A text for each well-formed episode whose answer is an exact match, at most `per_question` a question.

    Equal ones count once. Which ones are kept, and which `limit` of all questions, is drawn by `seed`. Raises
    `DataError` where there are none, or where an episode was collected from a policy behind a URL, whose ids are no
    model's.
    """
    kept: dict[str, dict[tuple[int, ...], Trajectory]] = {}
    seen = 0
    for trajectory in trajectories:
        seen += 1
        if any(value != value for value in trajectory.logprobs):
            name = trajectory.question.id
            raise DataError(f"question {name}: was answered by a policy behind a URL, so its token ids are not known")
        if trajectory.valid and trajectory.scores.em == 1.0 and trajectory.scores.format == 1.0:
            kept.setdefault(trajectory.question.id, {}).setdefault(trajectory.ids, trajectory)
    if not kept:
        raise DataError(f"none of {seen} trajectories is well formed and right: nothing to learn from")
    asked = sorted(kept, key=lambda name: derive_seed("question", seed, name))
    examples = []
    for name in asked:
        drawn = sorted(kept[name].values(), key=lambda t: derive_seed("try", seed, name, t.rollout))
        examples += [Example(list(t.ids), list(t.mask), name) for t in drawn[:per_question]]
    return examples[:limit]
