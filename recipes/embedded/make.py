"""Make the adapters of the embedded default: see README.md beside this file.

python -m recipes.embedded.make policy --out policy --examples 6000 --epochs 2 --batch-size 32
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

import torch

from recipes.embedded.examples import SNIPPET_WORDS, TOP_K, policy_examples, simulator_examples
from recipes.script import at_least, run
from zerosearch.engines.bm25 import BM25Engine
from zerosearch.factbook import corpus_path, factbook_rows
from zerosearch.learning.policy import Policy
from zerosearch.learning.sft import SFTSettings
from zerosearch.learning.tuning import default_rate, output, tune_model
from zerosearch.models.adapters import read_card, resolve_adapter
from zerosearch.models.local import LocalModel


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Tune an adapter on Factbook questions.")
    add = parser.add_argument
    add("role", choices=["policy", "simulator"], help="a warm start from scripted episodes, or a search engine's pages")
    add("--out", type=Path, required=True, help="folder to write the adapter to")
    add("--model", default="smollm2-135m", help="the base model")
    add("--start", help="go on from this adapter")
    add("--examples", type=at_least(1), default=6000, help="at most this many texts")
    add(
        "--two-search-share",
        type=at_least(0.0),
        default=0.25,
        help="policy: share of two-hop scripts that search twice",
    )
    add("--per-question", type=at_least(1), default=1, help="simulator: queries a question")
    add("--rank", type=at_least(1), default=8, help="LoRA rank; alpha is twice as much")
    add("--epochs", type=at_least(0.01), default=2.0)
    add("--batch-size", type=at_least(1), default=16)
    add("--learning-rate", type=at_least(1e-9), default=default_rate(full=False))
    add("--micro-batch-tokens", type=at_least(64), default=4096)
    add("--max-minutes", type=at_least(0.01), help="stop after this time; the learning rate falls with the clock")
    add("--fast-matmul", action="store_true", help="TF32 on GPUs, bfloat16 on CPUs with AMX")
    add("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    asked = parse(arguments)
    torch.manual_seed(asked.seed)
    with output(asked.out, f"{asked.role} recipe"):
        source = resolve_adapter(asked.start) if asked.start else None
        local = LocalModel.load(asked.model, dtype="float32")
        local.add_adapter(asked.role, source, rank=asked.rank, alpha=2.0 * asked.rank, trainable=True)
        questions, engine = factbook_rows("factbook:train"), BM25Engine.open(corpus_path())
        some: dict[str, Any] = {"limit": asked.examples, "seed": asked.seed}
        if asked.role == "policy":
            texts = policy_examples(local, questions, engine, two_search_share=asked.two_search_share, **some)
        else:
            texts = simulator_examples(local, questions, engine, per_question=asked.per_question, **some)
        settings = SFTSettings(
            epochs=asked.epochs,
            batch_size=asked.batch_size,
            learning_rate=asked.learning_rate,
            micro_batch_tokens=asked.micro_batch_tokens,
            max_seconds=60 * asked.max_minutes if asked.max_minutes else None,
            matmul_precision="medium" if asked.fast_matmul else "highest",
            seed=asked.seed,
        )
        card = {
            "command": shlex.join(["python", "-m", "recipes.embedded.make", *(arguments or sys.argv[1:])]),
            "role": asked.role,
            "base": asked.model,
            "start": read_card(source) if source else None,
            "data": "factbook:train",
            "top_k": TOP_K,
            "snippet_words": SNIPPET_WORDS,
            "style": "tuned",
        }
        tune_model(Policy(local, adapter=asked.role), texts, settings, asked.out, card)


if __name__ == "__main__":
    run(main)
