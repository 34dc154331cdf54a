"""The tool `search`, called by the official MCP client over HTTP and over standard streams."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from fakes import FakeChat, FakeEngine
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from serving.conftest import PASSAGES, service_of, whole_of

from zerosearch.engines.bm25 import BM25Engine
from zerosearch.errors import EngineError
from zerosearch.simulator.engine import SimulatedEngine

KEY = "only-those-who-know-it"


def asked(url: str, *calls: dict[str, Any], key: str = "") -> tuple[list[Any], list[Any]]:
    """The tools, and what came of the calls."""

    async def go() -> tuple[list[Any], list[Any]]:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with (
            httpx2.AsyncClient(headers=headers, trust_env=False) as http,
            Client(streamable_http_client(url, http_client=http)) as client,
        ):
            tools = (await client.list_tools()).tools
            return tools, [await client.call_tool("search", call) for call in calls]

    return asyncio.run(go())


def test_the_official_client_finds_and_calls_the_tool_over_http(bm25: BM25Engine) -> None:
    with whole_of(service_of(bm25, key=KEY)) as url:
        tools, [page, trap] = asked(f"{url}/mcp", {"query": "capital of nepal", "top_k": 1}, {"query": "trap"}, key=KEY)
        assert httpx.post(f"{url}/mcp", json={}, trust_env=False).status_code == 401
    assert [tool.name for tool in tools] == ["search"]
    assert set(tools[0].input_schema["properties"]) == {"query", "top_k"}
    assert page.content[0].text == "[1] Nepal: Kathmandu is the capital of Nepal."
    assert not page.is_error
    assert "<script>alert(1)</script>" in trap.content[0].text  # data, to whoever reads it
    assert "\x1b" not in trap.content[0].text


def test_a_failed_search_is_a_tool_error_and_no_page() -> None:
    with whole_of(service_of(FakeEngine(EngineError("connection", "the engine is down")))) as url:
        _, [failed, far] = asked(f"{url}/mcp", {"query": "q"}, {"query": "q", "top_k": 1000})
    assert failed.is_error
    assert "the engine is down" in failed.content[0].text
    assert far.is_error
    assert "topk" in far.content[0].text


def test_an_episode_named_in_the_address_tells_the_simulator_its_question() -> None:
    chat = FakeChat("[1] Nepal: Kathmandu.")
    with whole_of(service_of(SimulatedEngine(chat), simulated=True)) as url:
        opened = httpx.post(
            f"{url}/episodes", json={"question": "Capital?", "golden_answers": ["Kathmandu"]}, trust_env=False
        ).json()
        asked(f"{url}/mcp?episode={opened['id']}", {"query": "capital"})
        asked(f"{url}/mcp", {"query": "capital"})
        _, [gone] = asked(f"{url}/mcp?episode=none", {"query": "capital"})
    assert ["Kathmandu" in call.whole for call in chat.calls] == [True, False]
    assert gone.is_error


def test_the_official_client_starts_the_server_and_calls_the_tool_over_standard_streams(tmp_path: Path) -> None:
    from engines.passages import write_corpus

    corpus = write_corpus(tmp_path / "corpus.jsonl", PASSAGES)
    config = tmp_path / "served.toml"
    config.write_text(f'[engine]\nkind = "bm25"\n[engine.bm25]\ncorpus = "{corpus}"\n')
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "zerosearch", "serve", str(config), "--stdio"],
        env={**os.environ, "ZEROSEARCH_CACHE": str(tmp_path / "cache")},
    )

    async def go() -> str:
        async with Client(stdio_client(command)) as client:
            return str((await client.call_tool("search", {"query": "lima"})).content[0].text)

    assert asyncio.run(go()) == "[1] Peru: Lima is the capital of Peru."


def test_an_object_that_is_no_request_gets_a_json_rpc_error_as_openenvs_validator_wants(bm25: BM25Engine) -> None:
    with whole_of(service_of(bm25)) as url:
        answer = httpx.post(f"{url}/mcp", json={}, trust_env=False)
    assert (answer.status_code, answer.json()["jsonrpc"], answer.json()["error"]["code"]) == (200, "2.0", -32600)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"method": 3}', b'"x"', b'{"jsonrpc":"2.0","method":"tools/list"}']
)
def test_messages_that_are_none_end_nothing(bm25: BM25Engine, body: bytes) -> None:
    with whole_of(service_of(bm25)) as url, httpx.Client(base_url=url, trust_env=False) as client:
        answer = client.post("/mcp", content=body, headers={"Content-Type": "application/json"})
        assert 400 <= answer.status_code < 500 or answer.status_code == 202, answer.text
        assert client.get("/health").status_code == 200
