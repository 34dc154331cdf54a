"""A reward that any policy can differ in: the share of even ids among its own. For runs of random models."""

from __future__ import annotations

from zerosearch.episodes.trajectory import Trajectory


def even(trajectory: Trajectory) -> float:
    own = [i for i, m in zip(trajectory.ids, trajectory.mask, strict=True) if m]
    return sum(i % 2 == 0 for i in own) / max(len(own), 1)
