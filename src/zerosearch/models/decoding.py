"""Decoding a static batch: prefill once, then one token a row and step, rows leaving the batch as they finish."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from zerosearch.episodes.generation import Generation, GenerationStop, Sampling
from zerosearch.errors import ModelError
from zerosearch.models.paged import cache_argument
from zerosearch.models.sampling import StopStrings, next_tokens

_KEYS_AND_VALUES = (DynamicLayer, DynamicSlidingWindowLayer)
"""Layers of a cache that hold nothing but a key and a value for each token: rows can be repeated and taken out."""
_PADS_ARE_MASKED: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
PREFILL_TOKENS = 8192
_FILLED = ("is_initialized", "is_conv_states_initialized", "is_recurrent_states_initialized")


@dataclass
class _Row:
    index: int
    sampling: Sampling
    stops: StopStrings
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)

    def take(self, token: int, logprob: float, eos_ids: frozenset[int]) -> GenerationStop | None:
        self.ids.append(token)
        self.logprobs.append(logprob)
        if token in eos_ids:
            return "eos"
        if self.stops.completed(self.ids):
            return "stop"
        return "length" if len(self.ids) >= self.sampling.max_tokens else None


@torch.inference_mode()
def decode_batch(
    model: Any,
    prompts: Sequence[list[int]],
    sampling: Sequence[Sampling],
    *,
    tokenizer: Any,
    eos_ids: frozenset[int],
    on_token: Callable[[int, int], None] | None = None,
) -> list[Generation]:
    """Sample a continuation for each prompt; `prompts[i]` goes with `sampling[i]`.

    Prompts are padded on the left and prefilled together, equal ones once (the rollouts of one question begin with the
    same prompt). A padded position is masked by the attention mask, never by its id. When more than half of the rows
    are done, the cache is narrowed to the others.

    A cache that keeps a running state beside keys and values (hybrid and linear-attention models) can do none of this:
    there every prompt is prefilled whole, in one piece; and where the state takes pads for tokens (Mamba), only prompts
    of one length are decoded together. Raises `ModelError` for a model that does not fill the cache.

    `on_token(i, id)` is told of each token of `prompts[i]` as soon as it is sampled; what it raises ends the batch.
    Raises `FloatingPointError` where a row has logits that are not numbers, before a token of them is taken.
    """
    cache = DynamicCache(config=model.config)
    rows_are_free = all(type(layer) in _KEYS_AND_VALUES for layer in cache.layers)
    if not rows_are_free and len(set(map(len, prompts))) > 1 and not pads_are_masked(model, max(prompts, key=len)):
        alike = partial(decode_batch, model, tokenizer=tokenizer, eos_ids=eos_ids)
        return _by_length(alike, prompts, sampling, on_token)
    stops: dict[tuple[str, ...], StopStrings] = {}
    for s in sampling:
        stops.setdefault(s.stop, StopStrings(tokenizer, s.stop))
    rows = [_Row(i, s, stops[s.stop]) for i, s in enumerate(sampling)]
    done: dict[int, Generation] = {}
    logits, attention = _fill(model, prompts, cache, rows_are_free)
    last_positions = _positions(attention)[:, -1]
    longest = max(s.max_tokens for s in sampling)
    batch = GrowingBatch(model, cache, attention)
    alive = list(range(len(rows)))  # rows[i] that sit in the cache, in the cache's order
    for step in range(longest):
        ids, logprobs = next_tokens(logits, [rows[i].sampling for i in alive], step)
        for i, token, logprob in zip(alive, ids.tolist(), logprobs.tolist(), strict=True):
            if i in done:
                continue
            if not math.isfinite(logprob):
                raise FloatingPointError(f"token {step + 1} of row {i}: its log-prob is {logprob}")
            if (reason := rows[i].take(token, logprob, eos_ids)) is not None:
                done[i] = Generation(rows[i].ids, rows[i].logprobs, reason)
            if on_token is not None:
                on_token(i, token)
        if len(done) == len(rows):
            break
        unfinished = [place for place, i in enumerate(alive) if i not in done]
        if rows_are_free and len(unfinished) * 2 <= len(alive):
            keep = torch.tensor(unfinished, device=model.device)
            batch.keep(keep)
            ids, last_positions = ids[keep], last_positions[keep]
            alive = [alive[place] for place in unfinished]
        last_positions = last_positions + 1
        logits = batch.forward(ids, last_positions)
    return [done[i] for i in range(len(rows))]


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


def _by_length(
    decode: Callable[..., list[Generation]],
    prompts: Sequence[list[int]],
    sampling: Sequence[Sampling],
    on_token: Callable[[int, int], None] | None,
) -> list[Generation]:
    """Decode prompts of one length at a time."""
    done: dict[int, Generation] = {}
    for length in sorted(set(map(len, prompts))):
        places = [i for i, prompt in enumerate(prompts) if len(prompt) == length]

        def tell(row: int, token: int, places: list[int] = places) -> None:
            if on_token is not None:
                on_token(places[row], token)

        generations = decode([prompts[i] for i in places], [sampling[i] for i in places], on_token=tell)
        done |= dict(zip(places, generations, strict=True))
    return [done[i] for i in range(len(prompts))]


class GrowingBatch:
    """A batch whose cache grows by a token a step."""

    def __init__(self, model: Any, cache: DynamicCache, attention_BT: Tensor) -> None:
        self._model, self._cache, self._attention = model, cache, attention_BT

    def keep(self, places: Tensor) -> None:
        """Go on with the rows `places` only."""
        self._cache.batch_select_indices(places)
        self._attention = self._attention[places]

    def forward(self, ids_B: Tensor, positions_B: Tensor) -> Tensor:
        """Logits (B, V) after one more token a row."""
        seen = self._attention.new_ones(len(ids_B), 1)
        self._attention = torch.cat([self._attention, seen], dim=1)
        argument = cache_argument(self._model)
        logits: Tensor = self._model(
            input_ids=ids_B.unsqueeze(1),
            # a state has no columns: Mamba would lay the mask of them all over its one token
            attention_mask=self._attention if argument != "cache_params" else None,
            position_ids=positions_B.unsqueeze(1),
            use_cache=True,
            **{argument: self._cache},
        ).logits[:, -1]
        return logits


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
