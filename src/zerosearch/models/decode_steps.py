"""Steps over a paged cache: a forward pass over tokens of many texts, and the next token of each text sampled.

A decoding step feeds itself: what it sampled is its next input, so `block` of them run between two looks of the host. A
GPU records each step once, for a few numbers of tokens, as a CUDA graph, and replays it without Python: a step of a
small model is several hundred kernels, which take 25 ms to launch and a few to run. Speakers work on streams of their
own, side by side.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zerosearch.errors import first_line
from zerosearch.models.devices import on_device
from zerosearch.models.paged import BLOCK, PagedMemory, Reading, blocks_of, cache_argument
from zerosearch.models.pages import PAGE, SCRATCH
from zerosearch.models.phases import phase
from zerosearch.models.sampling import draw

log = logging.getLogger(__name__)
_RECORDING = threading.Lock()
"""CUDA refuses to wait for a device while any thread records on it, as a second model's thread does to record."""

PROMPT_TOKENS = 2048  # of a step over prompts, of which at most `PROMPTS` end in it
PROMPTS = 128
Sampled = Callable[[], tuple[list[list[int]], list[list[float]]]]
"""Waits for what was sampled: tokens, and log-probs; a list of texts for each step."""


@dataclass(frozen=True)
class Feed:
    """What a step reads: tokens, their positions, the pages of their texts, and how to sample after some of them.

    A decoding step has one token a text and samples after each. One over prompts has a text's number for each token in
    `texts`, and samples after the tokens `ends`. `uniforms` has a number for each step and each token to sample after.
    """

    ids: list[int]
    positions: list[int]
    pages: list[Sequence[int]]
    temperatures: list[float]
    uniforms: list[list[float]]
    texts: list[int] | None = None
    ends: list[int] | None = None


def rows_for(count: int) -> int:
    """The number of rows that a step for `count` rows is recorded with: 4, 8, then two sizes an octave."""
    size = 4
    while size < count:
        size = size * 2 if size < 8 else (size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3)
    return size


class DecodeSteps:
    """The steps of every speaker over one `memory`; `record`: as CUDA graphs."""

    def __init__(
        self, memory: PagedMemory, speak: Callable[[Any], AbstractContextManager[Any]], *, block: int, record: bool
    ) -> None:
        self._memory, self._speak, self._block, self._record = memory, speak, block, record
        self._steps: dict[tuple[Any, int, bool], _Step] = {}
        self._streams: dict[Any, Any] = {}
        self._pools: dict[Any, Any] = {}

    def stream(self, speaker: Any) -> AbstractContextManager[Any]:
        """Work on a GPU under this is the speaker's, in the order in which it was asked for."""
        device = self._memory.layout.device
        if device.type != "cuda":
            return nullcontext()
        if speaker not in self._streams:
            self._streams[speaker] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        stream = self._streams[speaker]
        stream.wait_stream(torch.cuda.default_stream(device))  # the optimizer's last step, among others
        return torch.cuda.stream(stream)

    def launch(self, speaker: Any, feed: Feed) -> Sampled:
        """Run a step over prompts, or the next `block` decoding steps, for which the pages have room."""
        steps, count = (self._block, len(feed.ids)) if feed.ends is None else (1, len(feed.ends))
        what = f"{'prefill' if feed.ends is not None else 'decode'}, {speaker or 'base'}"
        with self.stream(speaker), phase(what, steps, gpu=True):
            if self._record:
                with self._speak(speaker):
                    pass  # a copy of the weights is brought up to date as its model is asked for; a graph asks nobody
            step = self._step(speaker, feed)
            step.fill(feed)
            for _ in range(steps):
                step.run()
            tokens, logprobs = step.tokens[:steps, :count].clone(), step.logprobs[:steps, :count].clone()

        def fetch() -> tuple[list[list[int]], list[list[float]]]:
            with self.stream(speaker), phase("waiting for tokens"):
                return tokens.tolist(), logprobs.tolist()

        return fetch

    def _step(self, speaker: Any, feed: Feed) -> _Step:
        width, prompts = max(map(len, feed.pages)), feed.ends is not None
        speak = partial(self._speak, speaker)
        if not self._record:
            return _Step(self._memory, speak, _Shape(len(feed.ids), len(feed.ids), self._block, width), flat=False)
        count = rows_for(len(feed.ids))
        key = (speaker, count, prompts)
        if key not in self._steps or self._steps[key].shape.width < width:
            ends, block = (min(count, PROMPTS), 1) if prompts else (count, self._block)
            self._steps[key] = step = _Step(self._memory, speak, _Shape(count, ends, block, _columns(width)), flat=True)
            try:
                with _RECORDING, phase("recording", gpu=True):
                    self._pools[speaker] = step.record(self._pools.get(speaker), prompts=prompts)
            except RuntimeError as error:  # such as a model whose forward pass waits for the GPU
                self._pools.pop(speaker, None)  # what failed can have left it open for ever
                log.warning("decoding without CUDA graphs, which is slow: %s", first_line(error))
        return self._steps[key]


@dataclass(frozen=True)
class _Shape:
    tokens: int
    ends: int
    block: int
    width: int


def _columns(width: int) -> int:
    """A table's width with room to grow: what is recorded has one width."""
    columns = 64
    while columns < width:
        columns *= 2
    return columns


