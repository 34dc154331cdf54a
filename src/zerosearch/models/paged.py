"""The memory of a paged KV cache, and attention over it, under any transformers model with plain attention.

A model asks its cache to `update`, which writes new keys and values into pages, and its attention then reads them
through a table of pages. Both need to know whose tokens these are: a `Reading`, set for the time of a forward pass.
"""

from __future__ import annotations

import importlib.util
import inspect
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, DynamicCache
from transformers.cache_utils import DynamicLayer

from zerosearch.models.pages import PAGE

ATTENTION = "zerosearch_paged"
BLOCK = 16  # tokens of a text that a kernel over prompts takes together


def cache_argument(model: Any) -> str:
    """What the model calls its cache. Mamba and its kin have a name of their own; transformers 5.24 has a new one."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    taken = inspect.signature(base.forward).parameters
    return next((name for name in ("cache_params", "past_key_values", "cache") if name in taken), "past_key_values")


@dataclass(frozen=True)
class Layout:
    """Heads and width of keys and values, the same in every layer; and their format."""

    layers: int
    heads: int
    key_width: int
    value_width: int
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, model: Any) -> Layout | None:
        """What `model` puts into its cache, found by one token; None where it is not plain attention in every layer."""
        cache: Any = DynamicCache(config=model.config)
        if getattr(model.config, "_attn_implementation", None) != "sdpa":
            return None
        if not all(type(layer) is DynamicLayer for layer in cache.layers):
            return None
        with torch.no_grad():
            model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=model.device), **{cache_argument(model): cache})
        shapes = {(layer.keys.shape[1], layer.keys.shape[3], layer.values.shape[3]) for layer in cache.layers}
        if len(shapes) != 1 or any(layer.keys.dtype != cache.layers[0].values.dtype for layer in cache.layers):
            return None
        first = cache.layers[0].keys
        return cls(len(cache.layers), *shapes.pop(), first.dtype, first.device)

    @property
    def page_bytes(self) -> int:
        return PAGE * self.layers * self.heads * (self.key_width + self.value_width) * self.dtype.itemsize


@dataclass(frozen=True)
class Reading:
    """Whose tokens a forward pass computes.

    Rows of T tokens each, (n, T): `places` (n * T,) are theirs in the memory, `positions` (n, T) in their texts,
    `tables` (n, W) the pages of each row's text. The pages are gathered.

    With `lengths` (N,), tokens of any texts side by side, (1, N): every token has its own row in `tables`, and a kernel
    reads the pages where they are. `places` None: no token of the pass is read by another one. Else `blocks` (M, 2)
    says which tokens follow one another in a text: the first of them, and how many.
    """

    tables: Tensor
    positions: Tensor
    places: Tensor | None
    lengths: Tensor | None = None
    blocks: Tensor | None = None


def blocks_of(texts: Sequence[int]) -> list[tuple[int, int]]:
    """Cut tokens, whose texts are given, into runs of at most `BLOCK` of one text: the first of each, and how many."""
    blocks: list[tuple[int, int]] = []
    for place, text in enumerate(texts):
        first, count = blocks[-1] if blocks else (0, BLOCK)
        if count < BLOCK and texts[first] == text:
            blocks[-1] = (first, count + 1)
        else:
            blocks.append((place, 1))
    return blocks


class PagedMemory:
    """Keys and values of every layer, as (pages * PAGE, heads, width). What a model takes for its cache."""

    def __init__(self, layout: Layout, pages: int) -> None:
        size = pages * PAGE
        self.layout, self.pages = layout, pages
        self.keys = [_zeros((size, layout.heads, layout.key_width), layout) for _ in range(layout.layers)]
        self.values = [_zeros((size, layout.heads, layout.value_width), layout) for _ in range(layout.layers)]
        self._reading: Reading | None = None

    @contextmanager
    def reading(self, model: Any, reading: Reading) -> Iterator[None]:
        """Let `model` read and write through `reading`."""
        before = model.config._attn_implementation
        model.config._attn_implementation = ATTENTION
        self._reading = reading
        try:
            yield
        finally:
            model.config._attn_implementation = before
            self._reading = None

    def update(self, key: Tensor, value: Tensor, layer_idx: int, *_: Any, **__: Any) -> tuple[Any, Any]:
        """Write key and value (n, heads, T, width). What it returns goes on to `paged_attention` as it is."""
        assert self._reading is not None
        layer = _Layer(self.keys[layer_idx], self.values[layer_idx], self._reading, (key, value))
        if (places := self._reading.places) is not None:
            for memory, new in ((layer.keys, key), (layer.values, value)):
                memory.index_copy_(0, places, new.transpose(1, 2).flatten(0, 1))
        return layer, None

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0


def triton_is_there() -> bool:
    return importlib.util.find_spec("triton") is not None


def _zeros(shape: tuple[int, ...], layout: Layout) -> Tensor:
    """Zeros; on a CPU in memory that is there once something is written to it."""
    if layout.device.type != "cpu":
        return torch.zeros(shape, dtype=layout.dtype, device=layout.device)
    return torch.from_numpy(np.zeros(math.prod(shape) * layout.dtype.itemsize, np.uint8)).view(layout.dtype).view(shape)


@dataclass(frozen=True)
class _Layer:
    keys: Tensor
    values: Tensor
    reading: Reading
    new: tuple[Tensor, Tensor]


def paged_attention(
    module: Any, query: Tensor, key: Any, value: Any, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """Causal attention of query (n, H, T, D) over the pages that `key`, a layer of `PagedMemory`, names.

    Returns (n, T, H, D).
    """
    reading, scaling = key.reading, kwargs.get("scaling")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if reading.lengths is not None:
        from zerosearch.models.paged_kernel import block_attention, token_attention

        own, key_new, value_new = (x[0].transpose(0, 1) for x in (query, *key.new))
        memory, tables, lengths = (key.keys, key.values), reading.tables, reading.lengths
        if reading.blocks is None:
            out = token_attention(own, (key_new, value_new), memory, tables, lengths, scale)
        else:
            out = block_attention(own, memory, tables, lengths, reading.blocks, scale)
        return out.unsqueeze(0), None
    return gathered_attention(query, key.keys, key.values, reading, scale), None


def gathered_attention(query: Tensor, keys: Tensor, values: Tensor, reading: Reading, scale: float) -> Tensor:
    """The same with the pages gathered. The query heads that share a key head become rows of one product."""
    rows, heads, new, width = query.shape
    slots = (reading.tables.unsqueeze(2) * PAGE + torch.arange(PAGE, device=query.device)).flatten(1)  # (n, K)
    keys, values = (memory[slots].transpose(1, 2) for memory in (keys, values))  # (n, G, K, D)
    shared = keys.shape[1]
    seen = torch.arange(slots.shape[1], device=query.device) <= reading.positions.unsqueeze(2)  # (n, T, K)
    grouped = query.reshape(rows, shared, heads // shared * new, width)
    mask = seen.repeat(1, heads // shared, 1).unsqueeze(1)
    out = scaled_dot_product_attention(grouped, keys, values, attn_mask=mask, scale=scale)
    return out.reshape(rows, heads, new, -1).transpose(1, 2)


AttentionInterface.register(ATTENTION, paged_attention)
