"""The reward of simulated-two-hop.toml: F1, less .05 for each search after the first, so that stopping pays.

Without it a policy that searches twice everywhere loses nothing, and learns just that. An episode earns nothing less
than 0: a wrong answer after two searches is no worse than after one, or nobody would look further.
"""

from __future__ import annotations

from zerosearch.episodes.trajectory import Trajectory

PRICE = 0.05


def reward(trajectory: Trajectory) -> float:
    """In [0, 1]."""
    further = max(len(trajectory.searches) - 1, 0)
    return max(trajectory.scores.f1 - PRICE * further, 0.0)
