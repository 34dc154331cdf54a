"""Sampling the next token of each row of a batch, with the log-prob of the very distribution it was sampled from."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from zerosearch.episodes.generation import Sampling
from zerosearch.episodes.seeds import derive_seed


def uniforms(seeds: Sequence[int], position: int) -> Tensor:
    """One number in [0, 1) a row, from the row's own seed and the token's position: float64, shape (B,).

    Counter-based, so a row draws the same numbers whatever it is batched with and wherever a run is resumed.
    """
    # 53 bits, what a float64 holds: all 63 could round up to 1
    return torch.tensor([(derive_seed("token", seed, position) >> 10) / 2**53 for seed in seeds], dtype=torch.float64)


def next_tokens(logits_BV: Tensor, sampling: Sequence[Sampling], position: int) -> tuple[Tensor, Tensor]:
    """Sample one token a row by inverting the cumulative distribution. Returns ids (B,) and log-probs (B,), float32.

    Temperature 0 takes the likeliest token and reports its log-prob at temperature 1.
    """
    logits = logits_BV.float()
    temperatures = torch.tensor([s.temperature for s in sampling], dtype=torch.float32, device=logits.device)
    greedy = temperatures == 0
    scaled = logits / torch.where(greedy, torch.ones_like(temperatures), temperatures).unsqueeze(1)
    if any(s.top_k > 0 or s.top_p < 1.0 for s in sampling):
        scaled = torch.stack([truncate(row, s.top_k, s.top_p) for row, s in zip(scaled, sampling, strict=True)])
    logprobs = torch.log_softmax(scaled, dim=-1)
    likeliest = logits.argmax(dim=-1)
    if all(s.temperature == 0 for s in sampling):
        return likeliest, logprobs.gather(1, likeliest.unsqueeze(1)).squeeze(1)
    cumulative = logprobs.double().exp().cumsum(dim=-1)
    total = cumulative[:, -1]
    draws = uniforms([s.seed for s in sampling], position).to(logits.device) * total
    # below the total even where the product was rounded up to it: a token of mass 0 could lie there
    draws = draws.minimum(torch.nextafter(total, torch.zeros_like(total)))
    sampled = torch.searchsorted(cumulative, draws.unsqueeze(1), right=True).squeeze(1)
    sampled = sampled.clamp_max(logits.shape[1] - 1)
    ids = torch.where(greedy, likeliest, sampled)
    return ids, logprobs.gather(1, ids.unsqueeze(1)).squeeze(1)


def truncate(logits_V: Tensor, top_k: int, top_p: float) -> Tensor:
    """Keep the `top_k` likeliest tokens (0: all), then the smallest set of mass `top_p`; the rest become -inf. (V,)"""
    if top_k > 0 and top_k < logits_V.numel():
        smallest = torch.topk(logits_V, top_k).values[-1]
        logits_V = logits_V.masked_fill(logits_V < smallest, float("-inf"))
    if top_p < 1.0:
        ordered, order = torch.sort(logits_V, descending=True)
        mass_before = torch.softmax(ordered, dim=-1).cumsum(dim=-1).roll(1)
        mass_before[0] = -1.0  # the likeliest stays, whatever `top_p`
        dropped = torch.zeros_like(logits_V, dtype=torch.bool)
        dropped[order] = mass_before >= top_p
        logits_V = logits_V.masked_fill(dropped, float("-inf"))
    return logits_V


class StopStrings:
    """Says at once when a row has completed a stop string.

    Only tokens that hold the last character of a stop string can complete one; all others cost nothing.
    """

    def __init__(self, tokenizer: Any, stop: tuple[str, ...]) -> None:
        self.stop = stop
        self._tokenizer = tokenizer
        self._closing = _tokens_with(tokenizer, frozenset(s[-1] for s in stop)) if stop else frozenset()
        # a token is at least one byte, so this many tokens always reach back past the longest stop string
        self._tail = max((len(s.encode()) for s in stop), default=0) + 1

    def completed(self, ids: Sequence[int]) -> bool:
        """Whether the last of `ids` completed a stop string."""
        if not ids or ids[-1] not in self._closing:
            return False
        text = self._tokenizer.decode(list(ids[-self._tail :]), clean_up_tokenization_spaces=False)
        return any(stop in text for stop in self.stop)


def _tokens_with(tokenizer: Any, characters: frozenset[str]) -> frozenset[int]:
    return _tokens_with_cached(_Hashable(tokenizer), characters)


class _Hashable:
    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __hash__(self) -> int:
        return id(self.tokenizer)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hashable) and self.tokenizer is other.tokenizer


@lru_cache(maxsize=32)
def _tokens_with_cached(key: _Hashable, characters: frozenset[str]) -> frozenset[int]:
    texts = key.tokenizer.batch_decode([[i] for i in range(len(key.tokenizer))], clean_up_tokenization_spaces=False)
    return frozenset(i for i, text in enumerate(texts) if any(c in text for c in characters))
