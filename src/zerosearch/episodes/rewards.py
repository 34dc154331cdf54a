"""The reward of an episode: a score by name, or your own function `package.module:name` of the trajectory.

def brief(trajectory: Trajectory) -> float:
    return trajectory.scores.f1 - 0.05 * len(trajectory.searches)
"""

from __future__ import annotations

from operator import attrgetter

from zerosearch.episodes.scoring import SCORES
from zerosearch.episodes.trajectory import Reward, Trajectory
from zerosearch.errors import ConfigError, first_line
from zerosearch.registry import check_call, find

REWARDS: dict[str, Reward] = {name: attrgetter(f"scores.{name}") for name in SCORES}


def find_reward(name: str) -> Reward:
    """The reward of this name. Raises `ConfigError`, then and where your own function fails or gives no number."""
    reward = find(name, REWARDS, "reward.name")
    if name in REWARDS:
        return reward
    check_call(reward, f"reward.name: {name}", None)

    def own(trajectory: Trajectory) -> float:
        where = f"reward.name: {name}: question {trajectory.question.id}"
        try:
            earned = reward(trajectory)
        except Exception as error:  # whatever a user's function raises
            raise ConfigError(f"{where}: {type(error).__name__}: {first_line(error)}") from error
        if not isinstance(earned, (int, float)):
            raise ConfigError(f"{where}: it gave {type(earned).__name__}, not a number")
        return float(earned)

    return own
