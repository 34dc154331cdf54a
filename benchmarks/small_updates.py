"""What sampler and trainer hear of the first, small updates of an adapter, by number format (docs/training.md).

    python benchmarks/small_updates.py
    python benchmarks/small_updates.py --device cuda --steps 1 4 8

Supervised steps on two texts (rank 16, 5e-5) in float32 make one adapter; the base's weights lie on bfloat16's grid, as
a checkpoint's mostly do. Printed is the gain in mean log-prob of the texts' tokens that this adapter brings, each way
of running it against the same way without the adapter. The weights of the copies take about 3 GB of memory.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor

from zerosearch.learning.batches import MicroBatch
from zerosearch.learning.policy import POLICY, Policy
from zerosearch.models.local import LocalModel
from zerosearch.models.merged import MergedAdapters

TEXTS = (
    "Question: Who wrote Hamlet?\nAnswer: <search> author of the play Hamlet </search> William Shakespeare wrote it.",
    "The capital of Nepal is Kathmandu, a city of a million people in a high valley between the mountains.",
)
HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def load(name: str, device: str, dtype: torch.dtype) -> LocalModel:
    """A model with its weights on bfloat16's grid, held in `dtype`, with a new adapter."""
    model = LocalModel.load(name, dtype="bfloat16", device=device)
    model.base.to(dtype)
    model.add_adapter(POLICY, rank=16, alpha=32, trainable=True)
    return model


def texts(model: LocalModel) -> list[MicroBatch]:
    """One micro-batch a text, so that no pad is in the way; all tokens but the first count."""
    batches = []
    for text in TEXTS:
        ids_BT = torch.tensor([model.codec.encode(text)], device=model.device)
        mask_BT = torch.ones_like(ids_BT)
        mask_BT[:, 0] = 0
        batches.append(MicroBatch((0,), ids_BT, mask_BT))
    return batches


def heard_by_trainer(policy: Policy, batches: list[MicroBatch]) -> Tensor:
    """Mean log-prob as the trainer computes it, with gradients where they are asked for."""
    return torch.cat([policy.logprobs(batch, 1.0, entropy="none").logprobs_N for batch in batches]).mean()


@torch.no_grad()
def heard_from(model: torch.nn.Module, batches: list[MicroBatch]) -> float:
    """Mean log-prob under a model without adapters."""
    rows = []
    for batch in batches:
        logits = model(input_ids=batch.ids_BT, use_cache=False).logits[0, :-1].float()
        rows.append(logits.log_softmax(-1).gather(1, batch.ids_BT[0, 1:].unsqueeze(1)))
    return float(torch.cat(rows).mean())


@torch.no_grad()
def merged_to_the_nearest(model: LocalModel) -> torch.nn.Module:
    """The plain merge: the sum rounded to the weights' format."""
    merged = copy.deepcopy(MergedAdapters(model).get(POLICY))
    parameters = dict(merged.named_parameters())
    for name, module in model.base.named_modules():
        if isinstance(module, LoraLayer):
            weight = module.get_base_layer().weight
            parameters[f"{name}.weight"].copy_(weight.float() + module.get_delta_weight(POLICY).float())
    return merged


def train(name: str, device: str, rate: float, steps: list[int]) -> dict[int, dict[str, Tensor]]:
    """The adapter's state after each of `steps`, and before (0), by float32."""
    policy = Policy(load(name, device, torch.float32))
    policy.train_mode()
    batches = texts(policy.model)
    optimizer = torch.optim.AdamW(policy.parameters().values(), lr=rate, weight_decay=0)
    states = {0: policy.state()}
    for step in range(1, max(steps) + 1):
        (-heard_by_trainer(policy, batches)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step in steps:
            states[step] = policy.state()
    return states


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 4])
    args = parser.parse_args()
    torch.manual_seed(0)
    states = train(args.model, args.device, args.learning_rate, args.steps)

    def gains(model: LocalModel, hear: Callable[[], float]) -> list[float]:
        found = []
        for state in states.values():
            model.load_adapter_state(POLICY, state)
            found.append(hear())
        return [value - found[0] for value in found[1:]]

    rows: dict[str, list[float]] = {}
    for kind, dtype in ({"float32": torch.float32} | HALVES).items():
        model = load(args.model, args.device, dtype)
        policy, batches = Policy(model), texts(model)
        policy.train_mode()

        def trainer(policy: Policy = policy, batches: list[MicroBatch] = batches) -> float:
            with torch.no_grad():
                return float(heard_by_trainer(policy, batches))

        if dtype == torch.float32:
            rows["exact (float32)"] = gains(model, trainer)
            continue
        rows[f"{kind}, merged to the nearest"] = gains(
            model, lambda model=model, batches=batches: heard_from(merged_to_the_nearest(model), batches)
        )
        rows[f"{kind}, merged by chance"] = gains(
            model, lambda model=model, batches=batches: heard_from(MergedAdapters(model).get(POLICY), batches)
        )
        rows[f"{kind}, trainer"] = gains(model, trainer)
    print(f"{args.model}, {args.device}, {args.learning_rate:g}")
    for name, values in rows.items():
        print(f"{name:<32}" + "".join(f"  step {s}: {v:+.3f}" for s, v in zip(args.steps, values, strict=True)))


if __name__ == "__main__":
    main()
