"""The transformers generator: requests wait in lanes, a worker decodes whatever waits as one static batch.

All generators over one `LocalModel` share one `Worker`: the policy and the simulator take turns on the same weights,
each with its own adapter. The event loop goes on while a batch is decoded, so pages from elsewhere are not held up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch

from zerosearch.episodes.generation import Generation, Sampling
from zerosearch.errors import ModelError
from zerosearch.models.decoding import decode_batch
from zerosearch.models.devices import on_device
from zerosearch.models.fixed import FixedDecoder, Storage
from zerosearch.models.local import LocalModel
from zerosearch.models.merged import MergedAdapters
from zerosearch.process import interrupts
from zerosearch.process.runtime import release_memory

OnToken = Callable[[int], None]
_SETTLE_TURNS = 8  # passes of the event loop without a new request before a batch is closed


@dataclass
class _Job:
    prompt_ids: list[int]
    sampling: Sampling
    result: asyncio.Future[Generation]
    on_token: OnToken | None = None


@dataclass
class DecodingTotals:
    """What a worker has decoded since it was made; `seconds` is wall-clock time inside the model."""

    batches: int = 0
    rows: int = 0
    tokens: int = 0
    seconds: float = 0.0


@dataclass
class Worker:
    """Decodes for every generator over one model, one batch at a time.

    A batch is closed once the event loop has gone round a few times without a new request. With engines that answer
    inside the process the order of events, and so the make-up of every batch, is the same in every run.
    `max_batch_tokens` bounds rows x (longest prompt + tokens to come): the size of the KV cache. `merge` samples from
    copies of the model with the adapter merged in; `fixed` decodes with a cache of fixed size, and on a GPU records its
    steps as CUDA graphs.
    """

    model: LocalModel
    max_batch_rows: int = 256
    max_batch_tokens: int = 262_144
    merge: bool = False
    fixed: bool = False
    totals: dict[str | None, DecodingTotals] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._lanes: dict[str | None, list[_Job]] = {}
        self._task: asyncio.Task[None] | None = None
        self._merged = MergedAdapters(self.model)
        self._storage = Storage()
        self._decoders: dict[str | None, FixedDecoder] = {}
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="decode")

    async def submit(
        self, lane: str | None, prompt_ids: list[int], sampling: Sampling, on_token: OnToken | None = None
    ) -> Generation:
        """Wait for a continuation of `prompt_ids` by the adapter `lane` (None: the bare base).

        `on_token` is called with each id as it is sampled, in the decoding thread.
        """
        job = _Job(prompt_ids, sampling, asyncio.get_running_loop().create_future(), on_token)
        self._lanes.setdefault(lane, []).append(job)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return await job.result

    def refresh(self, lane: str | None) -> None:
        """The weights of `lane` have changed."""
        if lane is not None:
            self._merged.refresh(lane)

    def close(self) -> None:
        self._executor.shutdown(wait=interrupts.received() is None, cancel_futures=True)

    async def _run(self) -> None:
        while True:
            await self._settle()
            lane = max(self._lanes, key=lambda name: len(self._lanes[name]), default=None)
            jobs = [job for job in self._lanes.get(lane, []) if not job.result.cancelled()]
            batch = self._cut(jobs)
            self._lanes[lane] = jobs[len(batch) :]
            if not batch:
                if any(self._lanes.values()):
                    continue
                return
            try:
                generations = await asyncio.get_running_loop().run_in_executor(
                    self._executor, self._decode, lane, batch
                )
            except Exception as error:
                for job in batch:
                    if not job.result.done():
                        job.result.set_exception(error)
                continue
            for job, generation in zip(batch, generations, strict=True):
                if not job.result.done():
                    job.result.set_result(generation)

    async def _settle(self) -> None:
        quiet, waiting = 0, -1
        while quiet < _SETTLE_TURNS:
            await asyncio.sleep(0)
            now = sum(len(jobs) for jobs in self._lanes.values())
            quiet = quiet + 1 if now == waiting else 0
            waiting = now

    def _cut(self, jobs: list[_Job]) -> list[_Job]:
        longest = 0
        batch: list[_Job] = []
        for job in jobs[: self.max_batch_rows]:
            longest = max(longest, len(job.prompt_ids) + job.sampling.max_tokens)
            if batch and longest * (len(batch) + 1) > self.max_batch_tokens:
                break
            batch.append(job)
        return batch

    def _decode(self, lane: str | None, batch: list[_Job]) -> list[Generation]:
        def tell(row: int, token: int) -> None:
            if (listener := batch[row].on_token) is not None:
                listener(token)

        model, started = self.model, time.perf_counter()
        merged = self.merge and lane is not None
        try:
            # the thread is the executor's, and would begin on GPU 0
            with on_device(model.device), nullcontext() if merged else model.speaking_as(lane):
                speaker = self._merged.get(lane) if merged and lane is not None else model.base
                generations = decode_batch(
                    speaker,
                    [job.prompt_ids for job in batch],
                    [job.sampling for job in batch],
                    tokenizer=model.tokenizer,
                    eos_ids=model.eos_ids,
                    fixed=self._decoder(lane, speaker) if self.fixed else None,
                    on_token=tell if any(job.on_token for job in batch) else None,
                )
        except FloatingPointError as error:
            raise ModelError(_not_numbers(model, lane, str(error))) from None
        release_memory()  # a cache that grew by a token a step leaves buffers of every size behind
        totals = self.totals.setdefault(lane, DecodingTotals())
        totals.batches += 1
        totals.rows += len(batch)
        totals.tokens += sum(len(g.token_ids) for g in generations)
        totals.seconds += time.perf_counter() - started
        return generations

    def _decoder(self, lane: str | None, speaker: Any) -> FixedDecoder:
        """One for each lane: what is recorded holds the adapter that spoke, or the merged copy's weights."""
        if lane not in self._decoders:
            self._decoders[lane] = FixedDecoder(speaker, self._storage, record=self.model.device.type == "cuda")
        return self._decoders[lane]


def _not_numbers(model: LocalModel, adapter: str | None, reason: str) -> str:
    spoken = f", adapter {adapter}," if adapter is not None else ""
    beyond = "; float16 holds no number beyond 65504, bfloat16 and float32 do (model.dtype)"
    return (
        f"model {model.name}{spoken} gives logits that are not numbers, nothing can be sampled from them ({reason})"
        + beyond * (model.dtype == torch.float16)
    )


@dataclass(frozen=True)
class TransformersGenerator:
    """A `Generator` over a `LocalModel` and one of its adapters (None: the bare base).

    `on_token` is called with each id as it is sampled, in the decoding thread: for one request at a time. What it
    raises ends the request.
    """

    worker: Worker
    adapter: str | None = None
    on_token: OnToken | None = None

    async def generate(self, prompt_ids: list[int], sampling: Sampling) -> Generation:
        return await self.worker.submit(self.adapter, prompt_ids, sampling, self.on_token)

    def sync(self) -> None:
        """The policy has learned: sample from its new weights from now on."""
        self.worker.refresh(self.adapter)
