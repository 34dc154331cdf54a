"""What a step cost this process: CPU seconds of all threads, wall seconds, peak memory. And a sketch of gradients.

Also what the arms share: their arguments, and waiting until it is their turn.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import resource
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Moment:
    """A point in this process's life. `cpu` is user plus system time of all its threads."""

    cpu: float
    wall: float

    @classmethod
    def now(cls) -> Moment:
        """Once a GPU, where there is one at work, has done all that it was given."""
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.synchronize()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return cls(usage.ru_utime + usage.ru_stime, time.perf_counter())

    def until_now(self) -> dict[str, float]:
        now = Moment.now()
        return {"cpu_seconds": now.cpu - self.cpu, "wall_seconds": now.wall - self.wall}


def peak_bytes() -> int:
    """The most memory (resident set) this process ever held: Linux counts it in kibibytes, macOS in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def gpu_peak_bytes() -> int:
    """The most memory of the GPU that tensors of this process ever held; 0 without one."""
    import torch

    return int(torch.cuda.max_memory_allocated()) if torch.cuda.is_initialized() else 0


def wait_for_turn() -> None:
    """Say that the imports are done, and wait for a line: arms load at once, and are measured one after the other."""
    print("ready", flush=True)
    sys.stdin.readline()


def sketch(gradients: Iterable[tuple[str, Any]]) -> dict[str, float]:
    """One number a parameter: its gradient (a torch tensor) times a fixed pattern of cosines.

    A linear map, so equal gradients have equal sketches and, but for chance, different ones have different sketches:
    sign, scale and order all count. The pattern is as long as the tensor, each value the cosine of its index.
    """
    import torch

    out = {}
    for name, gradient in gradients:
        flat = gradient.detach().flatten().double()
        out[name] = float(flat @ torch.arange(len(flat), dtype=torch.float64, device=flat.device).cos())
    return out


def relative_difference(one: dict[str, float], other: dict[str, float]) -> float:
    """|one - other| / |other| of two sketches. Raises ValueError where they are not of the same parameters."""
    if one.keys() != other.keys():
        missing = sorted(one.keys() ^ other.keys())
        raise ValueError(f"gradients of different parameters: {', '.join(missing[:4])} ({len(missing)} in all)")
    norm = math.sqrt(sum(value**2 for value in other.values()))
    return math.sqrt(sum((one[key] - other[key]) ** 2 for key in one)) / norm


def arm_parser(description: str | None, batch: str) -> argparse.ArgumentParser:
    """The arguments that every arm takes; `batch` says what this one counts a micro-batch in."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of the model")
    parser.add_argument("--rollouts", type=Path, required=True, help="file that canned.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="file for the result")
    parser.add_argument("--train", choices=("full", "lora"), required=True)
    parser.add_argument("--kl-coef", type=float, required=True)
    parser.add_argument("--batch", type=int, required=True, help=batch)
    parser.add_argument("--learning-rate", type=float, default=1e-6)
    parser.add_argument("--lora-rank", type=int, default=8)
    parser.add_argument("--lora-alpha", type=float, default=16.0)
    parser.add_argument("--max-completion", type=int, default=4096)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the model's weights")
    parser.add_argument("--steps", type=int, default=2, help="the first is not measured")
    parser.add_argument("--wait", action="store_true", help="load and run once a line comes in")
    return parser


def write_result(path: Path, packages: Sequence[str], result: dict[str, Any]) -> None:
    """Write an arm's result with the peaks of this process's memory and the versions it ran with."""
    versions = {name: importlib.metadata.version(name) for name in packages}
    peaks = {"peak_bytes": peak_bytes(), "gpu_peak_bytes": gpu_peak_bytes()}
    path.write_text(json.dumps(result | peaks | {"versions": versions}, indent=1) + "\n")
