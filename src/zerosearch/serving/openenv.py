"""OpenEnv: `/reset`, `/step`, `/state`, `/schema`, `/metadata` and `/ws`, as its clients speak them.

Shapes: `openenv` 0.10.0, `openenv/core/env_server/types.py` and `http_server.py`. Where theirs makes an environment for
each HTTP request, here an episode goes on under its `episode_id`, so that `/step` after `/reset` works without a
WebSocket too.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request, WebSocket
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import Response
from starlette.websockets import WebSocketDisconnect

from zerosearch.episodes.scoring import Scores
from zerosearch.serving.faults import Fault, Json
from zerosearch.serving.play import MAX_TEXT, ResetData, Session
from zerosearch.serving.sessions import Sessions
from zerosearch.version import __version__

NAME = "zerosearch"
CODES = {422: "VALIDATION_ERROR", 503: "CAPACITY_REACHED", 404: "SESSION_ERROR"}
"""OpenEnv's words for a fault's status; any other is EXECUTION_ERROR."""

Call = Callable[[dict[str, Any], Session], Awaitable[dict[str, Any]]]


class SearchAction(BaseModel):
    """One turn of the policy, tags and all: `<think>...</think><search>...</search>` or `...<answer>...</answer>`."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(max_length=MAX_TEXT)
    finish_reason: str = Field("stop", max_length=50)
    """`length` where the turn was cut off."""
    metadata: dict[str, Any] = Field(default_factory=dict)


class SearchObservation(BaseModel):
    """What the policy sees next: the prompt, then pages and notes. At the end: answer, scores, why it ended."""

    text: str
    answer: str | None = None
    stop_reason: str | None = None
    scores: Scores | None = None
    done: bool = False
    reward: float | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class SearchState(BaseModel):
    model_config = ConfigDict(extra="allow")

    episode_id: str | None = None
    step_count: int = Field(0, ge=0)


class StepRequest(BaseModel):
    """`episode_id` is that of `/reset`'s `metadata`."""

    model_config = ConfigDict(extra="allow")

    action: SearchAction
    episode_id: str | None = Field(None, max_length=255)
    timeout_s: float | None = Field(None, gt=0)
    request_id: str | None = Field(None, max_length=255)


def add_openenv(app: FastAPI, sessions: Sessions, tool: Call) -> None:
    """OpenEnv's routes. `tool` answers a JSON-RPC request of a session (`tools/list`, `tools/call`)."""

    @app.post("/reset", tags=["OpenEnv"])
    async def reset(asked: ResetData) -> Response:
        """Begin an episode: a question of `data.train`, by `seed` or `index`, or one of your own."""
        session = await sessions.open(asked.episode_id)
        return Json(await session.reset(asked.model_dump(exclude_unset=True)))

    @app.post("/step", tags=["OpenEnv"])
    async def step(asked: StepRequest) -> Response:
        """The policy's next turn in the episode `episode_id`."""
        if asked.episode_id is None:
            raise Fault(422, "invalid", "episode_id is needed: it stands in the metadata of what /reset answers")
        session = sessions.get(asked.episode_id)
        return Json(await session.step(asked.action.text, asked.action.finish_reason))

    @app.get("/state", tags=["OpenEnv"])
    async def state(episode_id: str | None = None) -> Response:
        """The state of an episode; without an id that of none."""
        return Json({"episode_id": None, "step_count": 0} if episode_id is None else sessions.get(episode_id).state)

    @app.get("/schema", tags=["OpenEnv"])
    async def schema() -> Response:
        """JSON schemas of action, observation and state."""
        models = (("action", SearchAction), ("observation", SearchObservation), ("state", SearchState))
        return Json({name: model.model_json_schema() for name, model in models})

    @app.get("/metadata", tags=["OpenEnv"])
    async def metadata(request: Request) -> Response:
        """What this environment is."""
        said = (
            f"An agent answers a question with a search engine: {sessions.table.searching.name}. {SearchAction.__doc__}"
        )
        return Json({
            "name": NAME, "description": said, "readme_content": None, "version": __version__,
            "author": "The zerosearch authors", "documentation_url": f"{request.base_url}docs",
        })  # fmt: skip

    @app.websocket("/ws")
    async def socket(socket: WebSocket, session_id: str | None = None) -> None:
        await socket.accept()
        try:
            async with sessions.attached(session_id) as session:
                while (said := await _answer(session, await socket.receive_text(), tool)) is not None:
                    await socket.send_text(json.dumps(said))
        except WebSocketDisconnect:
            return
        except Fault as fault:
            await socket.send_text(json.dumps(_error(fault)))
        await socket.close()


async def _answer(session: Session, raw: str, tool: Call) -> dict[str, Any] | None:
    """What is said to one message of a WebSocket; None: the client wants to end. A bad message ends nothing."""
    try:
        message = json.loads(raw)
    except ValueError as error:
        return _wrong("INVALID_JSON", f"Invalid JSON: {error}")
    kind = message.get("type") if isinstance(message, dict) else None
    data = message.get("data", {}) if isinstance(message, dict) else None
    if not isinstance(data, dict):
        return _wrong("VALIDATION_ERROR", "data is an object")
    try:
        match kind:
            case "reset":
                return {"type": "observation", "data": await session.reset(data)}
            case "step":
                action = SearchAction.model_validate(data)
                return {"type": "observation", "data": await session.step(action.text, action.finish_reason)}
            case "state":
                return {"type": "state", "data": session.state}
            case "mcp":
                return {"type": "mcp", "data": await tool(data, session)}
            case "close":
                return None
        return _wrong("UNKNOWN_TYPE", f"Unknown message type: {str(kind)[:50]}")
    except ValidationError as error:
        told = error.errors(include_input=False, include_context=False, include_url=False)
        where = ".".join(str(part) for part in told[0]["loc"])
        return _wrong("VALIDATION_ERROR", f"{where}: {told[0]['msg']}")
    except Fault as fault:
        return _error(fault)


def _error(fault: Fault) -> dict[str, Any]:
    return _wrong(CODES.get(fault.status, "EXECUTION_ERROR"), str(fault), kind=fault.kind)


def _wrong(code: str, message: str, **more: Any) -> dict[str, Any]:
    return {"type": "error", "data": {"message": message[:1000], "code": code, **more}}
