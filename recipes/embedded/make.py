"""Make the adapters of the embedded default: see README.md beside this file.

python -m recipes.embedded.make policy --out policy --examples 6000 --epochs 2 --batch-size 32
"""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import Any

import torch

from recipes.embedded.examples import SNIPPET_WORDS, TOP_K, policy_examples, simulator_examples
from recipes.script import adapted, add_tuning, at_least, run, sft_settings
from zerosearch.engines.bm25 import BM25Engine
from zerosearch.factbook import corpus_path, factbook_rows
from zerosearch.learning.policy import Policy
from zerosearch.learning.tuning import output, tune_model


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Tune an adapter on Factbook questions.")
    add_tuning(parser)
    add = parser.add_argument
    add("role", choices=["policy", "simulator"], help="a warm start from scripted episodes, or a search engine's pages")
    add("--model", default="smollm2-135m", help="the base model")
    add(
        "--two-search-share",
        type=at_least(0.0),
        default=0.25,
        help="policy: share of two-hop scripts that search twice",
    )
    add("--per-question", type=at_least(1), default=1, help="simulator: queries a question")
    add("--max-minutes", type=at_least(0.01), help="stop after this time; the learning rate falls with the clock")
    add("--fast-matmul", action="store_true", help="TF32 on GPUs, bfloat16 on CPUs with AMX")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    asked = parse(arguments)
    torch.manual_seed(asked.seed)
    with output(asked.out, f"{asked.role} recipe"):
        local, begun = adapted(asked, asked.role)
        questions, engine = factbook_rows("factbook:train"), BM25Engine.open(corpus_path())
        some: dict[str, Any] = {"limit": asked.examples, "seed": asked.seed}
        if asked.role == "policy":
            texts = policy_examples(local, questions, engine, two_search_share=asked.two_search_share, **some)
        else:
            texts = simulator_examples(local, questions, engine, per_question=asked.per_question, **some)
        settings = sft_settings(
            asked,
            max_seconds=60 * asked.max_minutes if asked.max_minutes else None,
            matmul_precision="medium" if asked.fast_matmul else "highest",
        )
        card = begun | {
            "command": shlex.join(["python", "-m", "recipes.embedded.make", *(arguments or sys.argv[1:])]),
            "data": "factbook:train",
            "top_k": TOP_K,
            "snippet_words": SNIPPET_WORDS,
            "style": "tuned",
        }
        tune_model(Policy(local, adapter=asked.role), texts, settings, asked.out, card)


if __name__ == "__main__":
    run(main)
