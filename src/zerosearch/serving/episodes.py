"""Episodes by their ids: the question behind `/e/<id>/retrieve`."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from zerosearch.episodes.questions import Question
from zerosearch.serving.faults import Fault


@dataclass(frozen=True)
class OpenEpisode:
    """A question that a client searches for. `noise` is the chance that a simulated page is noisy."""

    question: Question
    noise: float
    seed: int


class OpenEpisodes:
    """At most `limit` episodes, each kept until nobody has used it for `seconds`. `clock` is for tests.

    One more than `limit` ends the one that was used longest ago; `ended` counts those.
    """

    def __init__(self, limit: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit, self.seconds, self._clock = limit, seconds, clock
        self._open: OrderedDict[str, tuple[float, OpenEpisode]] = OrderedDict()  # the one used longest ago first
        self.ended = 0

    def __len__(self) -> int:
        self._expire()
        return len(self._open)

    def open(self, episode: OpenEpisode) -> str:
        """Keep `episode`; its id, which nobody can guess."""
        self._expire()
        if len(self._open) >= self.limit:
            self._open.popitem(last=False)
            self.ended += 1
        name = secrets.token_urlsafe(12)
        self._open[name] = (self._clock(), episode)
        return name

    def get(self, name: str) -> OpenEpisode:
        """The episode, used just now. Raises `Fault` (404) where it is unknown or has ended."""
        self._expire()
        held = self._open.get(name)
        if held is None:
            raise Fault(
                404,
                "no_episode",
                "no such episode: it was never opened here, or it has ended (unused for "
                f"{self.seconds:g} s, or pushed out by newer ones past {self.limit}). POST /episodes opens one",
            )
        self._open[name] = (self._clock(), held[1])
        self._open.move_to_end(name)
        return held[1]

    def close(self, name: str) -> None:
        """End it. Raises `Fault` (404) where it is unknown."""
        self.get(name)
        del self._open[name]

    def _expire(self) -> None:
        oldest = self._clock() - self.seconds
        while self._open:
            name, (used, _) = next(iter(self._open.items()))
            if used > oldest:
                return
            del self._open[name]
