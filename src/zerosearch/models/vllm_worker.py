"""vLLM as the sampler of a local model, in this process: requests of every speaker, steps of one engine.

What a generation is does not depend on the sampler: ids as sampled, log-probs of the distribution that they were drawn
from, stop strings and ids that end a text as `continuous.py` has them (`Row.take` decides), a request's own seed. The
numbers that a seed draws are vLLM's own: the same request gives the same tokens again, others than the native sampler.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from torch import distributed

from zerosearch.episodes.generation import Sampling
from zerosearch.errors import ModelError, ZeroSearchError, first_line
from zerosearch.models.continuous import Row, Speaker
from zerosearch.models.devices import on_device
from zerosearch.models.local import LocalModel
from zerosearch.models.phases import phase
from zerosearch.models.vllm_weights import adapter_rank
from zerosearch.models.waiting import Waiting

_STEPS = 4  # of the engine between two looks at what waits, where no row ends


@dataclass(frozen=True)
class Stepped:
    """What a step gave one request. `finished`: it decodes no further, as it ended or ran out of room."""

    request: str
    tokens: Sequence[int]
    logprobs: Sequence[float]
    finished: bool


class Engine(Protocol):
    """An inference engine that decodes many requests side by side, a token each a step (`vllm_engine.py`)."""

    max_length: int
    """Tokens of a text, prompt included."""
    max_rank: int
    """The largest LoRA rank that it takes; 0: it takes no adapter."""

    def add(
        self, request: str, speaker: Speaker, prompt: list[int], sampling: Sampling, eos_ids: frozenset[int]
    ) -> None:
        """Let a request in: it ends after `max_tokens` tokens and at each of `eos_ids`; stop strings are not its."""

    def step(self) -> Iterable[Stepped]: ...

    def abort(self, requests: list[str]) -> None: ...

    def refresh(self, speakers: Iterable[Speaker]) -> None:
        """Take these speakers' weights anew, and begin no text with what was computed before. Nothing is decoded."""

    def close(self) -> None: ...


def several_processes() -> bool:
    """Whether this process is one of a group."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def open_vllm(model: LocalModel, max_rows: int, max_tokens: int) -> Engine:
    """vLLM over a copy of `model`'s weights. Takes a minute or so. Raises `ModelError`."""
    from zerosearch.models.vllm_engine import VllmEngine

    return VllmEngine.open(model, max_rows=max_rows, max_tokens=max_tokens)


