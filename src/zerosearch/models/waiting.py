"""What local samplers have in common: requests wait, and a thread decodes them side by side."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from zerosearch.episodes.generation import Generation, Sampling
from zerosearch.models.continuous import Row, Speaker
from zerosearch.models.devices import on_device
from zerosearch.models.local import LocalModel
from zerosearch.models.sampling import StopStrings
from zerosearch.process import interrupts

OnToken = Callable[[int], None]
CACHE_SHARE = 0.4
"""Of what a GPU has free (beside the weights), or the machine: a sampler's KV cache takes no more."""
_SETTLE_TURNS = 8  # passes of the event loop without a new request before what waits is looked at


@dataclass
class DecodingTotals:
    """What a worker has decoded since it was made; `seconds` is wall-clock time inside the model."""

    batches: int = 0
    rows: int = 0
    tokens: int = 0
    seconds: float = 0.0


@dataclass
class Waiting(ABC):
    """Requests of every speaker of one model, and a thread that decodes them (`_decode`).

    It looks at what waits once the event loop has gone round a few times without a new request. With engines that
    answer inside the process the order of events, and so what is decoded together, is the same in every run.
    """

    model: LocalModel
    max_batch_rows: int = 256
    max_batch_tokens: int = 262_144
    totals: dict[Speaker, DecodingTotals] = field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        self._new: list[Row] = []
        self._results: dict[Row, asyncio.Future[Generation]] = {}
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self._stop_strings: dict[tuple[str, ...], StopStrings] = {}
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="decode")

    async def submit(
        self, speaker: Speaker, prompt_ids: list[int], sampling: Sampling, on_token: OnToken | None = None
    ) -> Generation:
        """Wait for a continuation of `prompt_ids` by the adapter `speaker` (None: the bare base).

        `on_token` is called with each id as it is sampled, in the decoding thread; what it raises ends the request.
        Raises `ModelError`.
        """
        row = Row(speaker, prompt_ids, sampling, on_token)
        result: asyncio.Future[Generation] = asyncio.get_running_loop().create_future()
        self._results[row] = result
        self._new.append(row)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return await result

    @abstractmethod
    def refresh(self, speaker: Speaker) -> None:
        """The weights of `speaker` have changed. Nothing is being decoded; nothing that was computed is used again."""

    def close(self) -> None:
        """Decode no more. Who still waits waits for nothing: close a worker when nobody does."""
        self._closed = True
        self._executor.shutdown(wait=interrupts.received() is None, cancel_futures=True)

    @abstractmethod
    def _decode_some(self, new: list[Row], gone: list[Row]) -> list[Row]:
        """Let `new` rows in and `gone` ones out, and decode for a while, in the decoding thread. Returns the rows that
        ended."""

    @abstractmethod
    def _give_up(self, error: Exception) -> tuple[list[Row], Exception]:
        """Every row that has been let in, now out, and what they end with after `error`, which is of no single one."""

    def _decode(self, new: list[Row], gone: list[Row]) -> list[Row]:
        try:
            with on_device(self.model.device):  # the thread is the executor's, and would begin on GPU 0
                return self._decode_some(new, gone)
        except Exception as error:  # such as a cache that there is no memory for
            held, wrong = self._give_up(error)
            failed = list(dict.fromkeys([*new, *held]))
            for row in failed:
                row.end = wrong
            return failed

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._settle()
            new, self._new = self._new, []
            gone = [row for row, result in self._results.items() if result.cancelled()]
            for row in gone:
                del self._results[row]
            if self._closed or (not self._results and not gone):
                return
            for row in await loop.run_in_executor(self._executor, self._decode, new, gone):
                result = self._results.pop(row)
                if result.done():
                    continue
                if isinstance(row.end, Exception):
                    result.set_exception(row.end)
                else:
                    result.set_result(row.generation)

    async def _settle(self) -> None:
        quiet, known = 0, -1
        while quiet < _SETTLE_TURNS:
            await asyncio.sleep(0)
            quiet = quiet + 1 if len(self._new) == known else 0
            known = len(self._new)

    def _stops(self, stop: tuple[str, ...]) -> StopStrings:
        if stop not in self._stop_strings:
            self._stop_strings[stop] = StopStrings(self.model.tokenizer, stop)
        return self._stop_strings[stop]

    def _count(self, speaker: Speaker, rows: int, tokens: int, seconds: float) -> None:
        totals = self.totals.setdefault(speaker, DecodingTotals())
        totals.batches += 1
        totals.rows += rows
        totals.tokens += tokens
        totals.seconds += seconds
