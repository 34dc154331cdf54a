"""The sessions of OpenEnv's clients: one for each WebSocket or episode id, limited in number and time."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator

from zerosearch.serving.faults import Fault
from zerosearch.serving.play import Session, Table


class Sessions:
    """At most `limit` sessions. One that nobody has used for `seconds` makes room for the next."""

    def __init__(self, table: Table, limit: int, seconds: float) -> None:
        self.table, self.limit, self.seconds = table, limit, seconds
        self._open: dict[str, tuple[float, Session]] = {}
        self._held: set[str] = set()  # those of a WebSocket: they end with it

    def __len__(self) -> int:
        return len(self._open)

    async def open(self, name: str | None = None) -> Session:
        """A new session, or the one of this name. Raises `Fault` (503) where there are too many."""
        if name is not None and name in self._open:
            return self.get(name)
        oldest = time.monotonic() - self.seconds
        for known, (used, _) in list(self._open.items()):
            if used < oldest and known not in self._held:
                await self.close(known)
        if len(self._open) >= self.limit:
            raise Fault(503, "busy", f"{self.limit} sessions are open (serve.max_sessions)", retry_after=5)
        name = name or secrets.token_urlsafe(12)
        session = Session(self.table, name)
        self._open[name] = (time.monotonic(), session)
        return session

    def get(self, name: str) -> Session:
        """Raises `Fault` (404) where there is none of this name."""
        if name not in self._open:
            raise Fault(
                404, "no_episode", "no such session: it was never opened here, or it has ended; reset opens one"
            )
        session = self._open[name][1]
        self._open[name] = (time.monotonic(), session)
        return session

    async def close(self, name: str) -> None:
        """End the session; nothing where there is none."""
        _, session = self._open.pop(name, (0.0, None))
        if session is not None:
            await session.close()

    @contextlib.asynccontextmanager
    async def attached(self, name: str | None) -> AsyncIterator[Session]:
        """The session of a WebSocket: a new one, which ends with it, or the one named `name`, which does not.

        Raises `Fault` (404, 503).
        """
        session = await self.open() if name is None else self.get(name)
        self._held.add(session.name)
        try:
            yield session
        finally:
            self._held.discard(session.name)
            if name is None:
                await asyncio.shield(self.close(session.name))

    async def aclose(self) -> None:
        """End them all."""
        for name in list(self._open):
            await self.close(name)
