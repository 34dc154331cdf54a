"""Canned rollouts: the same made-up search episodes for every arm of a benchmark. Also a command that writes them.

    python benchmarks/canned.py --model FOLDER --out rollouts.json

An episode is a prompt, then policy turns (mask 1) with result pages (mask 0) between them. Token ids are drawn at
random (what a step costs does not depend on which they are), log-probs are the model's own, so that the first step on
them is on-policy. Only `score` imports torch, so that any interpreter can read the file.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

Lengths = Literal["unequal", "equal"]

PLAIN_IDS = (1_000, 40_000)  # no control tokens in between
SEARCHES_OF_EQUAL_EPISODES = 2


@dataclass(frozen=True)
class Shape:
    """What a batch looks like. Shares are of all tokens; what is neither prompt nor policy is result pages."""

    groups: int = 4
    rollouts: int = 4
    tokens: int = 5248
    prompt_share: float = 1 / 3
    policy_share: float = 0.25
    lengths: Lengths = "unequal"
    ids: tuple[int, int] = PLAIN_IDS

    @property
    def rows(self) -> int:
        return self.groups * self.rollouts


@dataclass(frozen=True)
class Rollout:
    """One episode. `completion_ids`, `mask` and `logprobs` have one length; log-probs are 0 where the mask is."""

    group: int
    reward: float
    prompt_ids: list[int]
    completion_ids: list[int]
    mask: list[int]
    logprobs: list[float]

    @property
    def length(self) -> int:
        return len(self.prompt_ids) + len(self.completion_ids)


def make_rollouts(shape: Shape, seed: int = 0) -> list[Rollout]:
    """Rollouts of exactly `shape.tokens` tokens, without log-probs (0.0); equal for equal arguments.

    Unequal: 0, 1, 2, 3, 0, ... searches, turns and pages of varied lengths. Equal: 2 searches, lengths equal but for a
    token. Rewards have spread in every group, so that no trainer can leave a row out. Raises ValueError for a batch
    too small to hold a token in every part.
    """
    rng = random.Random(seed)
    varied = shape.lengths == "unequal"
    prompts = split(round(shape.tokens * shape.prompt_share / shape.rollouts), shape.groups, rng, varied=varied)
    searches = [row % 4 if varied else SEARCHES_OF_EQUAL_EPISODES for row in range(shape.rows)]
    policy = round(shape.tokens * shape.policy_share)
    pages = shape.tokens - policy - shape.rollouts * sum(prompts)
    turn_lengths = _per_row(policy, [count + 1 for count in searches], rng, varied=varied)
    page_lengths = _per_row(pages, searches, rng, varied=varied)
    rollouts = []
    for group, prompt in enumerate(prompts):
        prompt_ids = _ids(prompt, rng, shape.ids)
        for member in range(shape.rollouts):
            row = group * shape.rollouts + member
            mask: list[int] = []
            for turn, length in enumerate(turn_lengths[row]):
                mask += [1] * length
                mask += [0] * (page_lengths[row][turn] if turn < searches[row] else 0)
            reward = round((member + 1) / shape.rollouts * (1 if member % 2 else 0.5), 3)
            rollouts.append(
                Rollout(group, reward, prompt_ids, _ids(len(mask), rng, shape.ids), mask, [0.0] * len(mask))
            )
    if sum(r.length for r in rollouts) != shape.tokens:
        raise ValueError(f"made {sum(r.length for r in rollouts)} tokens, wanted {shape.tokens}")
    return rollouts


def split(total: int, parts: int, rng: random.Random, *, varied: bool) -> list[int]:
    """Whole numbers of at least 1 that add up to `total`; varied ones differ by up to about 2.3 times."""
    if total < parts:
        raise ValueError(f"{total} tokens are too few for {parts} parts")
    weights = [rng.uniform(0.6, 1.4) if varied else 1.0 for _ in range(parts)]
    bounds, seen = [0], 0.0
    for weight in weights:
        seen += weight
        bounds.append(round((total - parts) * seen / sum(weights)))
    return [1 + after - before for before, after in pairwise(bounds)]


def _per_row(total: int, counts: Sequence[int], rng: random.Random, *, varied: bool) -> list[list[int]]:
    """`counts[row]` lengths a row, all adding up to `total`."""
    if varied:
        flat = iter(split(total, sum(counts), rng, varied=True))
        return [[next(flat) for _ in range(count)] for count in counts]
    rows = split(total, len(counts), rng, varied=False)
    return [split(row, count, rng, varied=False) for row, count in zip(rows, counts, strict=True)]


def _ids(count: int, rng: random.Random, between: tuple[int, int]) -> list[int]:
    return [rng.randrange(*between) for _ in range(count)]


def score(rollouts: Sequence[Rollout], model_folder: str) -> list[Rollout]:
    """The same rollouts with log-probs by the model in float32 at temperature 1: one plain forward pass a row."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    scored = []
    for rollout in rollouts:
        ids = torch.tensor([rollout.prompt_ids + rollout.completion_ids])
        start = len(rollout.prompt_ids)
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits[0, start - 1 : -1]
        chosen = torch.log_softmax(logits, dim=-1).gather(1, ids[0, start:, None])[:, 0].tolist()
        logprobs = [value if mask else 0.0 for value, mask in zip(chosen, rollout.mask, strict=True)]
        scored.append(replace(rollout, logprobs=logprobs))
    return scored


def write_rollouts(path: Path, rollouts: Sequence[Rollout]) -> None:
    path.write_text(json.dumps([asdict(r) for r in rollouts]) + "\n")


def read_rollouts(path: Path) -> list[Rollout]:
    return [Rollout(**row) for row in json.loads(path.read_text())]


def describe(rollouts: Sequence[Rollout]) -> dict[str, Any]:
    """Sizes of a batch: sequences, tokens, policy tokens, shortest and longest row, positions when padded to it."""
    lengths = [r.length for r in rollouts]
    return {
        "sequences": len(rollouts),
        "tokens": sum(lengths),
        "policy_tokens": sum(sum(r.mask) for r in rollouts),
        "shortest": min(lengths),
        "longest": max(lengths),
        "padded_tokens": max(lengths) * len(lengths),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of the model that scores the tokens")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--groups", type=int, default=Shape.groups)
    parser.add_argument("--tokens", type=int, default=Shape.tokens)
    parser.add_argument("--lengths", choices=("unequal", "equal"), default=Shape.lengths)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    shape = Shape(groups=args.groups, tokens=args.tokens, lengths=args.lengths)
    write_rollouts(args.out, score(make_rollouts(shape, args.seed), args.model))


if __name__ == "__main__":
    main()
