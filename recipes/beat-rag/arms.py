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
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from script import at_least

HERE = Path(__file__).resolve().parent
CONFIG = str(HERE / "simulated-passages.toml")
WORLDS = str(HERE / "simulated-two-hop.toml")
BENCHMARKS = (
    *("--benchmarks", "nq,triviaqa,popqa,hotpotqa,2wikimultihopqa,musique,bamboogle"),
    *("--data", "data/eval"),
)
EVALUATION = 150
"""Seconds that are kept for the start and the evaluation of an arm, or of a mean; both took 111 on an H200."""
MINUTES = "{minutes}"


@dataclass(frozen=True)
class Stage:
    """A command, the stages that it waits for, and whether it takes a GPU."""

    name: str
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()
    gpu: bool = True

    @property
    def trains(self) -> bool:
        return any(MINUTES in word for word in self.command)

    @property
    def compares(self) -> bool:
        return self.name.startswith("kinds-")

    @property
    def evaluates_a_mean(self) -> bool:
        return self.name.startswith("evaluate-mean-")

    @property
    def line(self) -> str:
        """The command as one would type it; the same on every machine."""
        words = [word.replace(str(HERE), "recipes/beat-rag") for word in self.command]
        return shlex.join(["python" if word == sys.executable else word for word in words])


@dataclass
class Running:
    stage: Stage
    process: subprocess.Popen[bytes]
    gpu: str | None
    began: float


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

    def stage(name: str, command: tuple[str, ...], *needs: str, gpu: bool = True) -> Stage:
        return Stage(name, command, needs, gpu)

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
            stage(f"kinds-{name}", compared, f"evaluate-{name}", "rag", gpu=False),
        ]
    for reward, names in seeds.items():
        if len(names) > 1:
            pooled = script("kinds.py", ",".join(f"out-{name}:{name}" for name in names), "out-rag:rag")
            mean, adapter = f"mean-{reward}", f"work/mean-{'-'.join(names)}"
            runs = [f"runs/{name}" for name in names]
            exported = (sys.executable, "-m", "zerosearch", "export", *runs, "--form", "adapter", "--out", adapter)
            asked = ("--methods", "episode", *sets(f"model.adapter={adapter}"))
            found += [
                stage(f"kinds-{reward}", pooled, *(f"evaluate-{name}" for name in names), "rag", gpu=False),
                stage(mean, exported, *(f"train-{name}" for name in names), gpu=False),
                stage(f"evaluate-{mean}", evaluate(mean, *asked), mean),
                stage(
                    f"kinds-{mean}",
                    script("kinds.py", f"out-{mean}:episode", "out-rag:rag"),
                    f"evaluate-{mean}",
                    "rag",
                    gpu=False,
                ),
            ]
    return found


class Runner:
    """Runs stages in `folder`; `within` seconds, or None: no limit."""

    def __init__(self, folder: Path, gpus: Sequence[str], minutes: float, within: float | None) -> None:
        self.folder, self.free, self.gpus = folder, list(gpus), len(gpus)
        self.minutes, self.within = minutes, within
        self.began = time.monotonic()
        self.running: list[Running] = []
        for name in ("log", "done"):
            (folder / "work" / name).mkdir(parents=True, exist_ok=True)

    def say(self, words: str) -> None:
        print(f"{time.monotonic() - self.began:6.0f} s  {words}", flush=True)

    def done(self, asked: Sequence[Stage]) -> set[str]:
        """The stages that were done by an earlier call, with the same command and after the same ones."""
        found: set[str] = set()
        for stage in asked:
            mark = self.folder / "work/done" / stage.name
            if found.issuperset(stage.needs) and mark.exists() and mark.read_text(encoding="utf-8") == stage.line:
                found.add(stage.name)
        return found

    def run(self, asked: Sequence[Stage]) -> list[str]:
        """Run all that can be run. Returns the names of the stages that are not done."""
        finished = self.done(asked)
        for stage in asked:
            if stage.name in finished:
                self.say(f"{stage.name}: was done before")
                self.show(stage)
        waiting = [stage for stage in asked if stage.name not in finished]
        failed: list[str] = []
        while waiting or self.running:
            for stage in [stage for stage in waiting if finished.issuperset(stage.needs)]:
                if self.free or not stage.gpu:
                    left = [*waiting, *(one.stage for one in self.running)]
                    waiting.remove(stage)
                    self.start(
                        stage, sum(other.trains for other in left), sum(other.evaluates_a_mean for other in left)
                    )
            if not self.running:
                break
            time.sleep(0.05)
            for one in [one for one in self.running if one.process.poll() is not None]:
                self.running.remove(one)
                if one.gpu is not None:
                    self.free.append(one.gpu)
                (finished.add if self.ended(one) else failed.append)(one.stage.name)
        return [*failed, *(stage.name for stage in waiting)]

    def start(self, stage: Stage, arms: int, means: int) -> None:
        gpu = self.free.pop(0) if stage.gpu else None
        command = list(stage.command)
        if stage.trains:
            command = [word.replace(MINUTES, f"{self.share(arms, means):.2f}") for word in command]
        paths = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"}
        if gpu is not None:  # two processes that compile into one cache wait for each other
            cache = str(self.folder / "work/cache" / gpu)
            environment |= {
                "CUDA_VISIBLE_DEVICES": gpu,
                "TORCHINDUCTOR_CACHE_DIR": cache,
                "TRITON_CACHE_DIR": f"{cache}-triton",
            }
        self.say(f"{stage.name} begins" + ("" if gpu is None else f" on GPU {gpu}"))
        with self.log(stage).open("wb") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
        self.running.append(Running(stage, process, gpu, time.monotonic()))

    def ended(self, one: Running) -> bool:
        """Tell how a stage ended; whether well."""
        code, seconds = one.process.returncode, time.monotonic() - one.began
        if code == 0:
            (self.folder / "work/done" / one.stage.name).write_text(one.stage.line, encoding="utf-8")
            self.say(f"{one.stage.name} done in {seconds:.0f} s")
            self.show(one.stage)
            return True
        self.say(f"{one.stage.name} FAILED with {code} after {seconds:.0f} s; {self.log(one.stage)} ends with")
        print(self.log(one.stage).read_text(encoding="utf-8", errors="replace")[-1500:], flush=True)
        return False

    def show(self, stage: Stage) -> None:
        """Print a comparison as soon as there is one: what comes after it can fail."""
        if stage.compares:
            table = self.log(stage).read_text(encoding="utf-8")
            print(f"\n{stage.name.removeprefix('kinds-')} against rag\n{table}", flush=True)

    def share(self, arms: int, means: int = 0) -> float:
        """Minutes for an arm that begins now; so many (at least 1) are not yet trained, this one included, and so many
        means are not yet evaluated.
        """
        if self.within is None:
            return self.minutes
        rounds = -(-arms // self.gpus)
        left = self.within - (time.monotonic() - self.began) - EVALUATION * -(-means // self.gpus)
        return max(min(self.minutes, (left / rounds - EVALUATION) / 60), 0.1)

    def log(self, stage: Stage) -> Path:
        return self.folder / "work/log" / f"{stage.name}.log"

    def end(self) -> None:
        """End what still runs, with all that it started."""
        for one in self.running:
            os.killpg(one.process.pid, signal.SIGTERM)


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
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    within = None if asked.within is None else 60 * asked.within
    runner = Runner(Path.cwd(), asked.gpus.split(","), asked.minutes, within)
    try:
        missing = runner.run(planned)
    finally:
        runner.end()
    if missing:
        print(f"not done: {', '.join(missing)}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    raise SystemExit(main())
