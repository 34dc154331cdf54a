"""Attention of single tokens over a paged cache, as a Triton kernel: it reads what is there, and no padding."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from zerosearch.models.pages import PAGE

_COLUMNS = 64


@triton.jit  # type: ignore[untyped-decorator]
def _kernel(  # type: ignore[no-untyped-def]
    query, key, value, keys, values, tables, lengths, out, scale, table_width,
    query_row, query_head, key_row, key_head, value_row, value_head,
    HEADS: tl.constexpr, SHARED: tl.constexpr, KEY_WIDTH: tl.constexpr, VALUE_WIDTH: tl.constexpr,
    QUERIES: tl.constexpr, KEY_BLOCK: tl.constexpr, VALUE_BLOCK: tl.constexpr, COLUMNS: tl.constexpr,
    PAGE: tl.constexpr,
):  # fmt: skip
    """One program for a row and a key head: `QUERIES` (at least 16) holds the query heads that share it."""
    row, head = tl.program_id(0), tl.program_id(1)
    last = tl.load(lengths + row) - 1
    group: tl.constexpr = HEADS // SHARED
    queries, wide_k, wide_v = tl.arange(0, QUERIES), tl.arange(0, KEY_BLOCK), tl.arange(0, VALUE_BLOCK)
    in_k, in_v, in_q = wide_k < KEY_WIDTH, wide_v < VALUE_WIDTH, (queries < group)[:, None]
    own = (head * group + queries)[:, None]
    q = tl.load(query + row * query_row + own * query_head + wide_k[None, :], mask=in_q & in_k[None, :], other=0.0)

    # the row's own key and value: seen from here, and written for the steps to come
    new_k = tl.load(key + row * key_row + head * key_head + wide_k, mask=in_k, other=0.0)
    new_v = tl.load(value + row * value_row + head * value_head + wide_v, mask=in_v, other=0.0)
    own_page = tl.load(tables + row * table_width + last // PAGE)
    place = (own_page * PAGE + last % PAGE).to(tl.int64) * SHARED + head
    tl.store(keys + place * KEY_WIDTH + wide_k, new_k, mask=in_k)
    tl.store(values + place * VALUE_WIDTH + wide_v, new_v, mask=in_v)
    best = tl.sum(q.to(tl.float32) * new_k.to(tl.float32)[None, :], 1) * scale
    total = tl.full([QUERIES], 1.0, tl.float32)
    mixed = tl.zeros([QUERIES, VALUE_BLOCK], tl.float32) + new_v.to(tl.float32)[None, :]

    for start in range(0, last, COLUMNS):
        columns = start + tl.arange(0, COLUMNS)
        seen = columns < last
        page = tl.load(tables + row * table_width + columns // PAGE, mask=seen, other=0)
        places = ((page * PAGE + columns % PAGE).to(tl.int64) * SHARED + head)[:, None]
        k = tl.load(keys + places * KEY_WIDTH + wide_k[None, :], mask=seen[:, None] & in_k[None, :], other=0.0)
        v = tl.load(values + places * VALUE_WIDTH + wide_v[None, :], mask=seen[:, None] & in_v[None, :], other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        scores = tl.where(seen[None, :], scores, float("-inf"))
        higher = tl.maximum(best, tl.max(scores, 1))
        weights = tl.exp(scores - higher[:, None])
        fade = tl.exp(best - higher)
        total = total * fade + tl.sum(weights, 1)
        mixed = mixed * fade[:, None] + tl.dot(weights.to(v.dtype), v, input_precision="ieee")
        best = higher
    mixed = mixed / total[:, None]
    there = out + (row * HEADS + own) * VALUE_WIDTH + wide_v[None, :]
    tl.store(there, mixed.to(out.dtype.element_ty), mask=in_q & in_v[None, :])


def token_attention(
    query: Tensor,
    new: tuple[Tensor, Tensor],
    memory: tuple[Tensor, Tensor],
    tables: Tensor,
    lengths: Tensor,
    scale: float,
) -> Tensor:
    """Write each token's `new` key (n, G, D) and value (n, G, E) into `memory`, keys (places, G, D) and values
    (places, G, E), and let its query (n, H, D) see them and what its text has in memory before: (n, H, E).

    tables (n, W) int32 are the pages of each token's text, lengths (n,) int32 its length up to this token.
    """
    rows, heads, width = query.shape
    keys, values = memory
    shared, value_width = values.shape[1], values.shape[2]
    query, key, value = (x if x.stride(2) == 1 else x.contiguous() for x in (query, *new))
    out = torch.empty(rows, heads, value_width, dtype=query.dtype, device=query.device)
    _kernel[(rows, shared)](
        query, key, value, keys, values, tables, lengths, out, scale, tables.shape[1],
        query.stride(0), query.stride(1), key.stride(0), key.stride(1), value.stride(0), value.stride(1),
        HEADS=heads, SHARED=shared, KEY_WIDTH=width, VALUE_WIDTH=value_width,
        QUERIES=max(16, triton.next_power_of_2(heads // shared)),
        KEY_BLOCK=max(16, triton.next_power_of_2(width)), VALUE_BLOCK=max(16, triton.next_power_of_2(value_width)),
        COLUMNS=_COLUMNS, PAGE=PAGE, num_warps=4,
    )  # fmt: skip
    return out