class _Step:
    """One step: its inputs, at addresses that stay, and the graph once recorded."""

    def __init__(
        self, memory: PagedMemory, speak: Callable[[], AbstractContextManager[Any]], shape: _Shape, *, flat: bool
    ) -> None:
        device = memory.layout.device
        self._memory, self._speak, self.shape, self._flat = memory, speak, shape, flat
        self.ids = torch.zeros(shape.tokens, dtype=torch.long, device=device)
        self.positions = torch.zeros(shape.tokens, dtype=torch.long, device=device)
        self.tables = torch.full((shape.tokens, shape.width), SCRATCH, dtype=torch.int32, device=device)
        self.ends = torch.zeros(shape.ends, dtype=torch.long, device=device)
        runs = shape.tokens // BLOCK + shape.ends + 1  # at most so many, as each text but the last ends in the step
        self.blocks = torch.zeros(runs, 2, dtype=torch.int32, device=device)
        self.temperatures = torch.ones(shape.ends, device=device)
        self.uniforms = torch.zeros(shape.block, shape.ends, dtype=torch.float64, device=device)
        self.number = torch.zeros(1, dtype=torch.long, device=device)  # of the step in its block
        self.tokens = torch.zeros(shape.block, shape.ends, dtype=torch.long, device=device)
        self.logprobs = torch.zeros(shape.block, shape.ends, device=device)
        self._prompts = False
        self._mask = torch.zeros(1, 1, 1, 1, dtype=memory.layout.dtype, device=device)  # 4D: taken as it is
        self._graph: torch.cuda.CUDAGraph | None = None

    def fill(self, feed: Feed) -> None:
        """Tokens beyond those of `feed` write to the scratch page."""
        count, width = len(feed.ids), max(map(len, feed.pages))
        self._prompts = feed.ends is not None
        table = np.full((len(feed.pages), width), SCRATCH, dtype=np.int32)
        for row, pages in zip(table, feed.pages, strict=True):
            row[: len(pages)] = pages
        if feed.texts is not None:
            table = table[feed.texts]
        _copy(self.tables[:, :width], np.pad(table, ((0, self.shape.tokens - count), (0, 0))))
        padding = [0] * (self.shape.tokens - count)
        _copy(self.ids, np.array(feed.ids + padding))
        _copy(self.positions, np.array(feed.positions + padding))
        if feed.ends is not None:
            _copy(self.ends[: len(feed.ends)], np.array(feed.ends))
        if feed.texts is not None:
            blocks = blocks_of(feed.texts)
            _copy(self.blocks, np.array(blocks + [(0, 0)] * (len(self.blocks) - len(blocks)), dtype=np.int32))
        _copy(self.temperatures[: len(feed.temperatures)], np.array(feed.temperatures, dtype=np.float32))
        _copy(self.uniforms[:, : len(feed.temperatures)], np.array(feed.uniforms))
        self.number.zero_()

    def run(self) -> None:
        if self._graph is None:
            self._forward()
        else:
            self._graph.replay()

    def record(self, pool: Any, *, prompts: bool) -> Any:
        """Run the step for what it leaves in memory, record it, and compare the two. Returns the memory pool.

        Raises `RuntimeError` where it cannot be recorded, or what was recorded gives other logits.
        """
        device, self._prompts = self.ids.device, prompts
        with on_device(device):
            stream = torch.cuda.current_stream(device)
            for _ in range(2):
                self._clear()
                wanted = self._forward()
            self._clear()
            stream.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
                logits = self._forward()
            self._clear()
            graph.replay()
            if not same_logits(logits, wanted):
                raise RuntimeError("what was recorded gives other logits than the step itself")
            self._graph = graph
            return graph.pool()

    def _clear(self) -> None:
        for tensor in (self.number, self.ids, self.positions):
            tensor.zero_()

    def _forward(self) -> Tensor:
        shape = (1, -1) if self._flat else (-1, 1)
        places = None
        if self._prompts or not self._flat:  # else the kernel writes
            pages = self.tables.gather(1, (self.positions // PAGE).unsqueeze(1)).squeeze(1).long()
            places = pages * PAGE + self.positions % PAGE
        positions = self.positions.view(shape)
        lengths = (self.positions + 1).int() if self._flat else None
        reading = Reading(self.tables, positions, places, lengths, self.blocks if self._prompts else None)
        with self._speak() as model, self._memory.reading(model, reading):
            logits: Tensor = model(
                input_ids=self.ids.view(shape),
                attention_mask=self._mask,
                position_ids=positions,
                use_cache=True,
                logits_to_keep=self.ends if self._prompts else 0,
                **{cache_argument(model): self._memory},
            ).logits.flatten(0, 1)
        uniforms = self.uniforms.index_select(0, self.number).squeeze(0)
        tokens, logprobs = draw(logits, self.temperatures, uniforms)
        self.tokens.index_copy_(0, self.number, tokens.unsqueeze(0))
        self.logprobs.index_copy_(0, self.number, logprobs.unsqueeze(0))
        if not self._prompts:
            self.ids.copy_(tokens)
            self.positions.add_(1)
            self.number.add_(1)
        return logits


def _copy(there: Tensor, values: np.ndarray[Any, Any]) -> None:
    """Copy to a GPU without waiting for what it does."""
    here = torch.from_numpy(values)
    if there.device.type == "cuda":
        there.copy_(here.pin_memory(), non_blocking=True)
    else:
        there.copy_(here)


def same_logits(ours: Tensor, theirs: Tensor) -> bool:
    """Whether two runs of one step differ by no more than rounding: a hundredth of the largest logit."""
    largest = theirs.float().abs().nan_to_num(0.0).max()
    return torch.allclose(ours.float(), theirs.float(), rtol=0, atol=float(largest) / 100, equal_nan=True)
