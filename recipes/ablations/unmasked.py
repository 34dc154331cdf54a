"""Train without the loss mask: python unmasked.py CONFIG [OPTIONS of `zerosearch train`]

Pages are trained as if the policy had written them: every token after the prompt has mask 1. The log-probs that the
sampler gave are those of its own tokens alone, so nothing can be corrected for the difference of sampler and trainer,
and the gap that the run prints says nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

from zerosearch import cli
from zerosearch.episodes.trajectory import Trajectory
from zerosearch.process.runtime import prepare

ALARMS_OFF = ("--set", "training.max_sampler_gap=none", "--set", "training.stop_on_collapse=false")
NEEDED = ("--set", "algorithm.correct_sampler=none", *ALARMS_OFF)


def unmasked(trajectory: Trajectory) -> Trajectory:
    """The same episode; from the end of its prompt on every token counts as the policy's."""
    start = trajectory.prompt_length
    return replace(trajectory, mask=(0,) * start + (1,) * (len(trajectory.ids) - start))


def train_on_pages() -> None:
    """From now on learners see unmasked episodes. Files and metrics of episodes keep the true mask."""
    prepare()  # before torch
    from zerosearch.learning.learner import Learner, Metrics

    update = Learner.update

    def unmasked_update(self: Learner, trajectories: Sequence[Trajectory], step: int) -> Metrics:
        return update(self, [unmasked(one) if one.policy_tokens else one for one in trajectories], step)

    Learner.update = unmasked_update  # type: ignore[method-assign]


def main() -> None:
    words = sys.argv[1:]
    if not words or {"-h", "--help"} & set(words):
        print(__doc__, file=sys.stdout if words else sys.stderr)
        sys.exit(0 if words else 2)
    train_on_pages()
    sys.argv = ["zerosearch", "train", *words, *NEEDED]
    cli.main()  # exits, with the status of the run


if __name__ == "__main__":
    raise SystemExit(main())
