"""The Triton kernel against attention written out. Needs a GPU, or Triton and TRITON_INTERPRET=1 on a CPU."""

from __future__ import annotations

import os
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from recorded import see
from torch import Tensor

from zerosearch.models.paged import BLOCK, blocks_of, triton_is_there
from zerosearch.models.pages import PAGE

KERNEL = pytest.mark.skipif(
    not triton_is_there() or not (torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1"),
    reason="needs Triton, and a GPU or TRITON_INTERPRET=1",
)
LENGTHS, FILLED, WIDTH = (37, 5, 130, 16), (20, 0, 70, 3), 9


@given(st.lists(st.integers(1, 50), max_size=8))
def test_every_token_is_in_one_block_of_its_own_text(counts: list[int]) -> None:
    texts = [text for text, count in enumerate(counts) for _ in range(count)]
    blocks = blocks_of(texts)
    assert [token for first, count in blocks for token in range(first, first + count)] == list(range(len(texts)))
    assert all(count <= BLOCK and len(set(texts[first : first + count])) == 1 for first, count in blocks)
    assert len(blocks) == sum(-(-count // BLOCK) for count in counts)


@KERNEL
@pytest.mark.parametrize(("heads", "shared", "width"), [(4, 2, 16), (12, 2, 32), (9, 3, 64), (14, 2, 24)])
def test_prompts_and_single_tokens_see_their_own_text_up_to_themselves(heads: int, shared: int, width: int) -> None:
    from zerosearch.models.paged_kernel import block_attention, token_attention

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    memory = (
        torch.randn(40 * PAGE, shared, width, device=device),
        torch.randn(40 * PAGE, shared, width, device=device),
    )
    free, tables = random.Random(0).sample(range(1, 40), 39), []
    for length in LENGTHS:
        pages, free = free[: -(-length // PAGE)], free[-(-length // PAGE) :]
        tables.append(pages + [0] * (WIDTH - len(pages)))
    tokens = [(text, at) for text in range(4) for at in range(FILLED[text], LENGTHS[text])]
    table = torch.tensor([tables[text] for text, _ in tokens], dtype=torch.int32, device=device)
    lengths = torch.tensor([at + 1 for _, at in tokens], dtype=torch.int32, device=device)
    query = torch.randn(len(tokens), heads, width, device=device)

    def wanted(token: int) -> Tensor:
        return see(query[token].cpu(), (memory[0].cpu(), memory[1].cpu()), table[token].cpu(), int(lengths[token]), 0.2)

    blocks = torch.tensor([*blocks_of([text for text, _ in tokens]), (0, 0)], dtype=torch.int32, device=device)
    found = block_attention(query, memory, table, lengths, blocks, 0.2).cpu()
    torch.testing.assert_close(found, torch.stack([wanted(i) for i in range(len(tokens))]), atol=1e-4, rtol=0)

    ends = [i for i, (text, at) in enumerate(tokens) if at == LENGTHS[text] - 1]
    new = (torch.randn(4, shared, width, device=device), torch.randn(4, shared, width, device=device))
    found = token_attention(query[ends], new, memory, table[ends], lengths[ends], 0.2).cpu()
    torch.testing.assert_close(found, torch.stack([wanted(i) for i in ends]), atol=1e-4, rtol=0)
    for text, length in enumerate(LENGTHS):
        place = tables[text][(length - 1) // PAGE] * PAGE + (length - 1) % PAGE
        assert torch.equal(memory[0][place], new[0][text])
