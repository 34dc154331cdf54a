"""Several servers of one model as one chat model: the least busy one is used, and a dead one is skipped.

    pool = PooledChat([OpenAIWriter(Server(url), "Qwen/Qwen2.5-14B-Instruct") for url in urls])

A replica that fails (no connection, silence, 429 or 5xx) is left alone for a while, and its request goes to another at
once. When its pause is over it is asked for `/models`; where it answers, it is in again. What was lost is logged.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from zerosearch.episodes.generation import Sampling
from zerosearch.episodes.protocol import Message
from zerosearch.errors import EngineError
from zerosearch.files.identity import identity_of
from zerosearch.models.chat import OpenAIWriter, Written
from zerosearch.models.retry import Retry
from zerosearch.spending.ledger import counted
from zerosearch.usage import NOTHING, Usage

log = logging.getLogger(__name__)

OF_THE_REPLICA = frozenset(("connection", "deadline", "http"))
"""Failures that another replica may not have; what is refused or malformed would be so everywhere."""
_PAUSES = Retry(backoff_seconds=1.0, max_backoff_seconds=60.0)


@dataclass
class Replica:
    """One server, and what it has done: replies, their usage and seconds, and the requests that it lost.

    `waiting` counts the requests that it is working on; until `down_until` it is left alone.
    """

    writer: OpenAIWriter
    waiting: int = 0
    replies: int = 0
    lost: int = 0
    in_a_row: int = 0
    seconds: float = 0.0
    usage: Usage = NOTHING
    down_until: float = 0.0
    last: str = field(default="")

    @property
    def down(self) -> bool:
        return self.in_a_row > 0

    def line(self) -> str:
        """What it has done, in one line."""
        rate = self.usage.completion_tokens / self.seconds if self.seconds else 0.0
        replies = counted(self.replies, "reply", "replies")
        told = f"{self.writer.address}: {replies}, {rate:.0f} tokens a second of asking"
        told += f", ${self.usage.usd:.4f}" if self.usage.usd else ""
        return told + (f", {counted(self.lost, 'request')} lost; the last one: {self.last}" if self.lost else "")


class PooledChat:
    """A `ChatModel` over replicas of one model. The identity names all of their addresses, in any order.

    `write` raises what the last replica raised where all of them fail, or have failed and are left alone.
    """

    def __init__(self, writers: Sequence[OpenAIWriter], *, clock: Callable[[], float] = time.monotonic) -> None:
        self.model = writers[0].model
        self.identity = identity_of("pool", model=self.model, replicas=sorted(writer.identity for writer in writers))
        self.replicas = [Replica(writer) for writer in writers]
        self._clock = clock

    async def write(
        self, messages: Sequence[Message], sampling: Sampling, *, outside_thoughts: bool = False
    ) -> Written:
        tried: list[Replica] = []
        failure: EngineError | None = None
        spent = Usage()
        while (replica := await self._choose(tried)) is not None:
            tried.append(replica)
            try:
                written = await self._ask(replica, messages, sampling, outside_thoughts)
            except EngineError as error:
                spent += error.usage
                failure = error
                if error.kind not in OF_THE_REPLICA:
                    break
            else:
                return Written(written.text, written.usage + spent, written.truncated) if spent != Usage() else written
        if failure is None:
            down = min(self.replicas, key=lambda replica: replica.down_until)
            failure = EngineError("connection", f"no replica of {self.model} answers; the last one: {down.last}")
        failure.usage = spent
        raise failure

    async def _ask(
        self, replica: Replica, messages: Sequence[Message], sampling: Sampling, outside_thoughts: bool
    ) -> Written:
        replica.waiting += 1
        started = self._clock()
        try:
            written = await replica.writer.write(messages, sampling, outside_thoughts=outside_thoughts)
        except EngineError as error:
            replica.usage += error.usage
            if error.kind in OF_THE_REPLICA:
                replica.lost += 1
                self._lost(replica, error)
            raise
        finally:
            replica.waiting -= 1
            replica.seconds += self._clock() - started
        replica.replies += 1
        replica.usage += written.usage
        replica.in_a_row = 0
        return written

    async def _choose(self, tried: Sequence[Replica]) -> Replica | None:
        """The least busy replica that has not been tried; one whose pause is over is looked at first."""
        for replica in self.replicas:
            if replica.down and replica not in tried and self._clock() >= replica.down_until:
                await self._look(replica)
        able = [replica for replica in self.replicas if not replica.down and replica not in tried]
        return min(able, key=lambda replica: (replica.waiting, replica.replies), default=None)

    async def _look(self, replica: Replica) -> None:
        replica.down_until = self._clock() + _PAUSES.pause(replica.in_a_row + 1)  # nobody else looks meanwhile
        try:
            await replica.writer.look()
        except EngineError as error:
            self._lost(replica, error)
        else:
            replica.in_a_row = 0
            log.warning("%s answers again", replica.writer.address)

    def _lost(self, replica: Replica, error: EngineError) -> None:
        replica.in_a_row += 1
        replica.last = " ".join(str(error).split())
        pause = _PAUSES.pause(replica.in_a_row)
        replica.down_until = self._clock() + pause
        if replica.in_a_row == 1:
            others = sum(not other.down for other in self.replicas)
            log.warning("%s; %d of %d replicas are left", replica.last, others, len(self.replicas))

    async def aclose(self) -> None:
        """Close all connections; tell what each replica did, as a warning where requests were lost."""
        for replica in self.replicas:
            if replica.replies or replica.lost:
                log.log(logging.WARNING if replica.lost else logging.INFO, "%s", replica.line())
            await replica.writer.aclose()
