"""Ask a judge: retries, room for thoughts, cost counting.

asker = Asker(writer)
text = await asker.ask(messages, seed=7, read=parse_verdict)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from zerosearch.episodes.generation import Sampling
from zerosearch.episodes.protocol import Message
from zerosearch.episodes.replies import thinking
from zerosearch.models.chat import ChatModel, Written
from zerosearch.models.completions import EmptyReply
from zerosearch.models.retry import PATIENT, Retry, with_retry

MAX_TOKENS = 256
"""Room for a word, or a few, and a short thought before."""
ROOM_TO_THINK = 8192
"""Given to a model that was stopped before it had answered."""
_TRIES = 3
"""So often room is given to what shows no sign of a thought: one that the template opened shows none."""


class Asker:
    """Asks `writer`. A reply that the limit ended before `read` found something in it is asked for again with room;
    once that has helped, all that is asked later has it from the start."""

    def __init__(self, writer: ChatModel, retry: Retry = PATIENT) -> None:
        self._writer, self._retry = writer, retry
        self._room = MAX_TOKENS
        self._in_vain = 0

    async def ask(
        self, messages: Sequence[Message], *, seed: int, read: Callable[[str], object], heat: float = 0.0
    ) -> str:
        """The reply, thoughts and all. Raises `EngineError` once the attempts or the deadline are used up."""
        written = await self._write(messages, self._room, seed, heat)
        thought = not written.text.strip() or thinking(written.text)
        if not written.truncated or read(written.text) or self._room >= ROOM_TO_THINK:
            return written.text
        if not thought and self._in_vain >= _TRIES:
            return written.text  # it is prose, and would go on
        text = (await self._write(messages, ROOM_TO_THINK, seed, heat)).text
        if read(text):
            self._room = ROOM_TO_THINK
        else:
            self._in_vain += 1
        return text

    async def _write(self, messages: Sequence[Message], room: int, seed: int, heat: float) -> Written:
        async def attempt(number: int) -> Written:
            try:
                return await self._writer.write(messages, Sampling(heat, max_tokens=room, seed=seed))
            except EmptyReply as error:
                if not error.truncated:
                    raise
                return Written("", truncated=True)

        return (await with_retry(attempt, self._retry))[0]
