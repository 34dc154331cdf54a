"""Sample the next token of each row of a batch, with the log-prob of the distribution it was sampled from."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from zerosearch.episodes.generation import Sampling
from zerosearch.episodes.seeds import derive_seed
from zerosearch.models.phases import phase

_CHUNK = 256


def uniform(seed: int, position: int) -> float:
    """A number in [0, 1) from a row's own seed and the token's position.

    Counter-based, so a row draws the same numbers whatever it is batched with and wherever a run is resumed.
    """
    # 53 bits, what a float64 holds: all 63 could round up to 1
    return (derive_seed("token", seed, position) >> 10) / 2**53


def next_tokens(logits_BV: Tensor, sampling: Sequence[Sampling], position: int) -> tuple[Tensor, Tensor]:
    """Sample one token a row, the `position`-th. Returns ids (B,) and log-probs (B,), float32."""
    device, logits = logits_BV.device, logits_BV.float()
    temperatures = torch.tensor([s.temperature for s in sampling], dtype=torch.float32, device=device)
    if any(s.top_k > 0 or s.top_p < 1.0 for s in sampling):
        scale = torch.where(temperatures == 0, 1.0, temperatures).unsqueeze(1)
        scaled = [truncate(row, s.top_k, s.top_p) for row, s in zip(logits / scale, sampling, strict=True)]
        logits = torch.stack(scaled) * scale
    uniforms = torch.tensor([uniform(s.seed, position) for s in sampling], dtype=torch.float64, device=device)
    return draw(logits, temperatures, uniforms)


@phase("sampling")
def draw(logits_BV: Tensor, temperatures_B: Tensor, uniforms_B: Tensor) -> tuple[Tensor, Tensor]:
    """Invert the cumulative distribution of each row at its number in [0, 1). Returns ids (B,), log-probs (B,) float32.

    Temperature 0 takes the likeliest token and reports its log-prob at temperature 1. The sums are float64, first over
    chunks of the vocabulary and then inside one. Nothing waits for the device, so a CUDA graph can hold it.
    """
    logits = logits_BV.float()
    greedy = temperatures_B == 0
    logprobs = torch.log_softmax(logits / torch.where(greedy, 1.0, temperatures_B).unsqueeze(1), dim=-1)
    vocabulary = logits.shape[1]
    chunks = pad(logprobs.exp(), (0, -vocabulary % _CHUNK)).view(len(logits), -1, _CHUNK)  # (B, C, _CHUNK)
    ends = chunks.sum(dim=-1, dtype=torch.float64).cumsum(dim=-1)
    total = ends[:, -1]
    # below the total even where the product was rounded up to it: a token of mass 0 could lie there
    target = (uniforms_B * total).minimum(torch.nextafter(total, torch.zeros_like(total))).unsqueeze(1)
    chunk = (ends <= target).sum(dim=1, keepdim=True).clamp_max(ends.shape[1] - 1)
    before = torch.where(chunk > 0, ends.gather(1, (chunk - 1).clamp_min(0)), 0.0)
    masses = chunks.gather(1, chunk.unsqueeze(2).expand(-1, -1, _CHUNK)).squeeze(1)
    place = (masses.double().cumsum(dim=-1) + before <= target).sum(dim=1, keepdim=True).clamp_max(_CHUNK - 1)
    # the two sums may round apart by the last bit: then the last token with any mass
    last = (masses.cumsum(dim=-1) < masses.sum(dim=-1, keepdim=True)).sum(dim=1, keepdim=True).clamp_max(_CHUNK - 1)
    place = torch.where(masses.gather(1, place) > 0, place, last)
    sampled = (chunk * _CHUNK + place).squeeze(1).clamp_max(vocabulary - 1)
    ids = torch.where(greedy, logits.argmax(dim=-1), sampled)
    return ids, logprobs.gather(1, ids.unsqueeze(1)).squeeze(1)


def truncate(logits_NV: Tensor, top_k: int, top_p: float) -> Tensor:
    """Keep the `top_k` likeliest tokens (0: all), then the smallest set of mass `top_p`; the rest become -inf.

    (..., V), each row of scores for itself.
    """
    if 0 < top_k < logits_NV.shape[-1]:
        smallest = torch.topk(logits_NV, top_k).values[..., -1:]
        logits_NV = logits_NV.masked_fill(logits_NV < smallest, float("-inf"))
    if top_p < 1.0:
        ordered, order = torch.sort(logits_NV, dim=-1, descending=True)
        mass_before = torch.softmax(ordered, dim=-1).cumsum(dim=-1).roll(1, dims=-1)
        mass_before[..., 0] = -1.0  # the likeliest stays, whatever `top_p`
        dropped = torch.zeros_like(logits_NV, dtype=torch.bool).scatter(-1, order, mass_before >= top_p)
        logits_NV = logits_NV.masked_fill(dropped, float("-inf"))
    return logits_NV


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


@lru_cache(maxsize=32)
def _tokens_with(tokenizer: Any, characters: frozenset[str]) -> frozenset[int]:
    texts = tokenizer.batch_decode([[i] for i in range(len(tokenizer))], clean_up_tokenization_spaces=False)
    return frozenset(i for i, text in enumerate(texts) if any(c in text for c in characters))
