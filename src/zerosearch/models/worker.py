"""The native sampler: a worker that decodes waiting requests side by side.

All generators over one `LocalModel` share one `Worker`: policy and simulator speak with the same weights, each with its
own adapter. The event loop goes on while tokens are decoded, so pages from elsewhere are not held up.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from zerosearch.episodes.generation import Generation, Sampling
from zerosearch.errors import ModelError
from zerosearch.models.continuous import ContinuousSampler, Row, Speaker
from zerosearch.models.decoding import decode_batch
from zerosearch.models.fused import fused_rotary
from zerosearch.models.local import LocalModel
from zerosearch.models.merged import MergedAdapters
from zerosearch.models.paged import Layout, PagedMemory, triton_is_there
from zerosearch.models.pages import PAGE
from zerosearch.models.phases import phase
from zerosearch.models.waiting import CACHE_SHARE, OnToken, Waiting
from zerosearch.process.runtime import memory, release_memory

log = logging.getLogger(__name__)


@dataclass
class Worker(Waiting):
    """Decodes for every generator over one model, with transformers.

    `max_batch_rows` bounds the rows of a speaker, `max_batch_tokens` the tokens of the KV cache. `merge` samples from
    copies of the model with the adapter merged in. `continuous` decodes with a `ContinuousSampler`, and on a GPU
    records its steps as CUDA graphs; without it, and for what that cannot do (odd caches, `top_k` and `top_p`, a
    text longer than the cache), a batch is decoded to its end before the next one begins.
    """

    merge: bool = False
    continuous: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        # what follows is the decoding thread's
        self._merged = MergedAdapters(self.model)
        self._sampler: ContinuousSampler | None = None
        self._batches: dict[Speaker, list[Row]] = {}  # what the sampler cannot decode

    def refresh(self, speaker: Speaker) -> None:
        """The weights of `speaker` have changed. Nothing is being decoded; nothing that was computed is used again."""
        if speaker is not None:
            self._merged.refresh(speaker)
        if self._sampler is not None:
            self._sampler.forget()

    # ---- the decoding thread

    def _give_up(self, error: Exception) -> tuple[list[Row], Exception]:
        held = [row for rows in self._batches.values() for row in rows]
        self._batches.clear()
        return held + (self._sampler.fail(error) if self._sampler is not None else []), error

    def _decode_some(self, new: list[Row], gone: list[Row]) -> list[Row]:
        sampler = self._open_sampler() if self.continuous else None
        for row in new:
            if sampler is not None and sampler.fits(row):
                sampler.add(row)
            else:
                self._batches.setdefault(row.speaker, []).append(row)
        for row in gone:
            if sampler is not None:
                sampler.drop(row)
            self._batches[row.speaker] = [r for r in self._batches.get(row.speaker, ()) if r is not row]
        ended = []
        if any(self._batches.values()):
            ended = self._decode_batch(max(self._batches, key=lambda name: len(self._batches[name])))
        elif sampler is not None and sampler.busy:
            ended = self._advance(sampler)
        for row in ended:
            if isinstance(row.end, FloatingPointError):
                row.end = _not_numbers(self.model, row)
        return ended

    def _open_sampler(self) -> ContinuousSampler | None:
        if self._sampler is None:
            with self._speak(None) as base:
                layout = Layout.of(base)
            if layout is None or (layout.device.type == "cuda" and not triton_is_there()):
                why = "its cache is no plain one" if layout is None else "Triton is not installed"
                log.info("%s is decoded batch by batch: %s", self.model.name, why)
                self.continuous = False
                return None
            # what a GPU has free, or all that the machine has: a cache there takes no more of it than it uses
            on_gpu = layout.device.type == "cuda"
            there = torch.cuda.mem_get_info(layout.device)[0] if on_gpu else memory()[0]
            room = self.max_batch_tokens
            if there is not None:
                room = min(room, int(CACHE_SHARE * there) // layout.page_bytes * PAGE)
            self._sampler = ContinuousSampler(
                PagedMemory(layout, room // PAGE + 1),
                self._speak,
                self._stops,
                self.model.eos_ids,
                max_rows=self.max_batch_rows,
                record=on_gpu,
            )
        return self._sampler

    @contextmanager
    def _speak(self, speaker: Speaker) -> Iterator[Any]:
        """The model that speaks as `speaker`."""
        if self.merge and self.model.adapters:
            with fused_rotary(self.model.base) if self.model.device.type == "cuda" else nullcontext():
                yield self._merged.get(speaker)
        else:
            with self.model.speaking_as(speaker):
                yield self.model.base

    def _advance(self, sampler: ContinuousSampler) -> list[Row]:
        started, before = time.perf_counter(), sampler.decoded.copy()
        ended = sampler.advance()
        seconds, new = time.perf_counter() - started, sampler.decoded - before
        for speaker, tokens in new.items():
            rows = sum(row.speaker == speaker for row in ended)
            self._count(speaker, rows, tokens, seconds * tokens / new.total())
        return ended

    def _decode_batch(self, speaker: Speaker) -> list[Row]:
        """Decode a batch of `speaker` to its end."""
        rows = self._cut(self._batches[speaker])
        self._batches[speaker] = self._batches[speaker][len(rows) :]
        started = time.perf_counter()
        try:
            with self._speak(speaker) as model, phase(f"decode, {speaker or 'base'}", gpu=True):
                decode_batch(model, rows, self._stops, self.model.eos_ids)
        except Exception as error:
            for row in rows:
                row.end = error
            return rows
        release_memory()  # a cache that grew by a token a step leaves buffers of every size behind
        self._count(speaker, len(rows), sum(len(row.ids) for row in rows), time.perf_counter() - started)
        return rows

    def _cut(self, rows: list[Row]) -> list[Row]:
        longest = 0
        batch: list[Row] = []
        for row in rows[: self.max_batch_rows]:
            longest = max(longest, len(row.prompt) + row.sampling.max_tokens)
            if batch and longest * (len(batch) + 1) > self.max_batch_tokens:
                break
            batch.append(row)
        return batch


def _not_numbers(model: LocalModel, row: Row) -> ModelError:
    spoken = f", adapter {row.speaker}," if row.speaker is not None else ""
    beyond = "; float16 holds no number beyond 65504, bfloat16 and float32 do (model.dtype)"
    return ModelError(
        f"model {model.name}{spoken} gives logits that are not numbers, nothing can be sampled from them ({row.end})"
        + beyond * (model.dtype == torch.float16)
    )


@dataclass(frozen=True)
class TransformersGenerator:
    """A `Generator` over a local model and one of its adapters (None: the bare base), whichever sampler decodes for it.

    `on_token` is called with each id as it is sampled, in the decoding thread: for one request at a time. What it
    raises ends the request.
    """

    worker: Waiting
    adapter: str | None = None
    on_token: OnToken | None = None

    async def generate(self, prompt_ids: list[int], sampling: Sampling) -> Generation:
        return await self.worker.submit(self.adapter, prompt_ids, sampling, self.on_token)

    def sync(self) -> None:
        """Sample from the weights of now, and from nothing that was computed before."""
        self.worker.refresh(self.adapter)
