"""Decoding a static batch: prefill once, then one token a row and step, rows leaving the batch as they finish."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from zerosearch.errors import ModelError
from zerosearch.models.continuous import Row
from zerosearch.models.paged import cache_argument
from zerosearch.models.sampling import StopStrings, next_tokens

_KEYS_AND_VALUES = (DynamicLayer, DynamicSlidingWindowLayer)
"""Layers of a cache that hold nothing but a key and a value for each token: rows can be repeated and taken out."""
_PADS_ARE_MASKED: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
PREFILL_TOKENS = 8192
_FILLED = ("is_initialized", "is_conv_states_initialized", "is_recurrent_states_initialized")


@torch.inference_mode()
def decode_batch(
    model: Any, rows: Sequence[Row], stops: Callable[[tuple[str, ...]], StopStrings], eos_ids: frozenset[int]
) -> None:
    """Sample each row to its end.

    Prompts are padded on the left and prefilled together, equal ones once (the rollouts of one question begin with the
    same prompt). A padded position is masked by the attention mask, never by its id. When more than half of the rows
    are done, the cache is narrowed to the others.

    A cache that keeps a running state beside keys and values (hybrid and linear-attention models) can do none of this:
    there every prompt is prefilled whole, in one piece; and where the state takes pads for tokens (Mamba), only prompts
    of one length are decoded together. Raises `ModelError` for a model that does not fill the cache.
    """
    cache, prompts = DynamicCache(config=model.config), [row.prompt for row in rows]
    rows_are_free = all(type(layer) in _KEYS_AND_VALUES for layer in cache.layers)
    lengths = sorted(set(map(len, prompts)))
    if not rows_are_free and len(lengths) > 1 and not pads_are_masked(model, max(prompts, key=len)):
        for length in lengths:
            decode_batch(model, [row for row in rows if len(row.prompt) == length], stops, eos_ids)
        return
    logits, attention = _fill(model, prompts, cache, rows_are_free)
    last_positions = _positions(attention)[:, -1]
    alive = list(rows)  # those that sit in the cache, in the cache's order
    for step in count():
        ids, logprobs = next_tokens(logits, [row.sampling for row in alive], step)
        for row, token, logprob in zip(alive, ids.tolist(), logprobs.tolist(), strict=True):
            if row.end is None:
                row.take(token, logprob, eos_ids, stops(row.sampling.stop))
        unfinished = [place for place, row in enumerate(alive) if row.end is None]
        if not unfinished:
            return
        if rows_are_free and len(unfinished) * 2 <= len(alive):
            keep = torch.tensor(unfinished, device=model.device)
            cache.batch_select_indices(keep)
            ids, last_positions, attention = ids[keep], last_positions[keep], attention[keep]
            alive = [alive[place] for place in unfinished]
        last_positions = last_positions + 1
        attention = torch.cat([attention, attention.new_ones(len(ids), 1)], dim=1)
        logits = _next_logits(model, cache, attention, ids, last_positions)


def _next_logits(model: Any, cache: DynamicCache, attention_BT: Tensor, ids_B: Tensor, positions_B: Tensor) -> Tensor:
    """Logits (B, V) after one more token a row."""
    argument = cache_argument(model)
    logits: Tensor = model(
        input_ids=ids_B.unsqueeze(1),
        # a state has no columns: Mamba would lay the mask of them all over its one token
        attention_mask=attention_BT if argument != "cache_params" else None,
        position_ids=positions_B.unsqueeze(1),
        use_cache=True,
        **{argument: cache},
    ).logits[:, -1]
    return logits


def pads_are_masked(model: Any, prompt: Sequence[int]) -> bool:
    """Whether a running state passes over the pads of the attention mask: the end of `prompt`, alone and padded.

    Looked at once for each model.
    """
    if model not in _PADS_ARE_MASKED:
        short, size = list(prompt[-8:]), 2 * len(prompt)
        alone, padded = (
            _prefill(model, *_left_pad(rows, model.device), DynamicCache(config=model.config), size)[0]
            for rows in ([short], [short, list(prompt)])
        )
        tolerance = 1e-3 if alone.dtype == torch.float32 else 3e-2
        _PADS_ARE_MASKED[model] = bool((alone - padded).abs().max() <= tolerance * alone.abs().max())
    return _PADS_ARE_MASKED[model]


def _fill(model: Any, prompts: Sequence[list[int]], cache: DynamicCache, rows_are_free: bool) -> tuple[Tensor, Tensor]:
    """Fill the cache with the prompts. Returns the logits (B, V) of their ends and the attention mask (B, T)."""
    if not rows_are_free:  # a running state is told of pads in the first slice only
        tokens, attention = _left_pad(prompts, model.device)
        return _prefill(model, tokens, attention, cache, tokens.numel()), attention
    places = {prompt: number for number, prompt in enumerate(dict.fromkeys(map(tuple, prompts)))}
    tokens, attention = _left_pad(list(places), model.device)
    logits = _prefill(model, tokens, attention, cache, PREFILL_TOKENS)
    if len(places) == len(prompts):
        return logits, attention
    spread = torch.tensor([places[tuple(prompt)] for prompt in prompts], device=model.device)
    cache.batch_select_indices(spread)
    return logits[spread], attention[spread]


def _prefill(model: Any, tokens: Tensor, attention: Tensor, cache: DynamicCache, budget: int) -> Tensor:
    """Fill the cache with `tokens` (B, T), in slices of columns to keep activations within `budget` tokens.

    Returns the logits (B, V) of the end.
    """
    width = max(budget // tokens.shape[0], 32)
    positions = _positions(attention)
    logits: Tensor | None = None
    for start in range(0, tokens.shape[1], width):
        end = min(start + width, tokens.shape[1])
        logits = model(
            input_ids=tokens[:, start:end],
            attention_mask=attention[:, :end],
            position_ids=positions[:, start:end],
            use_cache=True,
            logits_to_keep=1,
            **{cache_argument(model): cache},
        ).logits[:, -1]
    assert logits is not None
    if not any(getattr(layer, flag, False) for layer in cache.layers for flag in _FILLED):
        raise ModelError(f"a model of kind {type(model).__name__} leaves its cache empty: it cannot be decoded here")
    return logits


def _positions(attention: Tensor) -> Tensor:
    """The place of each token among those of its row that are seen; pads get some number."""
    return (attention.cumsum(dim=1) - 1).clamp_min(0)


def _left_pad(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, both (B, T); pads are id 0 and mask 0."""
    longest = max(len(p) for p in prompts)
    tokens = torch.tensor([[0] * (longest - len(p)) + list(p) for p in prompts], device=device)
    attention = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=device)
    return tokens, attention
