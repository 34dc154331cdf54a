"""The engine as the tool `search` of the Model Context Protocol: HTTP at `/mcp`, or standard streams.

`/mcp?episode=<id>` searches for the question of an episode. OpenEnv's clients send bare JSON-RPC to the same path, with
the id of a session: they are answered too, and search for the question of their session.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from zerosearch.episodes.protocol import one_line
from zerosearch.serving.app import Service
from zerosearch.serving.episodes import OpenEpisode
from zerosearch.serving.faults import Fault, Json
from zerosearch.serving.guard import replay
from zerosearch.serving.play import Session
from zerosearch.serving.sessions import Sessions
from zerosearch.serving.shapes import NOTES, page_text
from zerosearch.version import __version__

DESCRIPTION = "Search. Returns the best documents for a query, one a line: [rank] title: text."
"""What a model is told of the tool."""
SCHEMA = {
    "type": "object",
    "properties": {"query": {"type": "string"}, "top_k": {"type": ["integer", "null"], "default": None}},
    "required": ["query"],
}
_NO_REQUEST, _NO_METHOD, _BAD_PARAMS, _FAILED = -32600, -32601, -32602, -32000
"""JSON-RPC's codes; the last is OpenEnv's for a server's own failure."""


def mcp_server(service: Service) -> MCPServer[Any]:
    """The MCP server with its one tool. A search that fails is a tool error, never an empty page."""
    knowing = service.searching.knowing(None)
    server = MCPServer("zerosearch", instructions=f"{service.searching.name}: {NOTES[knowing]}", version=__version__)

    async def search(query: str, ctx: Context, top_k: int | None = None) -> str:
        asked = getattr(ctx.request_context.request, "query_params", {})
        try:
            episode = service.episodes.get(asked["episode"]) if "episode" in asked else None
            return await found(service, query, top_k, episode)
        except Fault as fault:
            raise ToolError(str(fault)) from None

    server.add_tool(search, name="search", description=DESCRIPTION, structured_output=False)
    return server


async def found(service: Service, query: str, top_k: int | None, episode: OpenEpisode | None) -> str:
    """The page for `query` as text. Raises `Fault`."""
    return page_text(await service.page(one_line(query), top_k, episode))


class SessionTool:
    """JSON-RPC as OpenEnv's MCP clients send it: sessions are made and ended, and search for their question."""

    def __init__(self, service: Service, sessions: Sessions) -> None:
        self._service, self._sessions = service, sessions

    def concerns(self, message: Any) -> bool:
        """Whether a message is of OpenEnv's kind, and not of the MCP SDK's."""
        if not isinstance(message, dict):
            return False
        if not {"method", "result", "error"} & message.keys():  # neither a request nor an answer to one
            return True
        params = message.get("params")
        return str(message.get("method", "")).startswith("openenv/") or (
            isinstance(params, dict) and isinstance(params.get("session_id"), str)
        )

    async def answer(self, message: dict[str, Any], session: Session | None = None) -> dict[str, Any]:
        """The JSON-RPC answer; `session` None: the one that `params.session_id` names."""
        head = {"jsonrpc": "2.0", "id": message.get("id")}
        params = message.get("params") or {}
        if not isinstance(message.get("method"), str):
            return head | {"error": {"code": _NO_REQUEST, "message": "not a JSON-RPC request: it has no method"}}
        try:
            return head | {"result": await self._result(message["method"], params, session)}
        except Fault as fault:
            code = {404: _BAD_PARAMS, 422: _BAD_PARAMS, 501: _NO_METHOD}.get(fault.status, _FAILED)
            return head | {"error": {"code": code, "message": str(fault), "data": {"type": fault.kind}}}

    async def _result(self, method: str, params: Any, session: Session | None) -> dict[str, Any]:
        if not isinstance(params, dict):
            raise Fault(422, "invalid", "params is an object")
        name = str(params.get("session_id", ""))
        if method == "openenv/session/create":
            return {"session_id": (session or await self._sessions.open()).name}
        if method == "openenv/session/close":
            self._sessions.get(name)
            await self._sessions.close(name)
            return {"session_id": name, "closed": True}
        if method == "tools/list":
            return {"tools": [{"name": "search", "description": DESCRIPTION, "inputSchema": SCHEMA}]}
        if method != "tools/call":
            raise Fault(501, "method", f"no such method: {method[:50]}")
        session = session or self._sessions.get(name)
        given = params.get("arguments") or {}
        if params.get("name") != "search" or not isinstance(given, dict) or not isinstance(given.get("query"), str):
            raise Fault(422, "invalid", "the one tool is search(query, top_k)")
        top_k = given.get("top_k")
        if top_k is not None and type(top_k) is not int:
            raise Fault(422, "invalid", "top_k is a whole number")
        text = await found(self._service, given["query"], top_k, session.episode)
        return {"content": [{"type": "text", "text": text}], "data": text, "isError": False}


class McpDoor:
    """`/mcp`: OpenEnv's messages are answered here, all others go to the MCP SDK. The guard has read the whole body."""

    def __init__(self, sdk: ASGIApp, tool: SessionTool) -> None:
        self._sdk, self._tool = sdk, tool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            await self._sdk(scope, receive, send)
            return
        first = await receive()
        try:
            message = json.loads(first.get("body", b""))
        except ValueError:
            message = None
        if self._tool.concerns(message):
            await Json(await self._tool.answer(message))(scope, receive, send)
            return
        await self._sdk(scope, replay(first, receive), send)


@contextlib.asynccontextmanager
async def mcp_routes(app: FastAPI, service: Service, sessions: Sessions) -> AsyncIterator[None]:
    """`/mcp` on `app`, while the block runs."""
    sdk = mcp_server(service)
    inner = sdk.streamable_http_app(stateless_http=True, json_response=True, host=service.config.host)
    app.router.routes.append(Route("/mcp", McpDoor(inner, SessionTool(service, sessions))))
    async with sdk.session_manager.run():
        yield
