"""The native sampler: a worker that decodes waiting requests side by side.

All generators over one `LocalModel` share one `Worker`: policy and simulator speak with the same weights, each with its
own adapter. The event loop goes on while tokens are decoded, so pages from elsewhere are not held up.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch

from zerosearch.episodes.generation import Generation, Sampling
from zerosearch.errors import ModelError
from zerosearch.models.continuous import ContinuousSampler, Row, Speaker
from zerosearch.models.decoding import decode_batch
from zerosearch.models.devices import on_device
from zerosearch.models.fused import fused_rotary
from zerosearch.models.local import LocalModel
from zerosearch.models.merged import MergedAdapters
from zerosearch.models.paged import Layout, PagedMemory, triton_is_there
from zerosearch.models.pages import PAGE
from zerosearch.models.phases import phase
from zerosearch.models.waiting import CACHE_SHARE, DecodingTotals, OnToken, Waiting
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

    model: LocalModel
    max_batch_rows: int = 256
    max_batch_tokens: int = 262_144
    merge: bool = False
    continuous: bool = True
    totals: dict[Speaker, DecodingTotals] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()
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

    def _decode(self, new: list[Row], gone: list[Row]) -> list[Row]:
        """Let `new` rows in and `gone` ones out, and decode for a while. Returns the rows that ended."""
        try:
            with on_device(self.model.device):  # the thread is the executor's, and would begin on GPU 0
                return self._decode_some(new, gone)
        except Exception as error:  # of no batch and no speaker, such as a cache that there is no memory for
            failed = new + [row for rows in self._batches.values() for row in rows]
            failed += self._sampler.fail(error) if self._sampler is not None else []
            self._batches.clear()
            for row in failed:
                row.end = error
            return list(dict.fromkeys(failed))

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
        if any(self._batches.values()):
            return self._decode_batch(max(self._batches, key=lambda name: len(self._batches[name])))
        return self._advance(sampler) if sampler is not None and sampler.busy else []

    def _open_sampler(self) -> ContinuousSampler | None:
        if self._sampler is None:
            with self._speak(None) as base:
                layout = Layout.of(base)
            if layout is None or (layout.device.type == "cuda" and not triton_is_there()):
                why = "its cache is no plain one" if layout is None else "Triton is not installed"
                log.info("%s is decoded batch by batch: %s", self.model.name, why)
                self.continuous = False
                return None
            there = _memory(layout.device)
            room = self.max_batch_tokens
            if there is not None:
                room = min(room, int(CACHE_SHARE * there) // layout.page_bytes * PAGE)
            self._sampler = ContinuousSampler(
                PagedMemory(layout, room // PAGE + 1),
                self._speak,
                self._stops,
                self.model.eos_ids,
                max_rows=self.max_batch_rows,
                record=layout.device.type == "cuda",
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
        for row in ended:
            if isinstance(row.end, FloatingPointError):
                row.end = ModelError(_not_numbers(self.model, row.speaker, str(row.end)))
        return ended

    def _decode_batch(self, speaker: Speaker) -> list[Row]:
        """Decode a batch of `speaker` to its end."""
        rows = self._cut(self._batches[speaker])
        self._batches[speaker] = self._batches[speaker][len(rows) :]

        def tell(place: int, token: int) -> None:
            if (listener := rows[place].tell) is not None:
                listener(token)

        started = time.perf_counter()
        try:
            with self._speak(speaker) as model, phase(f"decode, {speaker or 'base'}", gpu=True):
                generations = decode_batch(
                    model,
                    [row.prompt for row in rows],
                    [row.sampling for row in rows],
                    tokenizer=self.model.tokenizer,
                    eos_ids=self.model.eos_ids,
                    on_token=tell if any(row.tell for row in rows) else None,
                )
        except Exception as error:
            wrong: Exception = error
            if isinstance(error, FloatingPointError):
                wrong = ModelError(_not_numbers(self.model, speaker, str(error)))
            for row in rows:
                row.end = wrong
            return rows
        release_memory()  # a cache that grew by a token a step leaves buffers of every size behind
        for row, generation in zip(rows, generations, strict=True):
            row.ids, row.logprobs, row.end = generation.token_ids, generation.logprobs, generation.stop_reason
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


def _memory(device: torch.device) -> int | None:
    """Bytes: what a GPU has free, or all that the machine has (a cache takes no more of it than it uses), if known."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else memory()[0]


def _not_numbers(model: LocalModel, adapter: str | None, reason: str) -> str:
    spoken = f", adapter {adapter}," if adapter is not None else ""
    beyond = "; float16 holds no number beyond 65504, bfloat16 and float32 do (model.dtype)"
    return (
        f"model {model.name}{spoken} gives logits that are not numbers, nothing can be sampled from them ({reason})"
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