@dataclass
class VllmWorker(Waiting):
    """Decodes for every generator over one model, with vLLM; the engine is opened for the first request.

    At most twice `max_batch_rows` rows decode side by side (as many as two speakers have in the native sampler), with
    `max_batch_tokens` tokens of cache or what the GPU has room for. `refresh` says that a speaker's weights have
    changed: the policy's adapter, or where all weights are trained the whole model, is copied before the next token.
    """

    open: Callable[[LocalModel, int, int], Engine] = open_vllm

    def __post_init__(self) -> None:
        super().__post_init__()
        self._stale: set[Speaker] = set()
        # what follows is the decoding thread's
        self._engine: Engine | None = None
        self._rows: dict[str, Row] = {}
        self._later: list[Row] = []  # their adapter needs an engine with more room for it
        self._number = 0
        self._broken: ModelError | None = None

    def refresh(self, speaker: Speaker) -> None:
        """The weights of `speaker` have changed. Nothing is being decoded; nothing that was computed is used again."""
        self._stale.add(speaker)
        if self._engine is None and several_processes():
            self._executor.submit(self._decode, [], []).result()  # engines of several processes open together

    def close(self) -> None:
        """Decode no more, and free what the engine holds."""
        if not self._closed:
            with suppress(RuntimeError):  # the interpreter ends
                self._executor.submit(self._close_engine)
        self._closed = True
        self._executor.shutdown(wait=True, cancel_futures=False)

    # ---- the decoding thread

    def _give_up(self, error: Exception) -> tuple[list[Row], Exception]:
        held = [*self._later, *self._rows.values()]
        self._later.clear()
        self._rows.clear()
        if not isinstance(error, ZeroSearchError):
            told = f"{type(error).__name__}: {first_line(error)}"
            error = ModelError(f"model {self.model.name}: vLLM stopped ({told})")
        if isinstance(error, ModelError):
            self._broken = error  # what the engine is in after it, nobody knows
        return held, error

    def _decode_some(self, new: list[Row], gone: list[Row]) -> list[Row]:
        if self._broken is not None:
            raise self._broken
        engine = self._ready(new)
        self._drop(engine, gone)
        ended = self._let_in(engine, new)
        started, tokens = time.perf_counter(), Counter[Speaker]()
        for _ in range(_STEPS):
            if not self._rows:
                break
            with phase("vLLM's steps, with its host", gpu=True):
                stepped = list(engine.step())
            done = self._take(engine, stepped, tokens)
            ended += done
            if done:
                break
        seconds = time.perf_counter() - started
        for speaker, number in tokens.items():
            rows = sum(row.speaker == speaker for row in ended)
            self._count(speaker, rows, number, seconds * number / tokens.total())
        return ended

    def _ready(self, new: list[Row]) -> Engine:
        """The engine, opened anew where a speaker came that it has no room for and nothing is decoded."""
        new[:0], self._later = self._later, []
        if self._engine is not None:
            most = self._engine.max_rank
            large = {s for s in {row.speaker for row in new} if s is not None and adapter_rank(self.model, s) > most}
            if large and not self._rows:
                self._close_engine()
            elif large:
                self._later = [row for row in new if row.speaker in large]
                new[:] = [row for row in new if row.speaker not in large]
        if self._engine is None:
            with phase("recording", gpu=True):
                self._engine = self.open(self.model, 2 * self.max_batch_rows, self.max_batch_tokens)
            self._stale.clear()
        elif self._stale:
            stale, self._stale = self._stale, set()
            with phase("sync", gpu=True):
                self._engine.refresh(stale)
        return self._engine

    def _let_in(self, engine: Engine, new: list[Row]) -> list[Row]:
        """The rows that are refused."""
        for row in new:
            if len(row.prompt) + row.sampling.max_tokens > engine.max_length:
                row.end = ModelError(
                    f"model {self.model.name}: a prompt of {len(row.prompt)} tokens and {row.sampling.max_tokens} more "
                    f"are beyond the {engine.max_length} that vLLM has room for (training.max_batch_tokens)"
                )
                continue
            self._number += 1
            request = f"{self._number}"
            engine.add(request, row.speaker, row.prompt, row.sampling, self.model.eos_ids)
            self._rows[request] = row
        return [row for row in new if row.end is not None]

    def _drop(self, engine: Engine, gone: list[Row]) -> None:
        left = {id(row) for row in gone}
        requests = [request for request, row in self._rows.items() if id(row) in left]
        self._later = [row for row in self._later if id(row) not in left]
        for request in requests:
            del self._rows[request]
        if requests:
            engine.abort(requests)

    @phase("taking tokens")
    def _take(self, engine: Engine, stepped: Iterable[Stepped], tokens: Counter[Speaker]) -> list[Row]:
        """The rows that ended. What a row sampled beyond its end is cut off."""
        ended, aborted = [], []
        for step in stepped:
            row = self._rows.get(step.request)
            if row is None:
                continue
            stops = self._stops(row.sampling.stop)
            for token, logprob in zip(step.tokens, step.logprobs, strict=True):
                if row.end is None:
                    row.take(int(token), float(logprob), self.model.eos_ids, stops)
                    tokens[row.speaker] += 1
            if step.finished and row.end is None:
                row.end = ModelError(f"model {self.model.name}: vLLM ended a request after {len(row.ids)} tokens")
            if row.end is not None:
                del self._rows[step.request]
                ended.append(row)
                if not step.finished:
                    aborted.append(step.request)
            if isinstance(row.end, FloatingPointError):
                row.end = ModelError(f"model {self.model.name}: vLLM gives logits that are not numbers ({row.end})")
        if aborted:
            engine.abort(aborted)
        return ended

    def _close_engine(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            with on_device(self.model.device):
                engine.close()
