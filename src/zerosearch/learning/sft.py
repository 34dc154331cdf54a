"""The one supervised trainer: next-token loss on the tokens that have a mask, for warm starts and simulators."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from zerosearch.episodes.examples import Example
from zerosearch.errors import RunError
from zerosearch.learning.batches import Sequences, micro_batches
from zerosearch.learning.logprobs import Sampled
from zerosearch.learning.policy import Policy
from zerosearch.learning.scaling import LossScale, descend
from zerosearch.models.devices import multiplying, repeatable
from zerosearch.process.runtime import release_memory


@dataclass(frozen=True)
class SFTSettings:
    """`batch_size` examples a step; `micro_batch_tokens` tokens at a time; `learning_rate` falls along a cosine.

    Where `max_seconds` would end a run before its last step, the rate falls with the clock, so that it ends near 0.

    `matmul_precision` `medium` lets a CPU with AMX multiply in bfloat16: about twice as fast, and good enough here.
    """

    epochs: float = 2.0
    batch_size: int = 16
    learning_rate: float = 1e-3
    warmup: float = 0.05
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    micro_batch_tokens: int = 4096
    validation_share: float = 0.05
    evaluations: int = 6
    patience: int = 2
    seed: int = 0
    max_seconds: float | None = None
    matmul_precision: str = "highest"


@dataclass(frozen=True)
class SFTResult:
    """How a tuning went: its steps, the last losses and the best validation loss, seconds, and why it `stopped`."""

    steps: int
    train_loss: float
    validation_loss: float
    best_validation_loss: float
    seconds: float
    stopped: str


def train_sft(
    trainee: Policy,
    examples: Sequence[Example],
    settings: SFTSettings,
    report: Callable[[dict[str, float]], None] = lambda row: None,
    keep: Callable[[], None] = lambda: None,
) -> SFTResult:
    """Train the adapter, or all weights, of `trainee` in place; it ends with the weights of the best validation loss.

    `keep` is called whenever the validation loss is the best so far: save it there, and a run that is killed loses
    little.

    The loss is the mean over all target tokens of a step, by their masks, however they are cut into micro-batches.
    Stops early after `patience` evaluations without a gain. Raises `RunError` on a loss or a gradient that is
    not finite.
    """
    # log-probs taken later must not lose the precision of theirs
    with multiplying(settings.matmul_precision), repeatable(trainee.model.device):
        return _train(trainee, examples, settings, report, keep)


def _train(
    trainee: Policy,
    examples: Sequence[Example],
    settings: SFTSettings,
    report: Callable[[dict[str, float]], None],
    keep: Callable[[], None],
) -> SFTResult:
    training, validation = split_by_key(examples, settings.validation_share, settings.seed)
    if not training or not validation:
        keys = len({e.key for e in examples})
        raise RunError(f"{len(examples)} examples with {keys} keys are too few to train and validate on")
    trainee.train_mode()
    scale = LossScale(trainee.model.dtype)
    optimizer = torch.optim.AdamW(
        trainee.parameters().values(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    per_epoch = math.ceil(len(training) / settings.batch_size)
    total = max(1, round(per_epoch * settings.epochs))
    every = max(1, total // settings.evaluations)
    started, best, best_state, since_best = time.perf_counter(), math.inf, trainee.state(), 0
    train_loss, validation_loss, stopped, step = math.nan, math.nan, "finished", 0
    order = _order(len(training), settings.batch_size, total, settings.seed)
    for step, rows in enumerate(order, start=1):
        progress = _progress(step, total, time.perf_counter() - started, settings.max_seconds)
        rate = settings.learning_rate * _schedule(progress, settings.warmup)
        for group in optimizer.param_groups:
            group["lr"] = rate
        batch = [training[i] for i in rows]
        train_loss, norm = descend(
            optimizer,
            partial(_losses, trainee, batch, settings.micro_batch_tokens),
            scale,
            max_norm=settings.max_grad_norm,
            what=f"SFT step {step}, examples {[e.key for e in batch][:4]}...",
        )
        release_memory()
        row = {"step": step, "total": total, "loss": train_loss, "grad_norm": norm, "learning_rate": rate}
        seconds = time.perf_counter() - started
        out_of_time = settings.max_seconds is not None and seconds > settings.max_seconds
        if step % every == 0 or step == total or out_of_time:
            with torch.no_grad():
                validation_loss = sum(map(float, _losses(trainee, validation, settings.micro_batch_tokens)))
            if not math.isfinite(validation_loss):
                raise RunError(f"SFT step {step}: the validation loss is {validation_loss}")
            row["validation_loss"] = validation_loss
            since_best = 0 if validation_loss < best else since_best + 1
            if validation_loss < best:
                best, best_state = validation_loss, trainee.state()
                keep()
        report({**row, "seconds": seconds})
        if out_of_time or since_best >= settings.patience:
            stopped = "time" if out_of_time else "validation loss rose"
            break
    trainee.load_state(best_state)
    trainee.model.activate(trainee.adapter)
    trainee.model.base.requires_grad_(False)  # it is left ready to speak
    return SFTResult(step, train_loss, validation_loss, best, time.perf_counter() - started, stopped)


def split_by_key(examples: Sequence[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Split so that examples of one key (one question) are on one side."""
    keys = sorted({e.key for e in examples})
    shuffled = np.random.default_rng(seed).permutation(len(keys))
    held_out = {keys[i] for i in shuffled[: max(1, round(share * len(keys)))]}
    return [e for e in examples if e.key not in held_out], [e for e in examples if e.key in held_out]


def _losses(trainee: Policy, batch: Sequence[Example], budget: int) -> Iterator[Tensor]:
    """What each micro-batch adds to the loss of a batch."""
    sequences = Sequences([e.ids for e in batch], [e.mask for e in batch])
    total = sum(map(sum, sequences.mask))
    for micro in micro_batches(sequences, budget, trainee.model.device, packed=trainee.packs):
        targets_BT = micro.mask_BT[:, 1:]
        weights_N = targets_BT[targets_BT.bool()]
        yield -(weights_N * trainee.logprobs(micro, Sampled(), entropy="none").logprobs_N).sum() / total


def _order(count: int, batch_size: int, total: int, seed: int) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    batches: list[list[int]] = []
    while len(batches) < total:
        rows = rng.permutation(count).tolist()
        batches += [rows[i : i + batch_size] for i in range(0, count, batch_size)]
    return batches[:total]


def _progress(step: int, total: int, seconds: float, max_seconds: float | None) -> float:
    """Share of the run that lies behind the middle of a step, by steps or by the clock, whichever is ahead."""
    by_steps = (step - 0.5) / total
    return max(by_steps, min(seconds / max_seconds, 1.0)) if max_seconds else by_steps


def _schedule(progress: float, warmup: float) -> float:
    """Share of the learning rate; `progress` is taken at the middle of a step, so that no step has a rate of 0."""
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))
