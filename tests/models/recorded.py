"""Recorded steps without a GPU: the kernel in plain torch, and graphs that are as deaf as real ones.

A graph here runs the model that spoke when it was recorded, with the tensors of that time, and asks nobody again.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from zerosearch.models import continuous, decode_steps
from zerosearch.models.continuous import ContinuousSampler
from zerosearch.models.paged import Layout, PagedMemory
from zerosearch.models.pages import PAGE
from zerosearch.models.worker import Worker


def token_attention(
    query: Tensor,
    new: tuple[Tensor, Tensor],
    memory: tuple[Tensor, Tensor],
    tables: Tensor,
    lengths: Tensor,
    scale: float,
) -> Tensor:
    """What the Triton kernel computes, token by token."""
    keys, values = memory
    last = lengths.long() - 1
    own = tables.gather(1, (last // PAGE).unsqueeze(1)).squeeze(1).long() * PAGE + last % PAGE
    keys[own], values[own] = new
    return torch.stack([see(query[i], memory, tables[i], length, scale) for i, length in enumerate(lengths.tolist())])


def block_attention(
    query: Tensor, memory: tuple[Tensor, Tensor], tables: Tensor, lengths: Tensor, blocks: Tensor, scale: float
) -> Tensor:
    """The same for prompts: a block reads the pages of its first token."""
    out = torch.zeros_like(query)
    for first, count in blocks.tolist():
        for token in range(first, first + count):
            out[token] = see(query[token], memory, tables[first], int(lengths[token]), scale)
    return out


def see(query: Tensor, memory: tuple[Tensor, Tensor], table: Tensor, length: int, scale: float) -> Tensor:
    """One query (H, D) over the first `length` tokens of a text."""
    places = (table.long().unsqueeze(1) * PAGE + torch.arange(PAGE)).flatten()[:length]
    k, v = (x[places].repeat_interleave(len(query) // x.shape[1], dim=1) for x in memory)
    weights = torch.softmax(torch.einsum("hd,thd->ht", query, k) * scale, dim=-1)
    return torch.einsum("ht,thd->hd", weights, v)


class _Graph:
    def __init__(self, step: Any) -> None:
        with step._speak() as model:
            self._model = model
        self._step = step

    def replay(self) -> None:
        speak, self._step._speak = self._step._speak, lambda: nullcontext(self._model)
        try:
            self._step._forward()
        finally:
            self._step._speak = speak


def recording(monkeypatch: pytest.MonkeyPatch, *, prompt_tokens: int = 50, prompts: int = 3) -> None:
    """Steps are recorded from now on; steps over prompts hold few tokens, so that prompts are cut."""
    kernel = ModuleType("zerosearch.models.paged_kernel")
    kernel.token_attention = token_attention  # type: ignore[attr-defined]
    kernel.block_attention = block_attention  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "zerosearch.models.paged_kernel", kernel)
    for module in (continuous, decode_steps):
        monkeypatch.setattr(module, "PROMPTS", prompts)
    monkeypatch.setattr(continuous, "PROMPT_TOKENS", prompt_tokens)

    def record(step: Any, pool: Any, *, prompts: bool) -> None:
        step._prompts, step._graph = prompts, _Graph(step)

    monkeypatch.setattr(decode_steps._Step, "record", record)


def recorded_sampler(worker: Worker) -> ContinuousSampler:
    """The sampler of `worker` as a GPU would have it; the worker uses it."""
    layout = Layout.of(worker.model.base)
    assert layout is not None
    worker.continuous = True
    worker._sampler = ContinuousSampler(
        PagedMemory(layout, 4096 // PAGE + 1),
        worker._speak,
        worker._stops,
        worker.model.eos_ids,
        max_rows=worker.max_batch_rows,
        record=True,
    )
    return worker._sampler
