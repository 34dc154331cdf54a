"""A training step of zerosearch against one of TRL's GRPOTrainer, on the same rollouts: CPU seconds and peak memory.

    python benchmarks/training_step.py --python trl-venv/bin/python
    python benchmarks/training_step.py --python trl-venv/bin/python --train lora --kl-coef 0.001 --repeat 3

Every measurement is a process of its own: it loads the model, does one step to warm up and one that is measured. The
arms take turns (A B A B). What both did is compared too: the loss and the gradient of the first step must agree, or the
numbers mean nothing and the command fails.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from canned import Lengths, Shape, describe, read_rollouts
from metering import relative_difference

HERE = Path(__file__).parent
AGREEMENT = 1e-3
"""Relative. TRL adds 1e-4 to the standard deviation that divides advantages, zerosearch 1e-6: about 3e-4 by itself."""
MALLOC_OF_GLIBC = {"GLIBC_TUNABLES": "glibc.malloc.mxfast=128"}
"""The default value, written out: zerosearch leaves malloc alone where the environment sets something."""


@dataclass(frozen=True)
class Arm:
    """One way to take the step: a script, the interpreter for it, and the size of its micro-batches."""

    name: str
    script: str
    python: str
    batch: int
    environment: dict[str, str]


def arms_of(args: argparse.Namespace) -> list[Arm]:
    """zerosearch first, once a micro-batch size, then TRL."""
    malloc = MALLOC_OF_GLIBC if args.plain_malloc else {}
    zero = [
        Arm(f"zerosearch, {n} tokens", "arm_zerosearch.py", sys.executable, n, malloc) for n in args.micro_batch_tokens
    ]
    trl = [Arm(f"TRL, {n} x {args.groups * 4 // n}", "arm_trl.py", args.python, n, malloc) for n in args.trl_batch]
    return zero + trl


def measure(arm: Arm, rollouts: Path, args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run an arm once. Raises SystemExit with the end of its output where it fails."""
    out = folder / "result.json"
    command = [
        arm.python, str(HERE / arm.script), "--model", args.model, "--rollouts", str(rollouts), "--out", str(out),
        "--train", args.train, "--kl-coef", str(args.kl_coef), "--batch", str(arm.batch), "--seed", str(args.seed),
    ]  # fmt: skip
    _run(command, arm.environment, args.threads)
    result: dict[str, Any] = json.loads(out.read_text())
    out.unlink()
    if result["threads"] != args.threads:
        raise SystemExit(f"{arm.name}: ran on {result['threads']} threads, not {args.threads}")
    return result | {"load": os.getloadavg()[0]}


def _run(command: list[str], environment: dict[str, str], threads: int) -> None:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_TUNABLES", "OMP_", "MKL_"))}
    common = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, env=inherited | common | environment, capture_output=True, text=True)
    if done.returncode == -signal.SIGKILL:
        raise SystemExit(f"{' '.join(command)}\nwas killed, likely for want of memory: take smaller micro-batches")
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\nfailed with {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}")


def agreement(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, float]:
    """How far the first steps are apart, relative: the loss, the gradient's norm, the clipped gradient."""
    one, other = ours["steps"][0], theirs["steps"][0]
    return {
        "loss": abs(one["loss"] - other["loss"]) / abs(other["loss"]),
        "grad_norm": abs(one["grad_norm"] - other["grad_norm"]) / other["grad_norm"],
        "gradient": relative_difference(ours["sketch"], theirs["sketch"]),
    }


def table(results: dict[str, list[dict[str, Any]]]) -> str:
    """Markdown, one row an arm: minimum / median / maximum of each cost."""
    lines = ["| arm | CPU seconds | wall seconds | peak memory, GiB |", "|---|---|---|---|"]
    for name, runs in results.items():
        cells = []
        for key, unit, digits in (("cpu_seconds", 1, 1), ("wall_seconds", 1, 1), ("peak_bytes", 2**30, 2)):
            values = [run[key] / unit for run in runs]
            figures = (min(values), statistics.median(values), max(values))
            cells.append(" / ".join(f"{value:.{digits}f}" for value in figures))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def ratios(results: dict[str, list[dict[str, Any]]], arms: list[Arm]) -> str:
    """Each zerosearch arm's medians against the TRL arm that is best at that cost."""
    lines = []
    trl = [arm.name for arm in arms if arm.script == "arm_trl.py"]
    for arm in arms:
        if arm.name in trl:
            continue
        parts = []
        for key, label in (("cpu_seconds", "CPU seconds"), ("peak_bytes", "peak memory")):
            medians = {name: statistics.median(run[key] for run in results[name]) for name in (arm.name, *trl)}
            best = min(trl, key=medians.__getitem__)
            parts.append(f"{label} {medians[arm.name] / medians[best]:.2f} of {best}")
        lines.append(f"{arm.name}: {', '.join(parts)}")
    return "\n".join(lines)


