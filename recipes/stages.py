"""Stages of a recipe: commands that wait for one another, side by side on the GPUs there are.

What is done is not done again: work/done/STAGE has its command. After a failure nothing that needs the stage is begun.
Logs are work/log/STAGE.log.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EVALUATION = 150
"""Seconds that are kept for the start and the evaluation of an arm, or of a mean; both took 111 on an H200."""
MINUTES = "{minutes}"
"""Stands in a command for the minutes that it may train."""


@dataclass(frozen=True)
class Stage:
    """A command, the stages that it waits for, whether it takes a GPU, and a title where its output is to be shown."""

    name: str
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()
    gpu: bool = True
    title: str = ""

    @property
    def trains(self) -> bool:
        return any(MINUTES in word for word in self.command)

    @property
    def evaluates_a_mean(self) -> bool:
        return self.name.startswith("evaluate-mean-")

    @property
    def line(self) -> str:
        """The command as one would type it; the same on every machine."""
        words = ("python" if word == sys.executable else word.replace(f"{ROOT}{os.sep}", "") for word in self.command)
        return shlex.join(words)


@dataclass
class Running:
    stage: Stage
    process: subprocess.Popen[bytes]
    lane: int | None
    began: float


class Runner:
    """Runs stages in `folder`, one at a time for each name in `gpus`; `within` seconds, or None: no limit."""

    def __init__(self, folder: Path, gpus: Sequence[str], minutes: float, within: float | None) -> None:
        self.folder, self.gpus, self.free = folder, list(gpus), list(range(len(gpus)))
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
                if one.lane is not None:
                    self.free.append(one.lane)
                (finished.add if self.ended(one) else failed.append)(one.stage.name)
        return [*failed, *(stage.name for stage in waiting)]

    def start(self, stage: Stage, arms: int, means: int) -> None:
        lane = self.free.pop(0) if stage.gpu else None
        command = list(stage.command)
        if stage.trains:
            command = [word.replace(MINUTES, f"{self.share(arms, means):.2f}") for word in command]
        paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"}
        if lane is not None:  # two processes that compile into one cache wait for each other
            cache = str(self.folder / "work/cache" / str(lane))
            environment |= {
                "CUDA_VISIBLE_DEVICES": self.gpus[lane],
                "TORCHINDUCTOR_CACHE_DIR": cache,
                "TRITON_CACHE_DIR": f"{cache}-triton",
            }
        self.say(f"{stage.name} begins" + ("" if lane is None else f" on GPU {self.gpus[lane]}"))
        with self.log(stage).open("wb") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
        self.running.append(Running(stage, process, lane, time.monotonic()))

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
        if stage.title:
            print(f"\n{stage.title}\n{self.log(stage).read_text(encoding='utf-8')}", flush=True)

    def share(self, arms: int, means: int = 0) -> float:
        """Minutes for an arm that begins now; so many (at least 1) are not yet trained, this one included, and so many
        means are not yet evaluated.
        """
        if self.within is None:
            return self.minutes
        rounds = -(-arms // len(self.gpus))
        left = self.within - (time.monotonic() - self.began) - EVALUATION * -(-means // len(self.gpus))
        return max(min(self.minutes, (left / rounds - EVALUATION) / 60), 0.1)

    def log(self, stage: Stage) -> Path:
        return self.folder / "work/log" / f"{stage.name}.log"

    def end(self) -> None:
        """End what still runs, with all that it started."""
        for one in self.running:
            os.killpg(one.process.pid, signal.SIGTERM)


def carry_out(planned: Sequence[Stage], gpus: str, minutes: float, within: float | None) -> int:
    """Run what is planned, here, on `gpus` ("0,1"; "0,0" is two at a time on one). Returns the exit status.

    An arm trains for at most `minutes`; `within` minutes everything is over, or None: no limit. A signal that ends this
    ends what it runs.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    runner = Runner(Path.cwd(), gpus.split(","), minutes, None if within is None else 60 * within)
    try:
        missing = runner.run(planned)
    finally:
        runner.end()
    if missing:
        print(f"not done: {', '.join(missing)}", file=sys.stderr)
    return 1 if missing else 0
