"""From sequences to micro-batches: sorted by length, cut by a token budget, padded on the right.

Right padding under causal attention needs no attention mask: a pad can only be seen by pads. What a pad would
contribute to a loss is cut away by the mask, never by comparing ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zerosearch.learning.losses import token_weights


@dataclass(frozen=True)
class Sequences:
    """Token sequences of unequal length. `mask[i][t]` is 1 where `ids[i][t]` is the policy's own (a target)."""

    ids: list[list[int]]
    mask: list[list[int]]

    def __post_init__(self) -> None:
        if [len(row) for row in self.ids] != [len(row) for row in self.mask]:
            raise ValueError("ids and mask differ in length")

    @property
    def lengths(self) -> list[int]:
        return [len(row) for row in self.ids]

    @property
    def target_counts(self) -> list[int]:
        return [sum(row) for row in self.mask]


@dataclass(frozen=True)
class MicroBatch:
    """`rows` of the whole batch, padded: ids_BT and mask_BT, both (B, T), B = len(rows)."""

    rows: tuple[int, ...]
    ids_BT: Tensor
    mask_BT: Tensor


def micro_batches(sequences: Sequences, max_tokens: int, device: torch.device | str = "cpu") -> list[MicroBatch]:
    """Cut into micro-batches of at most `max_tokens` padded tokens (a longer sequence gets one of its own).

    Every row is in exactly one micro-batch. The longest come first, so that a run out of memory shows at once.
    """
    order = sorted(range(len(sequences.ids)), key=lambda i: (-len(sequences.ids[i]), i))
    cut: list[list[int]] = []
    for row in order:
        width = len(sequences.ids[cut[-1][0]]) if cut else 0
        if cut and width * (len(cut[-1]) + 1) <= max_tokens:
            cut[-1].append(row)
        else:
            cut.append([row])
    return [
        MicroBatch(
            tuple(rows),
            pad([sequences.ids[r] for r in rows], device),
            pad([sequences.mask[r] for r in rows], device),
        )
        for rows in cut
    ]


def pad(
    rows: Sequence[Sequence[int] | Sequence[float]],
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    width: int | None = None,
) -> Tensor:
    """Right-pad with 0 to the longest row (or `width`): (B, T)."""
    width = width or max(len(row) for row in rows)
    return torch.tensor([[*row, *([0] * (width - len(row)))] for row in rows], device=device, dtype=dtype)


def token_mean(mask_BT: Tensor, rows: Tensor) -> Tensor:
    """(B, T) weights of a mean over the policy tokens of `rows`."""
    weights = torch.zeros_like(mask_BT, dtype=torch.float32)
    weights[rows] = token_weights(mask_BT[rows], "token-mean")
    return weights
