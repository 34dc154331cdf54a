"""From sequences to micro-batches, cut by a token budget: padded on the right, or packed.

Right padding under causal attention needs no attention mask: a pad can only be seen by pads. What a pad would
contribute to a loss is cut away by the mask, never by comparing ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zerosearch.learning.losses import token_weights
from zerosearch.learning.packing import Packing, pack, prompt_length


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
    """`rows` of the whole batch, padded: ids_BT and mask_BT, both (B, T), B = len(rows); and packed, for who can."""

    rows: tuple[int, ...]
    ids_BT: Tensor
    mask_BT: Tensor
    packing: Packing | None = None


def micro_batches(
    sequences: Sequences, max_tokens: int, device: torch.device | str = "cpu", *, packed: bool = False
) -> list[MicroBatch]:
    """Cut into micro-batches of at most `max_tokens` tokens (a longer sequence gets one of its own).

    Tokens are counted as computed: with pads, or `packed`, a prompt that neighbours share once. Every row is in exactly
    one micro-batch. The largest come first, so that a run out of memory shows at once.
    """
    cut = _by_prompt(sequences, max_tokens) if packed else _by_length(sequences, max_tokens)
    batches = []
    for rows in cut:
        ids, masks = [sequences.ids[r] for r in rows], [sequences.mask[r] for r in rows]
        packing = pack(ids, masks, device) if packed else None
        batches.append(MicroBatch(tuple(rows), pad(ids, device), pad(masks, device), packing))
    return batches


def _by_length(sequences: Sequences, max_tokens: int) -> list[list[int]]:
    order = sorted(range(len(sequences.ids)), key=lambda i: (-len(sequences.ids[i]), i))
    cut: list[list[int]] = []
    for row in order:
        width = len(sequences.ids[cut[-1][0]]) if cut else 0
        if cut and width * (len(cut[-1]) + 1) <= max_tokens:
            cut[-1].append(row)
        else:
            cut.append([row])
    return cut


def _by_prompt(sequences: Sequences, max_tokens: int) -> list[list[int]]:
    """Rows of equal prompts together, in parts that fit; then parts together, the largest first."""
    groups: dict[tuple[int, ...], list[int]] = {}
    prompts = [prompt_length(mask) for mask in sequences.mask]
    for row, ids in enumerate(sequences.ids):
        groups.setdefault(tuple(ids[: prompts[row]]), []).append(row)
    parts: list[tuple[int, list[int]]] = []
    for prompt, rows in groups.items():
        size, part = len(prompt), list[int]()
        for row in rows:
            own = len(sequences.ids[row]) - len(prompt)
            if part and size + own > max_tokens:
                parts.append((size, part))
                size, part = len(prompt), []
            size += own
            part.append(row)
        parts.append((size, part))
    cut: list[list[int]] = []
    room = 0
    for size, part in sorted(parts, key=lambda sized: (-sized[0], sized[1])):
        if not cut or size > room:
            cut.append([])
            room = max_tokens
        cut[-1] += part
        room -= size
    return cut


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
