"""From sequences to micro-batches, cut by a token budget: padded on the right, or packed.

Right padding under causal attention needs no attention mask: a pad can only be seen by pads. What a pad would
contribute to a loss is cut away by the mask, never by comparing ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from zerosearch.learning.losses import Aggregation, token_weights
from zerosearch.learning.packing import Packing, pack, prompt_length
from zerosearch.learning.parallel import ALONE, Processes


@dataclass(frozen=True)
class Sequences:
    """Token sequences of unequal length. `mask[i][t]` is 1 where `ids[i][t]` is the policy's own (a target)."""

    ids: list[list[int]]
    mask: list[list[int]]

    def __post_init__(self) -> None:
        if [len(row) for row in self.ids] != [len(row) for row in self.mask]:
            raise ValueError("ids and mask differ in length")

    def only(self, rows: Sequence[int]) -> Sequences:
        return Sequences([self.ids[row] for row in rows], [self.mask[row] for row in rows])


@dataclass(frozen=True)
class MicroBatch:
    """`rows` of the whole batch, padded: ids_BT and mask_BT, both (B, T), B = len(rows); and packed, for who can.

    Without rows it counts for nothing, and is computed since other processes compute one of theirs.
    """

    rows: tuple[int, ...]
    ids_BT: Tensor
    mask_BT: Tensor
    packing: Packing | None = None


def micro_batches(
    sequences: Sequences,
    max_tokens: int,
    device: torch.device | str = "cpu",
    *,
    packed: bool = False,
    processes: Processes = ALONE,
    even: bool = False,
) -> list[MicroBatch]:
    """Cut this process's share into micro-batches of at most `max_tokens` tokens (a longer sequence gets its own).

    Tokens are counted as computed: with pads, or `packed`, a prompt that neighbours share once. Every row is in exactly
    one micro-batch of one process. The largest come first, so that a run out of memory shows at once. `even` gives all
    processes equally many, some without rows.
    """
    shares = share_out(sequences, processes.size, packed=packed)
    cut = _by_prompt if packed else _by_length

    def micro(rows: Sequence[int], *, counts: bool = True) -> MicroBatch:
        held = sequences.only(rows)
        packing = pack(held.ids, held.mask, device) if packed else None
        return MicroBatch(tuple(rows) if counts else (), pad(held.ids, device), pad(held.mask, device), packing)

    own = shares[processes.rank]
    batches = [micro([own[row] for row in rows]) for rows in cut(sequences.only(own), max_tokens)]
    if even and processes.size > 1:
        most = max(len(cut(sequences.only(share), max_tokens)) for share in shares)
        shortest = min(range(len(sequences.ids)), key=lambda row: len(sequences.ids[row]))
        batches += [micro([shortest], counts=False)] * (most - len(batches))
    return batches


def share_out(sequences: Sequences, size: int, *, packed: bool = False) -> list[list[int]]:
    """The rows of each of `size` processes, in order, about equal in tokens.

    The largest pieces first, each to whoever has least so far. A piece is a row or, `packed`, all rows of one prompt.
    """
    if size == 1:
        return [list(range(len(sequences.ids)))]
    pieces = [(len(row), [place]) for place, row in enumerate(sequences.ids)]
    if packed:
        groups = _groups(sequences)
        pieces = [(n + sum(len(sequences.ids[row]) - n for row in rows), rows) for n, rows in groups]
    shares: list[list[int]] = [[] for _ in range(size)]
    tokens = [0] * size
    for length, rows in sorted(pieces, key=lambda piece: (-piece[0], piece[1])):
        least = tokens.index(min(tokens))
        shares[least] += rows
        tokens[least] += length
    return [sorted(share) for share in shares]


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
    parts: list[tuple[int, list[int]]] = []
    for prompt, rows in _groups(sequences):
        size, part = prompt, list[int]()
        for row in rows:
            own = len(sequences.ids[row]) - prompt
            if part and size + own > max_tokens:
                parts.append((size, part))
                size, part = prompt, []
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


def _groups(sequences: Sequences) -> list[tuple[int, list[int]]]:
    """The rows of each prompt, and its tokens."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, (ids, mask) in enumerate(zip(sequences.ids, sequences.mask, strict=True)):
        groups.setdefault(tuple(ids[: prompt_length(mask)]), []).append(row)
    return [(len(prompt), rows) for prompt, rows in groups.items()]


def pad(
    rows: Sequence[Sequence[int] | Sequence[float]],
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Right-pad with 0 to the longest row: (B, T)."""
    padded = np.zeros((len(rows), max(map(len, rows))), np.result_type(*{type(row[0]) for row in rows if row}))
    for place, row in enumerate(rows):
        padded[place, : len(row)] = row
    given = torch.from_numpy(padded)
    return given.to(device, dtype or (torch.float32 if given.is_floating_point() else torch.int64))


def weights_of(rows: Tensor, mask_BT: Tensor, aggregation: Aggregation, max_tokens: int | None = None) -> Tensor:
    """(B, T): the `token_weights` of some rows of a batch, 0 in all others."""
    weights = torch.zeros_like(mask_BT, dtype=torch.float32)
    weights[rows] = token_weights(mask_BT[rows], aggregation, max_tokens)
    return weights
