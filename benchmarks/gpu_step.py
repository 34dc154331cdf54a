"""The update of zerosearch against that of TRL on one GPU: seconds, tokens a second, share of the chip's rate.

    python benchmarks/gpu_step.py --json trl.json
    python benchmarks/gpu_step.py --shape tiny --device cpu --groups 4 --tokens 3000 --micro-batch-tokens 1024

Random weights of a shape, LoRA, canned episodes of several searches: the same tokens, masks and rewards in every arm.
Each arm is a process of its own. They import at once, then load and run one after the other, alone on the GPU. Only the
update is timed: TRL's from its first forward pass on, zerosearch's from the trajectories on. The losses and gradients
of the first step are compared. TRL is taken as it comes and with Liger's kernels, each without gradient checkpointing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from canned import PLAIN_IDS, Shape, describe, make_rollouts, read_rollouts, write_rollouts
from training_step import agreement

HERE = Path(__file__).parent
AGREEMENT = {"float32": 1e-3, "bfloat16": 0.1}
"""Relative. On an H200 the gradients of two kinds of bfloat16 kernels differed by .05, their norms by 6e-4."""


@dataclass
class Arm:
    name: str
    process: subprocess.Popen[str]
    out: Path
    log: Path


def start_arms(args: argparse.Namespace, folder: Path) -> list[Arm]:
    """Processes that import what they need and then wait for their turn."""
    chosen = [(f"zerosearch, {args.micro_batch_tokens} tokens", "arm_zerosearch.py", args.micro_batch_tokens, [])]
    chosen += [(f"TRL, {args.trl_batch} rows", "arm_trl.py", args.trl_batch, list[str]())]
    if args.device == "cuda" and not args.no_liger:
        chosen += [(f"TRL with Liger, {args.trl_batch} rows", "arm_trl.py", args.trl_batch, ["--liger"])]
    arms = []
    for number, (name, script, batch, more) in enumerate(chosen):
        out, log = folder / f"result-{number}.json", folder / f"log-{number}.txt"
        command = [
            args.python if script == "arm_trl.py" else sys.executable, str(HERE / script),
            "--model", str(folder / "model"), "--rollouts", str(folder / "rollouts.json"), "--out", str(out),
            "--train", "lora", "--kl-coef", "0", "--batch", str(batch), "--seed", str(args.seed),
            "--lora-rank", "16", "--lora-alpha", "32", "--learning-rate", "1e-4", "--steps", str(args.steps),
            "--device", args.device, "--dtype", args.dtype, "--wait", *more,
        ]  # fmt: skip
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log.open("w"), stderr=subprocess.STDOUT, text=True,
            env=os.environ | {"TOKENIZERS_PARALLELISM": "false"},
        )  # fmt: skip
        arms.append(Arm(name, process, out, log))
    return arms


def take_turn(arm: Arm) -> dict[str, Any] | None:
    """Let an arm load and run; None where it failed, which is said with the end of its output."""
    assert arm.process.stdin is not None
    try:
        arm.process.stdin.write("go\n")
        arm.process.stdin.close()
    except BrokenPipeError:
        pass
    if arm.process.wait() != 0 or not arm.out.exists():
        print(f"{arm.name}: failed with {arm.process.returncode}\n{arm.log.read_text()[-3000:]}", flush=True)
        return None
    result: dict[str, Any] = json.loads(arm.out.read_text())
    return result


def make_model(args: argparse.Namespace, folder: Path) -> tuple[int, str]:
    """Write random weights of the shape and a tokenizer of made-up words. Returns the weights' number, and the chip."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    from zerosearch.learning.bench import SHAPES, random_model

    model = random_model(args.shape, torch.device(args.device), getattr(torch, args.dtype)).base
    model.save_pretrained(folder)
    words = {f"w{number}": number for number in range(SHAPES[args.shape]["vocab_size"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="w0", eos_token="w1").save_pretrained(folder)
    chip = torch.cuda.get_device_name() if args.device == "cuda" else "CPU"
    return sum(p.numel() for p in model.parameters()), chip


def figures(result: dict[str, Any], tokens: int, parameters: int, chip: str) -> dict[str, float]:
    """An arm's numbers: the median of its steps but the first, by the batch's tokens (none counted twice, no pads)."""
    from zerosearch.models.cards import card_named

    seconds = statistics.median(result["step_seconds"][1:])
    found = {"seconds": seconds, "tokens_per_second": tokens / seconds}
    if (card := card_named(chip)) is not None:
        found["peak_share"] = 6 * parameters * tokens / seconds / card.rate
    return found | {"gib": result["gpu_peak_bytes"] / 2**30}


def main() -> None:
    args = _arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arms = start_arms(args, folder)
        shape = Shape(args.groups, args.rollouts, args.tokens, 0.45, 0.10, args.lengths, _ids(args.shape))
        write_rollouts(folder / "rollouts.json", make_rollouts(shape, args.seed))
        sizes = describe(read_rollouts(folder / "rollouts.json"))
        parameters, chip = make_model(args, folder / "model")
        print(json.dumps(sizes | {"shape": args.shape, "parameters": parameters, "chip": chip}), flush=True)
        record: dict[str, Any] = {"chip": chip, "parameters": parameters, "sizes": sizes, "arms": {}}
        results: dict[str, dict[str, Any]] = {}
        try:
            for arm in arms:
                result = take_turn(arm)
                if result is None:
                    continue
                results[arm.name] = result
                found = figures(result, sizes["tokens"], parameters, chip)
                steps = ", ".join(f"{s:.2f}" for s in result["step_seconds"])
                print(f"{arm.name}: steps of {steps} s; " + ", ".join(f"{k} {v:,.3g}" for k, v in found.items()))
                plain = {key: value for key, value in result.items() if key != "sketch"}
                record["arms"][arm.name] = found | plain
                if args.json:
                    args.json.write_text(json.dumps(record, indent=1) + "\n")
        finally:
            for arm in arms:
                arm.process.kill()
        _compare(record, results, args)


def _compare(record: dict[str, Any], results: dict[str, dict[str, Any]], args: argparse.Namespace) -> None:
    """Print how many times as fast zerosearch is, and whether it was the same step. Exits with 1 where it was not."""
    ours = next((name for name in results if name.startswith("zerosearch")), None)
    others = [name for name in results if name.startswith("TRL")]
    if ours is None or not others:
        raise SystemExit("nothing to compare")
    seconds = {name: record["arms"][name]["seconds"] for name in results}
    best = min(others, key=seconds.__getitem__)
    record["times_as_fast"] = seconds[best] / seconds[ours]
    record["differences"] = {name: agreement(results[ours], results[name]) for name in others}
    print(f"zerosearch is {record['times_as_fast']:.2f} times as fast as {best}")
    for name, difference in record["differences"].items():
        print(f"first step, relative difference to {name}: " + ", ".join(f"{k} {v:.1e}" for k, v in difference.items()))
    if args.json:
        args.json.write_text(json.dumps(record, indent=1) + "\n")
    far = [name for name, found in record["differences"].items() if found["gradient"] > AGREEMENT[args.dtype]]
    if far:
        raise SystemExit(
            f"not the same step as {', '.join(far)}: gradients differ by more than {AGREEMENT[args.dtype]}"
        )


def _ids(shape: str) -> tuple[int, int]:
    return (10, 500) if shape == "tiny" else PLAIN_IDS


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="interpreter that has TRL 1.16; none: this one")
    parser.add_argument("--shape", default="qwen2.5-1.5b", help="of zerosearch.learning.bench.SHAPES")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--groups", type=int, default=64)
    parser.add_argument("--rollouts", type=int, default=5, help="of a group")
    parser.add_argument("--tokens", type=int, default=174_000, help="of all rollouts together")
    parser.add_argument("--lengths", choices=("unequal", "equal"), default="unequal", help="equal: nothing to pad")
    parser.add_argument("--micro-batch-tokens", type=int, default=16_384, help="of zerosearch")
    parser.add_argument("--trl-batch", type=int, default=16, help="rows of TRL's micro-batches")
    parser.add_argument("--no-liger", action="store_true", help="leave out the arm with liger-kernel's layers")
    parser.add_argument("--steps", type=int, default=3, help="the first is not measured")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write all results there, after each arm")
    args = parser.parse_args()
    args.dtype = "bfloat16" if args.device == "cuda" else "float32"
    if args.groups * args.rollouts % args.trl_batch:
        parser.error(f"--trl-batch must divide the {args.groups * args.rollouts} rollouts")
    return args


if __name__ == "__main__":
    main()
