"""The arms with simulated pages, from the data to the comparison with rag, in one command.

python recipes/beat-rag/arms.py                                              # four seeds and their mean, one GPU
python recipes/beat-rag/arms.py --arms concise:0,concise:1 --gpus 0,1 --within 28
python recipes/beat-rag/arms.py --simulator recipes/beat-rag/simulator       # tune none: take this one
python recipes/beat-rag/arms.py --dry-run                                    # print the commands

Run it in the folder that holds data/ (README.md says what is in it). An arm is a reward of thrifty.py and a seed; of
several seeds of a reward the mean of their weights is evaluated too. Stages that do not wait for one another
run side by side, one a GPU. A stage that is done is not done again: work/done/STAGE has its command. After a failure
nothing that needs the stage is begun, and the status is 1. Logs are work/log/STAGE.log.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from script import MINUTES, Stage, at_least, carry_out

HERE = Path(__file__).resolve().parent
CONFIG = str(HERE / "simulated-passages.toml")
WORLDS = str(HERE / "simulated-two-hop.toml")
BENCHMARKS = (
    *("--benchmarks", "nq,triviaqa,popqa,hotpotqa,2wikimultihopqa,musique,bamboogle"),
    *("--data", "data/eval"),
)


def stages(arms: Sequence[str], model: str | None, simulator: str | None = None) -> list[Stage]:
    """All stages, each after those that it needs. With the adapter of a `simulator` none is tuned."""
    pairs = tuple(f"{name}={model}" for name in ("model.name", "engine.simulated.model") if model)

    def sets(*pairs: str) -> tuple[str, ...]:
        return tuple(word for pair in pairs for word in ("--set", pair))

    def script(name: str, *words: str) -> tuple[str, ...]:
        return (sys.executable, str(HERE / name), *words)

    def zerosearch(command: str, *words: str) -> tuple[str, ...]:
        return (sys.executable, "-m", "zerosearch", command, CONFIG, *words, *sets(*pairs))

    def evaluate(label: str, *words: str) -> tuple[str, ...]:
        return zerosearch("evaluate", *words, "--out", f"out-{label}", *BENCHMARKS)

    def stage(name: str, command: tuple[str, ...], *needs: str, gpu: bool = True, title: str = "") -> Stage:
        return Stage(name, command, needs, gpu, title)

    untuned = sets("engine.simulated.adapter=none", "engine.simulated.style=instruct")
    tuned = (f"engine.simulated.adapter={simulator}",) if simulator else ()
    learned, writer = ((), "worlds") if simulator else (("rows",), "tune")
    told = sets("model.adapter=none", *tuned, *pairs)
    pages = (CONFIG, "work/warm.jsonl", "240", *told, "--out", "work/pages.jsonl")
    warm = (CONFIG, "work/warm.jsonl", "work/passages-warm", "40", *tuned, *pairs)
    rows = script("hit_rows.py", "data/corpus.jsonl.gz", "data/train", "work/hit-rows.jsonl")
    found = [
        stage("rows", rows, gpu=False),
        stage("questions", script("simulated_questions.py", "data/train", "work"), *learned, gpu=False),
        stage("worlds", script("simulated_worlds.py", WORLDS, "work", *pairs), "questions"),
        stage("rag", evaluate("rag", "--methods", "rag", *sets("model.adapter=none"))),
        stage("tune", zerosearch("tune", "work/fact-rows.jsonl", "--out", "work/passages", *untuned), "worlds"),
        stage("warm", script("warm_start_simulated.py", *warm), writer),
        stage("pages", script("obedience.py", *pages), writer),
    ]
    if simulator:
        found = [one for one in found if one.name not in ("rows", "tune")]
    seeds: dict[str, list[str]] = {}
    for arm in arms:
        reward, _, seed = arm.partition(":")
        name = f"{reward}-{seed}"
        seeds.setdefault(reward, []).append(name)
        own = (f"name={name}", f"seed={seed}", f"reward.name=thrifty:{reward}", f"training.max_minutes={MINUTES}")
        asked = ("--methods", f"{name}=runs/{name}")
        compared = script("kinds.py", f"out-{name}:{name}", "out-rag:rag")
        found += [
            stage(f"train-{name}", zerosearch("train", *sets(*own, *tuned)), "warm"),
            stage(f"evaluate-{name}", evaluate(name, *asked), f"train-{name}"),
            stage(f"kinds-{name}", compared, f"evaluate-{name}", "rag", gpu=False, title=f"{name} against rag"),
        ]
    for reward, names in seeds.items():
        if len(names) > 1:
            pooled = script("kinds.py", ",".join(f"out-{name}:{name}" for name in names), "out-rag:rag")
            mean, adapter = f"mean-{reward}", f"work/mean-{'-'.join(names)}"
            runs = [f"runs/{name}" for name in names]
            exported = (sys.executable, "-m", "zerosearch", "export", *runs, "--form", "adapter", "--out", adapter)
            asked = ("--methods", "episode", *sets(f"model.adapter={adapter}"))
            found += [
                stage(
                    f"kinds-{reward}",
                    pooled,
                    *(f"evaluate-{name}" for name in names),
                    "rag",
                    gpu=False,
                    title=f"{reward}, all seeds, against rag",
                ),
                stage(mean, exported, *(f"train-{name}" for name in names), gpu=False),
                stage(f"evaluate-{mean}", evaluate(mean, *asked), mean),
                stage(
                    f"kinds-{mean}",
                    script("kinds.py", f"out-{mean}:episode", "out-rag:rag"),
                    f"evaluate-{mean}",
                    "rag",
                    gpu=False,
                    title=f"{mean} against rag",
                ),
            ]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--arms", default="concise:0,concise:1,concise:2,concise:3", help="REWARD:SEED,...")
    parser.add_argument("--gpus", default="0", help="0,1: those of CUDA_VISIBLE_DEVICES that are used")
    parser.add_argument("--model", help="instead of the configuration's, for policy and simulator")
    parser.add_argument("--simulator", metavar="ADAPTER", help="a tuned one; without it the first stages tune one")
    parser.add_argument("--minutes", type=at_least(0.1), default=11, help="of training an arm, at most")
    parser.add_argument("--within", type=at_least(0.1), metavar="MINUTES", help="for everything: arms get what is left")
    parser.add_argument("--dry-run", action="store_true")
    asked = parser.parse_args()
    arms = asked.arms.split(",")
    for arm in arms:
        if not re.fullmatch(r"\w+:\d+", arm):  # it would fail when it trains, long after the first stages
            parser.error(f"--arms: {arm!r} is not REWARD:SEED")
    planned = stages(arms, asked.model, asked.simulator)
    if asked.dry_run:
        print("\n".join(stage.line for stage in planned))
        return 0
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])  # where thrifty.py is
    return carry_out(planned, asked.gpus, asked.minutes, asked.within)


if __name__ == "__main__":
    raise SystemExit(main())
