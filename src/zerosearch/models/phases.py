"""Named phases of a step, timed by the host's clock and, on a GPU, by the GPU's own.

The samplers and the learner name what they do with `phase`. That measures nothing, and costs a microsecond, until a
`Profile` listens. A GPU works behind the host's back, so its time is taken by events on the stream that the work is on.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch

IDLE, REST = "idle", "everything else"
_listening: Profile | None = None


@contextmanager
def phase(name: str, times: int = 1, *, gpu: bool = False) -> Iterator[None]:
    """What happens inside is `name`: `times` steps of it. `gpu`: it gives work to a GPU, on the current stream.

    Also a decorator: `@phase("name")`.
    """
    if (profile := _listening) is None:
        yield
        return
    with profile.during(name, times, gpu=gpu):
        yield


@dataclass(frozen=True)
class Spent:
    """What a phase took, in seconds. `gpu` is None where no GPU was given work."""

    times: int
    host: float
    """Of the host's threads, phases inside it taken off."""
    gpu: float | None
    """Of the GPU. Where several streams work at once they share the time equally."""


class _Span(NamedTuple):
    """Work on a GPU: seconds since the profile's start."""

    start: float
    end: float
    stream: int
    name: str


class Profile:
    """Listens to every `phase` while it is entered. One at a time; phases of all threads are its own."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._inner = threading.local()
        self._heard: list[tuple[str, int, float, tuple[Any, Any, int] | None]] = []

    def __enter__(self) -> Profile:
        global _listening
        _listening = self
        self._begin()
        return self

    def __exit__(self, *_: object) -> None:
        global _listening
        _listening = None

    def _begin(self) -> None:
        self._heard = []
        self._start, self._began = self._event(), time.perf_counter()

    @contextmanager
    def during(self, name: str, times: int, *, gpu: bool) -> Iterator[None]:
        """Hear of one phase."""
        outer, self._inner.seconds = getattr(self._inner, "seconds", 0.0), 0.0
        start = self._event() if gpu else None
        began = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - began
            end = None if start is None else self._event()
            on_gpu = None if end is None else (start, end, torch.cuda.current_stream(self._device).cuda_stream)
            self._heard.append((name, times, seconds - self._inner.seconds, on_gpu))
            self._inner.seconds = outer + seconds

    def take(self) -> dict[str, Spent]:
        """Where the time since the last `take` went, the longest first; the GPU is waited for.

        `IDLE` is when the GPU had nothing to do, `REST` when the host was in no phase.
        """
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        wall = time.perf_counter() - self._began
        host: dict[str, float] = defaultdict(float)
        times: dict[str, int] = defaultdict(int)
        spans = []
        for name, number, seconds, on_gpu in self._heard:
            host[name] += seconds
            times[name] += number
            if on_gpu is not None:
                start, end, stream = on_gpu
                at = [self._start.elapsed_time(event) / 1000 for event in (start, end)]
                spans.append(_Span(at[0], at[1], stream, name))
        gpu = shared_out(spans)
        found = {name: Spent(times[name], host[name], gpu.get(name)) for name in host}
        if self._device.type == "cuda":
            found[IDLE] = Spent(0, 0.0, max(0.0, wall - sum(gpu.values())))
        found[REST] = Spent(0, max(0.0, wall - sum(host.values())), None)
        self._begin()
        return longest_first(found)

    def _event(self) -> Any:
        """A mark on the current stream; None where there is none, or where a graph is being recorded on it."""
        if self._device.type != "cuda" or torch.cuda.is_current_stream_capturing():
            return None
        event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        return event


def longest_first(phases: dict[str, Spent]) -> dict[str, Spent]:
    """By the GPU's time, then by the host's."""
    return dict(sorted(phases.items(), key=lambda item: (-(item[1].gpu or 0.0), -item[1].host)))


def shared_out(spans: Sequence[_Span]) -> dict[str, float]:
    """Seconds of each name. A moment belongs to the span of a stream that began last; streams share it equally."""
    edges = sorted(
        [(span.end, 0, place) for place, span in enumerate(spans)]
        + [(span.start, 1, place) for place, span in enumerate(spans)]
    )
    out: dict[str, float] = defaultdict(float)
    going: set[int] = set()
    for (now, begins, place), (then, _, _) in pairwise(edges):
        if begins:
            going.add(place)
        else:
            going.discard(place)
        latest: dict[int, _Span] = {}
        for span in sorted(spans[i] for i in going):
            latest[span.stream] = span
        for span in latest.values():
            out[span.name] += (then - now) / len(latest)
    return dict(out)
