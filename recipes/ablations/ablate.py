"""One thing changed at a time, three seeds each, and the comparison with what was not changed.

python recipes/ablations/ablate.py                                     # all arms, one GPU
python recipes/ablations/ablate.py --gpus 0,0,0                        # three runs at a time
python recipes/ablations/ablate.py --arms em,unmasked --seeds 0,1
python recipes/ablations/ablate.py --dry-run                           # print the commands

The run is `demo-gpu` with fewer steps: a policy of 135M, two-hop questions of the Factbook, pages that the embedded
simulator writes, judged by BM25 on 500 questions about other countries. Run it in an empty folder. A stage that is done
is not done again; after a failure nothing that needs the stage is begun, and the status is 1. Logs are work/log/.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))
from recipes.script import at_least
from recipes.stages import Stage, carry_out

UNMASKED = str(Path(__file__).resolve().parent / "unmasked.py")
BASE = "base"
ARMS = {
    BASE: (),
    "real": ("engine.kind=bm25", "engine.bm25.corpus=factbook", "engine.snippet_words=15"),
    "prompted": (
        *("engine.simulated.adapter=none", "engine.simulated.style=instruct", "engine.simulated.plan_temperature=none"),
        "curriculum.end=0",
    ),
    "no-noise": ("curriculum.end=0",),
    "fixed-noise": ("curriculum.kind=fixed", "curriculum.start=0.1"),
    "em": ("reward.name=em",),
    "reinforce": ("algorithm.name=reinforce",),
    "ppo": ("algorithm.name=ppo",),
    "unmasked": (),
}
"""What each arm changes. The noise of `fixed-noise` is the mean of the curriculum's, which rises from 0 to .25. A
simulator without its adapter cannot be steered, so `prompted` has no noise."""
ALIKE = ("evaluation.transfer_limit=0", "logging.tensorboard=false")


def stages(arms: list[str], seeds: list[str], steps: int) -> list[Stage]:
    """All arms with the first seed, then with the next, so that what is cut off can be compared; then comparisons."""
    found = []
    for seed in seeds:
        for arm in arms:
            settings = (f"name={arm}-{seed}", f"seed={seed}", f"training.steps={steps}", *ALIKE, *ARMS[arm])
            words = [word for setting in settings for word in ("--set", setting)]
            command = [UNMASKED] if arm == "unmasked" else ["-m", "zerosearch", "train"]
            found.append(Stage(f"train-{arm}-{seed}", (sys.executable, *command, "demo-gpu", *words)))
    for arm in arms:
        if arm != BASE and BASE in arms:
            sides = [",".join(f"runs/{name}-{seed}" for seed in seeds) for name in (arm, BASE)]
            compared = (sys.executable, "-m", "zerosearch", "compare", *sides, "--examples", "0")
            needs = tuple(f"train-{name}-{seed}" for name in (arm, BASE) for seed in seeds)
            found.append(Stage(f"compare-{arm}", compared, needs, gpu=False, title=f"{arm} against {BASE}"))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--arms", default=",".join(ARMS), help=", ".join(ARMS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--steps", type=at_least(1), default=12, help="of each run; 32 questions x 5 rollouts a step")
    parser.add_argument("--gpus", default="0", help="0,1: those of CUDA_VISIBLE_DEVICES that are used")
    parser.add_argument("--dry-run", action="store_true")
    asked = parser.parse_args()
    arms, seeds = asked.arms.split(","), asked.seeds.split(",")
    if unknown := [arm for arm in arms if arm not in ARMS]:
        parser.error(f"--arms: {unknown[0]!r} is none of {', '.join(ARMS)}")
    if wrong := [seed for seed in seeds if not seed.isdecimal()]:
        parser.error(f"--seeds: {wrong[0]!r} is no seed")
    planned = stages(arms, seeds, int(asked.steps))
    if asked.dry_run:
        print("\n".join(stage.line for stage in planned))
        return 0
    return carry_out(planned, asked.gpus, 0, None)


if __name__ == "__main__":
    raise SystemExit(main())
