"""OpenEnv's routes: whole episodes over HTTP and WebSocket, as its clients speak them.

`scripts/openenv_client.py` runs OpenEnv's own client against a server (docs/serve.md).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from fakes import FakeChat, FakeEngine
from serving.conftest import service_of, whole_of
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from zerosearch.engines.bm25 import BM25Engine
from zerosearch.episodes.search import Document
from zerosearch.errors import EngineError
from zerosearch.simulator.engine import SimulatedEngine

THOUGHT = "<think>So.</think>"


@contextmanager
def socket(url: str, path: str = "/ws", **options: Any) -> Iterator[ClientConnection]:
    with connect(url.replace("http", "ws") + path, proxy=None, **options) as connection:
        yield connection


def say(connection: ClientConnection, kind: str, **data: Any) -> dict[str, Any]:
    connection.send(json.dumps({"type": kind, "data": data} if data or kind == "reset" else {"type": kind}))
    return dict(json.loads(connection.recv(10)))


def test_an_episode_over_a_websocket_is_ours_from_prompt_to_reward(bm25: BM25Engine) -> None:
    with whole_of(service_of(bm25)) as url, socket(url) as ws:
        first = say(ws, "reset", index=0)["data"]
        assert "Question: Capital of Nepal?" in first["observation"]["text"]
        assert (first["done"], first["reward"]) == (False, None)
        page = say(ws, "step", text=f"{THOUGHT}<search> capital of nepal </search> and more")["data"]
        assert "<information>\n[1] Nepal: Kathmandu is the capital of Nepal." in page["observation"]["text"]
        assert not page["done"]
        last = say(ws, "step", text=f"{THOUGHT}<answer> Kathmandu </answer>")["data"]
        assert (last["done"], last["reward"], last["observation"]["answer"]) == (True, 1.0, "Kathmandu")
        assert last["observation"]["scores"]["em"] == 1.0
        assert say(ws, "state")["data"]["step_count"] == 2
        over = say(ws, "step", text="more")
        assert (over["type"], over["data"]["code"]) == ("error", "EXECUTION_ERROR")
        again = say(ws, "reset", index=1)["data"]  # the socket goes on
        assert "Capital of Peru?" in again["observation"]["text"]
        wrong = say(ws, "step", text=f"{THOUGHT}<answer>Cusco</answer>")["data"]
        assert (wrong["done"], wrong["reward"]) == (True, 0.0)


def test_noise_follows_the_curriculum_and_the_simulator_knows_the_answer() -> None:
    chat = FakeChat("[1] Nepal: Kathmandu.")
    service = service_of(SimulatedEngine(chat), simulated=True)
    curriculum = {"kind": "linear", "start": 0.0, "end": 1.0}
    with whole_of(service, curriculum=curriculum) as url, socket(url) as ws:
        assert say(ws, "reset", index=0, step=0)["data"]["metadata"]["noise"] == 0.0
        assert say(ws, "reset", index=0, step=5)["data"]["metadata"]["noise"] == 0.5
        assert say(ws, "reset", index=0, noise=0.25)["data"]["metadata"]["noise"] == 0.25
        say(ws, "reset", index=0, noise=0.0)
        say(ws, "step", text=f"{THOUGHT}<search>capital</search>")
    assert "Kathmandu" in chat.calls[0].whole


def test_over_http_an_episode_goes_on_under_its_id(bm25: BM25Engine) -> None:
    with whole_of(service_of(bm25)) as url, httpx.Client(base_url=url, trust_env=False) as client:
        name = client.post("/reset", json={"seed": 1, "episode_id": "mine"}).json()["metadata"]["episode_id"]
        assert name == "mine"
        action = {"text": f"{THOUGHT}<search>capital</search>"}
        page = client.post("/step", json={"action": action, "episode_id": name, "timeout_s": 30, "request_id": "r"})
        assert "<information>" in page.json()["observation"]["text"]
        assert client.get("/state", params={"episode_id": name}).json()["step_count"] == 1
        assert client.post("/step", json={"action": action}).status_code == 422
        assert client.post("/step", json={"action": action, "episode_id": "none"}).status_code == 404
        assert client.post("/step", json={"action": {"no": 1}, "episode_id": name}).status_code == 422
        assert client.post("/reset", json={"index": 99}).status_code == 422
        assert set(client.get("/schema").json()) == {"action", "observation", "state"}
        assert client.get("/metadata").json()["name"] == "zerosearch"
        assert client.get("/health").json()["status"] == "healthy"


def test_a_failed_search_is_an_error_and_not_a_reward() -> None:
    engine = FakeEngine(EngineError("connection", "the engine is down"))
    with whole_of(service_of(engine)) as url, socket(url) as ws:
        say(ws, "reset", index=0)
        failed = say(ws, "step", text=f"{THOUGHT}<search>capital</search>")
        assert (failed["type"], failed["data"]["code"], failed["data"]["kind"]) == (
            "error", "EXECUTION_ERROR", "connection",
        )  # fmt: skip
        assert "the engine is down" in failed["data"]["message"]
        assert say(ws, "reset", index=0)["type"] == "observation"


def test_bad_messages_and_lost_sockets_end_no_server(bm25: BM25Engine) -> None:
    service = service_of(bm25, max_body_kb=4, max_sessions=2)
    with whole_of(service) as url:
        with socket(url) as ws:
            for raw, code in (
                ("{", "INVALID_JSON"), ("[]", "VALIDATION_ERROR"), ('{"type": "nope"}', "UNKNOWN_TYPE"),
                ('{"type": "step", "data": {"text": 3}}', "VALIDATION_ERROR"),
                ('{"type": "reset", "data": {"noise": 7}}', "VALIDATION_ERROR"),
                ('{"type": "step", "data": {"text": "x"}}', "EXECUTION_ERROR"),
            ):  # fmt: skip
                ws.send(raw)
                assert json.loads(ws.recv(10))["data"]["code"] == code, raw
            ws.send("x" * 10_000)
            with pytest.raises(ConnectionClosed):
                ws.recv(10)
        for _ in range(6):  # each leaves in the middle of an episode, and its place is free again
            with socket(url) as ws:
                say(ws, "reset", index=0)
        with socket(url) as one, socket(url) as two, socket(url) as three:
            assert say(one, "reset", index=0)["type"] == say(two, "reset", index=0)["type"] == "observation"
            assert json.loads(three.recv(10))["data"]["code"] == "CAPACITY_REACHED"


def test_a_websocket_needs_the_key_too(bm25: BM25Engine) -> None:
    from websockets.exceptions import InvalidStatus

    with whole_of(service_of(bm25, key="only-those-who-know-it")) as url:
        with pytest.raises(InvalidStatus) as refused, socket(url):
            pass
        assert refused.value.response.status_code in (401, 403)
        with socket(url, additional_headers={"Authorization": "Bearer only-those-who-know-it"}) as ws:
            assert say(ws, "reset", index=0)["type"] == "observation"


def test_openenvs_mcp_clients_search_for_the_question_of_their_session() -> None:
    engine = FakeEngine([Document("Nepal", "Kathmandu.")])
    with whole_of(service_of(engine, simulated=True)) as url, httpx.Client(base_url=url, trust_env=False) as client:

        def rpc(method: str, **params: Any) -> dict[str, Any]:
            call = {"jsonrpc": "2.0", "method": method, "params": params, "id": 1}
            return dict(client.post("/mcp", json=call).json())

        session = rpc("openenv/session/create")["result"]["session_id"]
        assert rpc("tools/list", session_id=session)["result"]["tools"][0]["name"] == "search"
        with socket(url, f"/ws?session_id={session}") as ws:
            say(ws, "reset", index=0)
        call = {"name": "search", "arguments": {"query": "capital"}, "session_id": session}
        assert rpc("tools/call", **call)["result"]["data"] == "[1] Nepal: Kathmandu."
        assert engine.requests[0].question is not None
        assert "error" in rpc("tools/call", **{**call, "name": "other"})
        assert "error" in rpc("tools/call", **{**call, "session_id": "none"})
        rpc("openenv/session/close", session_id=session)
        assert "error" in rpc("tools/call", **call)
