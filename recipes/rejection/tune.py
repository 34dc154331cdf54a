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
from recipes.script import adapted, add_tuning, at_least, run, sft_settings
from zerosearch.learning.policy import Policy
from zerosearch.learning.tuning import output, tune_model


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Tune a policy on its own right episodes.")
    add_tuning(parser)
    add = parser.add_argument
    add("tries", type=Path, help="a folder that `zerosearch collect CONFIG --rollouts N --out TRIES` wrote")
    add("--model", required=True, help="the base model that was collected with")
    add("--per-question", type=at_least(1), default=1, help="right episodes kept of a question")
    add("--dtype", default="float32", help="of the base weights")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    asked = parse(arguments)
    torch.manual_seed(asked.seed)
    with output(asked.out, "rejection recipe"):
        texts = right_episodes(
            asked.tries, asked.model, per_question=asked.per_question, limit=asked.examples, seed=asked.seed
        )
        local, begun = adapted(asked, "policy", asked.dtype)
        card = begun | {
            "command": shlex.join(["python", "-m", "recipes.rejection.tune", *(arguments or sys.argv[1:])]),
            "data": f"right episodes of {asked.tries}",
        }
        tune_model(Policy(local, adapter="policy"), texts, sft_settings(asked), asked.out, card)


if __name__ == "__main__":
    run(main)
