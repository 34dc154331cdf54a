"""Rejection sampling: tune a policy on its own right episodes. See README.md beside this file.

python -m recipes.rejection.tune TRIES --model MODEL --out rft
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

import torch

from recipes.rejection.episodes import right_episodes
from recipes.script import at_least, run
from zerosearch.learning.policy import Policy
from zerosearch.learning.sft import SFTSettings
from zerosearch.learning.tuning import default_rate, output, tune_model
from zerosearch.models.adapters import read_card, resolve_adapter
from zerosearch.models.local import LocalModel


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Tune a policy on its own right episodes.")
    add = parser.add_argument
    add("tries", type=Path, help="a folder that `zerosearch collect CONFIG --rollouts N --out TRIES` wrote")
    add("--model", required=True, help="the base model that was collected with")
    add("--out", type=Path, required=True, help="folder to write the adapter to")
    add("--start", help="go on from this adapter")
    add("--per-question", type=at_least(1), default=1, help="right episodes kept of a question")
    add("--examples", type=at_least(1), default=6000, help="at most this many episodes")
    add("--rank", type=at_least(1), default=8, help="LoRA rank; alpha is twice as much")
    add("--epochs", type=at_least(0.01), default=2.0)
    add("--batch-size", type=at_least(1), default=16)
    add("--learning-rate", type=at_least(1e-9), default=default_rate(full=False))
    add("--micro-batch-tokens", type=at_least(64), default=4096)
    add("--dtype", default="float32", help="of the base weights")
    add("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    asked = parse(arguments)
    torch.manual_seed(asked.seed)
    with output(asked.out, "rejection recipe"):
        texts = right_episodes(
            asked.tries, asked.model, per_question=asked.per_question, limit=asked.examples, seed=asked.seed
        )
        source = resolve_adapter(asked.start) if asked.start else None
        local = LocalModel.load(asked.model, dtype=asked.dtype)
        local.add_adapter("policy", source, rank=asked.rank, alpha=2.0 * asked.rank, trainable=True)
        settings = SFTSettings(
            epochs=asked.epochs,
            batch_size=asked.batch_size,
            learning_rate=asked.learning_rate,
            micro_batch_tokens=asked.micro_batch_tokens,
            seed=asked.seed,
        )
        card = {
            "command": shlex.join(["python", "-m", "recipes.rejection.tune", *(arguments or sys.argv[1:])]),
            "role": "policy",
            "base": asked.model,
            "start": read_card(source) if source else None,
            "data": f"right episodes of {asked.tries}",
        }
        tune_model(Policy(local, adapter="policy"), texts, settings, asked.out, card)


if __name__ == "__main__":
    run(main)
