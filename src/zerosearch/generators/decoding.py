"""Decoding a static batch: prefill once, then one token a row and step, rows leaving the batch as they finish."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from zerosearch.generation import Generation, GenerationStop, Sampling
from zerosearch.generators.fixed import FixedBatch, FixedDecoder
from zerosearch.generators.sampling import StopStrings, next_tokens


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
    prefill_tokens: int = 8192,
    fixed: FixedDecoder | None = None,
    on_token: Callable[[int, int], None] | None = None,
) -> list[Generation]:
    """Sample a continuation for each prompt; `prompts[i]` goes with `sampling[i]`.

    The tokens that all prompts begin with (instructions, mostly) are prefilled once; after them the batch is padded on
    the left. A padded position is masked by the attention mask, never by its id. Prompts are prefilled together, equal
    ones once (the rollouts of one question begin with the same prompt). When more than half of the rows are done, the
    cache is narrowed to the others. `fixed` decodes with a cache of fixed size, where the model's attention allows it.
    `on_token(i, id)` is told of each token of `prompts[i]` as soon as it is sampled; what it raises ends the batch.
    """
    device = model.device
    stops: dict[tuple[str, ...], StopStrings] = {}
    for s in sampling:
        stops.setdefault(s.stop, StopStrings(tokenizer, s.stop))
    rows = [_Row(i, s, stops[s.stop]) for i, s in enumerate(sampling)]
    done: dict[int, Generation] = {}
    distinct = {prompt: number for number, prompt in enumerate(dict.fromkeys(map(tuple, prompts)))}
    cache = DynamicCache(config=model.config)
    # a sliding window counts columns: pads between what is shared and the rest would use it up
    sliding = any(getattr(layer, "is_sliding", False) for layer in cache.layers)
    shared = common_prefix(list(distinct)) if len(distinct) > 1 and not sliding else 0
    if shared:
        _prefill(model, *_left_pad([next(iter(distinct))[:shared]], device), cache, prefill_tokens)
        cache.batch_repeat_interleave(len(distinct))
    tokens, attention = _left_pad([prompt[shared:] for prompt in distinct], device)
    attention = torch.cat([attention.new_ones(len(distinct), shared), attention], dim=1)
    logits = _prefill(model, tokens, attention, cache, prefill_tokens)
    positions = _positions(attention)
    if len(distinct) < len(prompts):
        spread = torch.tensor([distinct[tuple(prompt)] for prompt in prompts], device=device)
        cache.batch_select_indices(spread)
        attention, positions, logits = attention[spread], positions[spread], logits[spread]
    last_positions = positions[:, -1]
    longest = max(s.max_tokens for s in sampling)
    batch: GrowingBatch | FixedBatch
    if fixed is not None and fixed.suits(model, cache):
        batch = fixed.begin(cache, attention, longest)
        cache.layers.clear()  # its memory; what comes now lies in the fixed one
    else:
        batch = GrowingBatch(model, cache, attention)
    alive = list(range(len(rows)))  # rows[i] that sit in the cache, in the cache's order
    for step in range(longest):
        ids, logprobs = next_tokens(logits, [rows[i].sampling for i in alive], step)
        for i, token, logprob in zip(alive, ids.tolist(), logprobs.tolist(), strict=True):
            if i in done:
                continue
            if (reason := rows[i].take(token, logprob, eos_ids)) is not None:
                done[i] = Generation(rows[i].ids, rows[i].logprobs, reason)
            if on_token is not None:
                on_token(i, token)
        if len(done) == len(rows):
            break
        unfinished = [place for place, i in enumerate(alive) if i not in done]
        if len(unfinished) * 2 <= len(alive):
            keep = torch.tensor(unfinished, device=device)
            batch.keep(keep)
            ids, last_positions = ids[keep], last_positions[keep]
            alive = [alive[place] for place in unfinished]
        last_positions = last_positions + 1
        logits = batch.forward(ids, last_positions)
    return [done[i] for i in range(len(rows))]


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
        logits: Tensor = self._model(
            input_ids=ids_B.unsqueeze(1),
            attention_mask=self._attention,
            position_ids=positions_B.unsqueeze(1),
            past_key_values=self._cache,
            use_cache=True,
        ).logits[:, -1]
        return logits


def common_prefix(prompts: Sequence[tuple[int, ...]]) -> int:
    """How many tokens all prompts begin with; one less where a prompt holds no more, as each needs one of its own."""
    first, last = min(prompts), max(prompts)  # in lexicographic order: the two that differ soonest
    most = min(map(len, prompts)) - 1
    return next((i for i in range(most) if first[i] != last[i]), most)


def _prefill(model: Any, tokens: Tensor, attention: Tensor, cache: DynamicCache, budget: int) -> Tensor:
    """Fill the cache with `tokens` (B, T), in slices of columns to keep activations within `budget` tokens.

    `attention` (B, S + T) covers the S columns that the cache holds already. Returns the logits (B, V) of the end.
    """
    width = max(budget // tokens.shape[0], 32)
    held, positions = attention.shape[1] - tokens.shape[1], _positions(attention)
    logits: Tensor | None = None
    for start in range(0, tokens.shape[1], width):
        end = min(start + width, tokens.shape[1])
        logits = model(
            input_ids=tokens[:, start:end],
            attention_mask=attention[:, : held + end],
            position_ids=positions[:, held + start : held + end],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
    assert logits is not None
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
