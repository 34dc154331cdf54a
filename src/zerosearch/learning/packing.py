"""Pack sequences into one row. A prompt that several rollouts share is computed once.

The linear layers of a model see each token once, and no padding. Attention is told who sees whom: a rollout's own see
the prompt's and their own. This is the same function of the weights as a padded batch, and so are its gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, DynamicCache
from transformers.cache_utils import DynamicLayer

ATTENTION = "zerosearch_packed"
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Packing:
    """N tokens of several texts, end to end in S segments; a segment sees its own M keys, the last ones itself.

    `ids` and `positions` (N,); `keys` (sum of M,) are the tokens that each segment sees, one segment after the other;
    `query_ends` and `key_ends` (S + 1,) int32 where the segments end in both. `predictors` (n,) are the tokens after
    which the n policy tokens come, row by row, and `targets` (n,) these.
    """

    ids: Tensor
    positions: Tensor
    keys: Tensor
    predictors: Tensor
    targets: Tensor
    query_ends: Tensor
    key_ends: Tensor
    longest: tuple[int, int]
    """Segment, in tokens and in keys."""


def prompt_length(mask: Sequence[int]) -> int:
    """The tokens before the first of the policy."""
    return next((place for place, own in enumerate(mask) if own), len(mask))


def pack(ids: Sequence[Sequence[int]], masks: Sequence[Sequence[int]], device: torch.device | str = "cpu") -> Packing:
    """Pack rows; those whose prompts are equal, one after the other, share it."""
    tokens: list[Numbers] = []
    positions: list[Numbers] = []
    keys: list[Numbers] = []
    ends: list[tuple[int, int]] = [(0, 0)]
    predictors: list[Numbers] = []
    targets: list[Numbers] = []

    def segment(own: Numbers, before: range) -> int:
        first, seen = ends[-1]
        last = first + len(own)
        tokens.append(own)
        positions.append(np.arange(len(before), len(before) + len(own)))
        keys.extend((np.arange(before.start, before.stop), np.arange(first, last)))
        ends.append((last, seen + len(before) + len(own)))
        return first

    lengths = [prompt_length(mask) for mask in masks]
    shared = range(0)
    for row, (text, mask) in enumerate(zip(ids, masks, strict=True)):
        length, whole = lengths[row], np.asarray(text, dtype=np.int64)
        if not row or not _same_prompt(ids, lengths, row - 1):
            shared = range(0)
            if row + 1 < len(ids) and _same_prompt(ids, lengths, row):
                first = segment(whole[:length], range(0))
                shared = range(first, first + length)
        start = segment(whole[len(shared) :], shared)
        own = np.flatnonzero(mask)
        targets.append(whole[own])
        predictors.append(np.where(own > len(shared), start - len(shared), shared.start) + own - 1)
    pairs = list(pairwise(ends))
    longest = max(b[0] - a[0] for a, b in pairs), max(b[1] - a[1] for a, b in pairs)
    query_ends, key_ends = torch.tensor(ends, dtype=torch.int32, device=device).unbind(1)

    def joined(parts: list[Numbers]) -> Tensor:
        return torch.from_numpy(np.concatenate(parts)).to(device)

    return Packing(
        joined(tokens),
        joined(positions),
        joined(keys),
        joined(predictors),
        joined(targets),
        query_ends.contiguous(),
        key_ends.contiguous(),
        longest,
    )


def _same_prompt(ids: Sequence[Sequence[int]], lengths: Sequence[int], row: int) -> bool:
    """Whether `row` and the next one begin with the same prompt."""
    length = lengths[row]
    return lengths[row + 1] == length and ids[row][:length] == ids[row + 1][:length]


def hidden_states(model: Any, packing: Packing) -> Tensor:
    """The decoder's last hidden states (n, H) at `packing.predictors`."""
    before = model.config._attn_implementation
    model.config._attn_implementation = ATTENTION
    try:
        hidden: Tensor = model.get_decoder()(
            input_ids=packing.ids.unsqueeze(0),
            attention_mask=torch.zeros(1, 1, 1, 1, dtype=model.dtype, device=packing.ids.device),  # 4D: taken as it is
            position_ids=packing.positions.unsqueeze(0),
            use_cache=False,
            packing=packing,
        ).last_hidden_state
    finally:
        model.config._attn_implementation = before
    return hidden[0, packing.predictors]


def packed_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """Causal attention of query (1, H, N, D) by the segments of `packing`. Returns (1, N, H, D)."""
    packing, scale = kwargs["packing"], kwargs.get("scaling")
    narrow = value.dtype  # rotary embeddings beside weights in float32 widen queries and keys under autocast
    queries, keys, values = (x[0].transpose(0, 1).to(narrow) for x in (query, key, value))  # (N, heads, D)
    keys, values = keys[packing.keys], values[packing.keys]
    width = queries.shape[-1]
    if queries.is_cuda and queries.dtype.itemsize == 2 and width % 8 == 0 and width <= 256:  # flash attention takes it
        out: Tensor = torch.ops.aten._flash_attention_forward(
            queries, keys, values, packing.query_ends, packing.key_ends, *packing.longest, 0.0, True, False, scale=scale
        )[0]
        return out.unsqueeze(0), None
    pieces = []
    ends = list(zip(packing.query_ends.tolist(), packing.key_ends.tolist(), strict=True))
    for (query_start, key_start), (query_end, key_end) in pairwise(ends):
        own = queries[query_start:query_end].transpose(0, 1)
        seen = [x[key_start:key_end].transpose(0, 1) for x in (keys, values)]
        before = key_end - key_start - (query_end - query_start)
        mask = None
        if before:
            mask = torch.ones(own.shape[1], before + own.shape[1], dtype=torch.bool, device=own.device).tril(before)
        one, key_one, value_one = (x.unsqueeze(0) for x in (own, *seen))
        attended = scaled_dot_product_attention(
            one, key_one, value_one, mask, is_causal=not before, scale=scale, enable_gqa=True
        )
        pieces.append(attended[0].transpose(0, 1))
    return torch.cat(pieces).unsqueeze(0), None


AttentionInterface.register(ATTENTION, packed_attention)


@torch.no_grad()
def can_pack(model: Any) -> bool:
    """Whether packed and padded rows give the same hidden states: every layer is plain causal attention, no more."""
    if getattr(model.config, "_attn_implementation", None) != "sdpa":
        return False
    if not all(type(layer) is DynamicLayer for layer in DynamicCache(config=model.config).layers):
        return False
    rows = [[1, 2, 3, 4, 5, 6], [1, 2, 3, 7, 8], [9, 8, 7]]
    masks = [[0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1], [0, 1, 1]]
    try:
        packed = hidden_states(model, pack(rows, masks, model.device))
    except (TypeError, KeyError):  # a forward pass that hands nothing down to its attention
        return False
    alone = [
        model.get_decoder()(input_ids=torch.tensor([row], device=model.device), use_cache=False).last_hidden_state[0]
        for row in rows
    ]
    wanted = torch.cat([h[[p - 1 for p, own in enumerate(mask) if own]] for h, mask in zip(alone, masks, strict=True)])
    tolerance = 1e-3 if wanted.dtype == torch.float32 else 3e-2
    return bool((packed - wanted).abs().max() <= tolerance * wanted.abs().max())
