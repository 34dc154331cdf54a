"""Attention over a paged cache as a Triton kernel, without padding.

A decoding step has one token a text. A step over prompts has tokens of many texts end to end, and `BLOCK` tokens of one
text read their keys and values together.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from zerosearch.models.paged import BLOCK
from zerosearch.models.pages import PAGE

_COLUMNS = 64


@triton.jit  # type: ignore[untyped-decorator]
def _kernel(  # type: ignore[no-untyped-def]
    query, key, value, keys, values, tables, lengths, blocks, out, scale, table_width,
    query_row, query_head, key_row, key_head, value_row, value_head,
    HEADS: tl.constexpr, SHARED: tl.constexpr, KEY_WIDTH: tl.constexpr, VALUE_WIDTH: tl.constexpr,
    TOKENS: tl.constexpr, GROUP: tl.constexpr, KEY_BLOCK: tl.constexpr, VALUE_BLOCK: tl.constexpr,
    COLUMNS: tl.constexpr, PAGE: tl.constexpr,
):  # fmt: skip
    """One program for `TOKENS` tokens of a text and a key head: each row is a token and a query head of the group.

    With one token, its own key and value are written here and seen from registers. With several, they were written
    before.
    """
    program, head = tl.program_id(0), tl.program_id(1)
    group: tl.constexpr = HEADS // SHARED
    wide_k, wide_v = tl.arange(0, KEY_BLOCK), tl.arange(0, VALUE_BLOCK)
    in_k, in_v = wide_k < KEY_WIDTH, wide_v < VALUE_WIDTH
    place_in_block = tl.arange(0, TOKENS * GROUP)
    if TOKENS == 1:
        start, count = program, 1
    else:
        start, count = tl.load(blocks + 2 * program), tl.load(blocks + 2 * program + 1)
        if count == 0:
            return
    member, place = place_in_block // GROUP, place_in_block % GROUP
    there = (member < count) & (place < group)
    token = start + tl.minimum(member, count - 1)
    position = tl.load(lengths + token) - 1
    own = (head * group + place)[:, None]
    in_q = there[:, None]
    rows = token[:, None].to(tl.int64)
    q = tl.load(query + rows * query_row + own * query_head + wide_k[None, :], mask=in_q & in_k[None, :], other=0.0)

    last = tl.load(lengths + start + count - 1) - 1
    if TOKENS == 1:
        new_k = tl.load(key + start * key_row + head * key_head + wide_k, mask=in_k, other=0.0)
        new_v = tl.load(value + start * value_row + head * value_head + wide_v, mask=in_v, other=0.0)
        own_page = tl.load(tables + start * table_width + last // PAGE)
        written = (own_page * PAGE + last % PAGE).to(tl.int64) * SHARED + head
        tl.store(keys + written * KEY_WIDTH + wide_k, new_k, mask=in_k)
        tl.store(values + written * VALUE_WIDTH + wide_v, new_v, mask=in_v)
        best = tl.sum(q.to(tl.float32) * new_k.to(tl.float32)[None, :], 1) * scale
        total = tl.full([TOKENS * GROUP], 1.0, tl.float32)
        mixed = tl.zeros([TOKENS * GROUP, VALUE_BLOCK], tl.float32) + new_v.to(tl.float32)[None, :]
        end = last
    else:
        best = tl.full([TOKENS * GROUP], float("-inf"), tl.float32)
        total = tl.zeros([TOKENS * GROUP], tl.float32)
        mixed = tl.zeros([TOKENS * GROUP, VALUE_BLOCK], tl.float32)
        end = last + 1

    for first in range(0, end, COLUMNS):
        columns = first + tl.arange(0, COLUMNS)
        inside = columns < end
        page = tl.load(tables + start * table_width + columns // PAGE, mask=inside, other=0)
        places = ((page * PAGE + columns % PAGE).to(tl.int64) * SHARED + head)[:, None]
        k = tl.load(keys + places * KEY_WIDTH + wide_k[None, :], mask=inside[:, None] & in_k[None, :], other=0.0)
        v = tl.load(values + places * VALUE_WIDTH + wide_v[None, :], mask=inside[:, None] & in_v[None, :], other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        seen = inside[None, :] & (columns[None, :] <= position[:, None])  # column 0 is seen by all: no row is empty
        scores = tl.where(seen, scores, float("-inf"))
        higher = tl.maximum(best, tl.max(scores, 1))
        weights = tl.exp(scores - higher[:, None])
        fade = tl.exp(best - higher)
        total = total * fade + tl.sum(weights, 1)
        mixed = mixed * fade[:, None] + tl.dot(weights.to(v.dtype), v, input_precision="ieee")
        best = higher
    mixed = mixed / total[:, None]
    target = out + (rows * HEADS + own) * VALUE_WIDTH + wide_v[None, :]
    tl.store(target, mixed.to(out.dtype.element_ty), mask=in_q & in_v[None, :])


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
    return _attention(query, new, memory, (tables, lengths, None), scale)


def block_attention(
    query: Tensor, memory: tuple[Tensor, Tensor], tables: Tensor, lengths: Tensor, blocks: Tensor, scale: float
) -> Tensor:
    """Let queries (n, H, D) see what `memory` holds of their texts, their own keys and values included: (n, H, E).

    blocks (N, 2) int32: first token and number (at most `BLOCK`, 0 for none) of tokens that follow one another in one
    text. A token in no block sees nothing: 0.
    """
    return _attention(query, memory, memory, (tables, lengths, blocks), scale)


def _attention(
    query: Tensor,
    new: tuple[Tensor, Tensor],
    memory: tuple[Tensor, Tensor],
    where: tuple[Tensor, Tensor, Tensor | None],
    scale: float,
) -> Tensor:
    count, heads, width = query.shape
    (keys, values), (tables, lengths, blocks) = memory, where
    shared, value_width = values.shape[1], values.shape[2]
    group = triton.next_power_of_2(heads // shared)
    tokens = 1 if blocks is None else BLOCK
    query, key, value = (x if x.stride(2) == 1 else x.contiguous() for x in (query, *new))
    make = torch.empty if blocks is None else torch.zeros
    out = make(count, heads, value_width, dtype=query.dtype, device=query.device)
    _kernel[(count if blocks is None else len(blocks), shared)](
        query, key, value, keys, values, tables, lengths, lengths if blocks is None else blocks, out, scale,
        tables.shape[1],
        query.stride(0), query.stride(1), key.stride(0), key.stride(1), value.stride(0), value.stride(1),
        HEADS=heads, SHARED=shared, KEY_WIDTH=width, VALUE_WIDTH=value_width,
        TOKENS=tokens, GROUP=max(group, -(-16 // tokens)),
        KEY_BLOCK=max(16, triton.next_power_of_2(width)), VALUE_BLOCK=max(16, triton.next_power_of_2(value_width)),
        COLUMNS=_COLUMNS, PAGE=PAGE, num_warps=4 if blocks is None else 8,
    )  # fmt: skip
    return out