def main() -> None:
    args = _arguments()
    shape = Shape(groups=args.groups, tokens=args.tokens, lengths=args.lengths)
    arms = arms_of(args)
    results: dict[str, list[dict[str, Any]]] = {arm.name: [] for arm in arms}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rollouts = folder / "rollouts.json"
        _make_rollouts(shape, rollouts, args)
        sizes = describe(read_rollouts(rollouts))
        print(
            json.dumps(sizes | {"train": args.train, "kl_coef": args.kl_coef, "plain_malloc": args.plain_malloc}),
            flush=True,
        )
        for repeat in range(args.repeat):
            for arm in arms:
                result = measure(arm, rollouts, args, folder)
                results[arm.name].append(result)
                cost = f"{result['cpu_seconds']:.1f} CPU-s, {result['wall_seconds']:.1f} s"
                memory = f"{result['peak_bytes'] / 2**30:.2f} GiB"
                print(f"{repeat + 1} {arm.name}: {cost}, {memory}, load {result['load']:.1f}", flush=True)
    first = next(arm.name for arm in arms if arm.script == "arm_zerosearch.py")
    differences = {arm.name: agreement(results[first][0], results[arm.name][0]) for arm in arms if arm.name != first}
    versions = {arm.script: results[arm.name][0]["versions"] for arm in arms}
    print(f"\n{table(results)}\n\n{ratios(results, arms)}\n\nfirst step, relative difference to {first}:")
    for other, difference in differences.items():
        print(f"  {other}: " + ", ".join(f"{key} {value:.1e}" for key, value in difference.items()))
    print(f"{platform.machine()}, {args.threads} threads, {json.dumps(versions)}")
    if args.json:
        for runs in results.values():
            for run in runs:
                run.pop("sketch")
        record = {"sizes": sizes, "settings": _settings(args), "results": results, "differences": differences}
        args.json.write_text(json.dumps(record, indent=1) + "\n")
    far = [other for other, difference in differences.items() if max(difference.values()) > AGREEMENT]
    if far:
        raise SystemExit(f"not the same step: {', '.join(far)} differs by more than {AGREEMENT} from {first}")


def _make_rollouts(shape: Shape, path: Path, args: argparse.Namespace) -> None:
    command = [
        sys.executable, str(HERE / "canned.py"), "--model", args.model, "--out", str(path), "--seed", str(args.seed),
        "--groups", str(shape.groups), "--tokens", str(shape.tokens), "--lengths", shape.lengths,
    ]  # fmt: skip
    _run(command, {}, args.threads)


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    keys = ("train", "kl_coef", "plain_malloc", "lengths", "tokens", "groups", "threads", "repeat", "seed")
    return {key: getattr(args, key) for key in keys}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True, help="interpreter of an environment with TRL 1.16 and peft")
    parser.add_argument("--model", default="smollm2-135m", help="embedded model or folder")
    parser.add_argument("--train", choices=("full", "lora"), default="full")
    parser.add_argument("--kl-coef", type=float, default=0.0, help="0: no KL and no reference")
    parser.add_argument("--plain-malloc", action="store_true", help="zerosearch does not tell glibc to keep memory")
    lengths: tuple[Lengths, ...] = ("unequal", "equal")
    parser.add_argument("--lengths", choices=lengths, default="unequal", help="equal: no padding anywhere")
    parser.add_argument(
        "--micro-batch-tokens", type=int, nargs="+", default=[16384], help="of zerosearch's micro-batches"
    )
    parser.add_argument("--trl-batch", type=int, nargs="+", default=[16], help="TRL's sequences a micro-batch")
    parser.add_argument("--groups", type=int, default=Shape.groups, help="questions, of 4 rollouts each")
    parser.add_argument("--tokens", type=int, default=Shape.tokens)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write all results there")
    args = parser.parse_args()
    if any(args.groups * 4 % batch for batch in args.trl_batch):
        parser.error(f"--trl-batch must divide the {args.groups * 4} sequences")
    if not Path(args.model).is_dir():
        from zerosearch.models.embedded import resolve_model

        args.model = str(resolve_model(args.model))
    return args


if __name__ == "__main__":
    main()
