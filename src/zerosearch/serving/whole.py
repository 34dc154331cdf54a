"""The whole server: search, episodes, MCP and OpenEnv in one application; or MCP alone on standard input and output."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from fastapi import FastAPI
from starlette.types import ASGIApp

from zerosearch.serving.app import Service, build_app
from zerosearch.serving.openenv import add_openenv
from zerosearch.serving.play import Table
from zerosearch.serving.sessions import Sessions
from zerosearch.serving.tool import SessionTool, mcp_routes, mcp_server


def whole_app(service: Service, table: Table, close: Callable[[], Awaitable[None]] | None = None) -> ASGIApp:
    """Everything that `zerosearch serve` offers over HTTP. `close` is awaited once the server has stopped."""
    sessions = Sessions(table, service.config.max_sessions, service.config.episode_seconds)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with mcp_routes(app, service, sessions):
            yield
        await sessions.aclose()
        if close is not None:
            await close()

    app, guarded = build_app(service, lifespan)
    service.metrics.sessions = sessions
    add_openenv(app, sessions, SessionTool(service, sessions).answer)
    return guarded


async def serve_stdio(service: Service) -> None:
    """MCP on standard input and output, until the input ends."""
    await mcp_server(service).run_stdio_async()
