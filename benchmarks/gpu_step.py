"""What a training step costs on this machine, with random weights of a shape: rollouts, then the update.

    python benchmarks/gpu_step.py --shape 1.5b
    python benchmarks/gpu_step.py --shape 1.5b --static     # batch by batch, without recorded steps

The work is that of 64 questions x 5 episodes with a prompted simulator on the same weights, made up: one to three turns
of some 20 tokens, pages of some 185 tokens, prompts that share their instructions. What a step costs does not depend on
which tokens they are. The update learns from 320 canned episodes of 174,000 tokens in all, LoRA rank 16.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from arm_zerosearch import trajectory
from canned import Shape, make_rollouts
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

from zerosearch.config import TrainConfig
from zerosearch.episodes.generation import Sampling
from zerosearch.learning.learner import Learner
from zerosearch.learning.policy import POLICY, Policy
from zerosearch.models.devices import pick_device
from zerosearch.models.fused import fuse_norms
from zerosearch.models.local import LocalModel
from zerosearch.models.worker import TransformersGenerator, Worker

SHAPES: dict[str, Any] = {
    "1.5b": Qwen2Config(
        vocab_size=151_936,
        hidden_size=1536,
        intermediate_size=8960,
        num_hidden_layers=28,
        num_attention_heads=12,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    ),
    "135m": LlamaConfig(
        vocab_size=49_152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
        max_position_embeddings=8192,
    ),
}
QUESTIONS, EPISODES, TOKENS = 64, 5, 174_000


class _NoTokenizer:
    """The benchmark's texts are numbers, and end by their length."""

    eos_token_id = None


def load(shape: str, device: torch.device) -> LocalModel:
    torch.manual_seed(0)
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    with torch.device(device):
        model: Any = AutoModelForCausalLM.from_config(SHAPES[shape], dtype=dtype)
    model.generation_config.eos_token_id = None
    model.eval().requires_grad_(False)
    if device.type == "cuda":
        fuse_norms(model)
    return LocalModel(model, _NoTokenizer(), shape, device)


async def rollouts(policy: TransformersGenerator, simulator: TransformersGenerator, words: int, seed: int) -> None:
    rng = random.Random(seed)

    def text(length: int, of: random.Random = rng) -> list[int]:
        return [of.randrange(words) for _ in range(length)]

    instructions, style = text(220, random.Random(0)), text(330, random.Random(1))

    async def episode(question: list[int], number: int) -> None:
        own = random.Random(seed * 100_003 + number)
        ids, turns = instructions + question, own.choice((1, 2, 3, 3))
        for turn in range(turns):
            length = min(300, max(6, int(own.lognormvariate(2.9, 0.6))))
            ids = ids + (await policy.generate(ids, Sampling(max_tokens=length, seed=number * 10 + turn))).token_ids
            if turn == turns - 1:
                return
            length = min(300, max(60, int(own.gauss(185, 50))))
            page = await simulator.generate(
                style + question + text(40, own), Sampling(max_tokens=length, seed=7 * number + turn)
            )
            ids = ids + page.token_ids

    work = []
    for group in range(QUESTIONS):
        question = text(rng.randrange(12, 40))
        work += [episode(question, group * EPISODES + member) for member in range(EPISODES)]
    await asyncio.gather(*work)


def timed(run: Callable[[int], object], repeats: int, device: torch.device) -> list[float]:
    """Seconds of each repeat, the first one with all that is compiled and recorded once."""
    seconds = []
    for number in range(repeats):
        started = time.perf_counter()
        run(number)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(round(time.perf_counter() - started, 3))
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=sorted(SHAPES), default="1.5b")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--static", action="store_true", help="decode batch by batch")
    args = parser.parse_args()
    device = pick_device(args.device)
    model = load(args.shape, device)
    torch.set_float32_matmul_precision("high")
    policy = Policy.lora(model, None, rank=16, alpha=32.0)
    worker = Worker(model, 512, 524_288, merge=True, continuous=not args.static)
    speakers = TransformersGenerator(worker, POLICY), TransformersGenerator(worker, None)
    words = SHAPES[args.shape].vocab_size

    def play(number: int) -> None:
        speakers[0].sync()
        asyncio.run(rollouts(*speakers, words, number))

    played = timed(play, args.repeats, device)
    totals = {str(name): total.tokens for name, total in worker.totals.items()}
    worker.close()
    config = TrainConfig.model_validate({"algorithm": {"name": "grpo", "kl": "none"}})
    learner = Learner(policy, None, config)
    canned = make_rollouts(Shape(QUESTIONS, EPISODES, TOKENS, prompt_share=0.55, policy_share=0.14))
    batch = [trajectory(rollout) for rollout in canned]
    learned = timed(lambda number: learner.update(batch, number), args.repeats, device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    tokens = sum(totals.values()) / args.repeats
    print(json.dumps({"device": name, "shape": args.shape, "rollout_seconds": played, "update_seconds": learned}))
    middle, update = statistics.median(played[1:]), statistics.median(learned[1:])
    print(f"rollouts {middle:.2f} s ({tokens / middle:,.0f} sampled tokens a second), update {update:.2f} s", end="")
    print(f" ({TOKENS / update:,.0f} tokens a second); medians without the first")


if __name__ == "__main__":
    main()
