"""Limits, keys and broken clients: the right status, nothing lost, and the server still serves."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from html import escape
from typing import Any

import pytest
from fakes import FakeEngine
from serving.conftest import client_of, service_of

from zerosearch.engines.bm25 import BM25Engine
from zerosearch.episodes.search import Document
from zerosearch.errors import ConfigError
from zerosearch.serving.config import check_reach
from zerosearch.serving.guard import Rate
from zerosearch.serving.logs import json_lines

KEY = "only-those-who-know-it"


def raw(client: Any, data: bytes, *, close: bool = False) -> bytes:
    """What the server says to these bytes."""
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=10) as connection:
        connection.sendall(data)
        if close:
            return b""
        connection.settimeout(10)
        said = b""
        while part := connection.recv(65536):
            said += part
            if b"\r\n\r\n" in said:
                break
        return said


def test_the_key_comes_as_bearer_or_parameter_and_health_needs_none(bm25: BM25Engine) -> None:
    asked = {"query": "capital"}
    with client_of(service_of(bm25, key=KEY)) as client:
        without = client.post("/retrieve", json=asked)
        wrong = client.post("/retrieve", json=asked, headers={"Authorization": f"Bearer {KEY}x"})
        assert (without.status_code, wrong.status_code) == (401, 401)
        assert without.headers["WWW-Authenticate"] == "Bearer"
        how = ": Authorization: Bearer KEY, or the parameter api_key=KEY"  # and not: api_key=[key]
        assert without.json()["error"]["message"] == "a key is needed" + how
        assert wrong.json()["error"]["message"] == "this is not the server's key" + how
        assert client.get("/search.json?" + "a=1&" * 101).status_code == 401
        assert client.get("/metrics").status_code == client.get("/docs").status_code == 401
        assert client.get("/nowhere").status_code == 401
        assert client.get("/health").status_code == 200
        assert client.post("/retrieve", json=asked, headers={"Authorization": f"Bearer {KEY}"}).status_code == 200
        assert client.post(f"/retrieve?api_key={KEY}", json=asked).status_code == 200


def test_a_body_of_another_content_type_is_told_which_header_it_needs(bm25: BM25Engine) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}  # what `curl -d` sends
    with client_of(service_of(bm25)) as client:
        refused = client.post("/retrieve", content=b'{"queries": ["capital"]}', headers=form)
        assert refused.status_code == 422
        assert "Content-Type: application/json" in refused.json()["error"]["message"]
        missing = client.post("/retrieve", json={"queries": 3})
        assert "Content-Type" not in missing.json()["error"]["message"]


def test_bodies_that_are_too_large_no_json_or_of_another_form_are_refused(bm25: BM25Engine) -> None:
    with client_of(service_of(bm25, max_body_kb=1, max_queries=2, max_query_chars=50, max_top_k=3)) as client:

        def status(**body: Any) -> int:
            return int(client.post("/retrieve", json=body).status_code)

        assert client.post("/retrieve", content=b"x" * 2000).status_code == 413
        assert client.post("/retrieve", content=iter([b"x" * 600] * 3)).status_code == 413  # its length is not said
        headers = {"Content-Type": "application/json"}
        for text in (b"{", b"", b"\xff\xfe", b"[1, 2"):
            assert client.post("/retrieve", content=text, headers=headers).status_code in (400, 422), text
        assert client.post("/retrieve", content=b'{"query": "half \\ud800"}', headers=headers).status_code == 200
        assert [status(), status(queries=[]), status(queries=["a"] * 3), status(query="a" * 51)] == [422] * 4
        assert [status(query="a", topk=topk) for topk in (0, -1, 4, "many")] == [422] * 4
        assert status(query="capital", topk=3) == 200


def test_paths_that_lead_elsewhere_lead_nowhere(bm25: BM25Engine) -> None:
    with client_of(service_of(bm25)) as client:
        for path in ("/../../etc/passwd", "/e/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/e//x"):
            said = raw(client, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert b" 404 " in said.splitlines()[0], path
        assert client.post("/e/%2e%2e%2fx/retrieve", json={"query": "a"}).status_code == 404
        assert client.get("/").json()["error"]["message"] == "Not Found; GET /docs lists what there is"
        assert client.get("/retrieve").status_code == 405


def test_the_page_of_paths_needs_no_internet(bm25: BM25Engine) -> None:
    with client_of(service_of(bm25)) as client:
        page = client.get("/docs")
        schema = client.get("/openapi.json").json()
        assert client.get("/redoc").status_code == 404
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "://" not in page.text
    for path, methods in schema["paths"].items():
        for method, said in methods.items():
            assert f"<code>{method.upper()} {path}</code><dd>{escape(said['description'])}" in page.text


def test_a_flood_of_headers_is_refused_and_the_server_still_serves(bm25: BM25Engine) -> None:
    with client_of(service_of(bm25)) as client:
        flood = b"".join(b"X-%d: %s\r\n" % (i, b"y" * 1000) for i in range(200))
        said = raw(client, b"GET /health HTTP/1.1\r\nHost: x\r\n" + flood + b"\r\n")
        assert b" 400 " in said.splitlines()[0] or b" 431 " in said.splitlines()[0]
        assert b" 400 " in raw(client, b"\x16\x03\x01 not http\r\n\r\n").splitlines()[0]
        assert client.get("/health").status_code == 200


def test_a_client_that_goes_away_takes_nothing_with_it(bm25: BM25Engine) -> None:
    service = service_of(bm25)
    with client_of(service) as client:
        begun = b"POST /retrieve HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"
        for _ in range(20):
            raw(client, begun, close=True)
        assert client.post("/retrieve", json={"query": "capital"}).status_code == 200
        _until(lambda: service.metrics.requests_under_way == 0)
        assert service.searching.outcomes == {"ok": 1}


def test_a_search_whose_client_left_is_finished_and_counted() -> None:
    began, go_on = threading.Event(), threading.Event()

    async def wait(request: object) -> list[Document]:
        began.set()
        while not go_on.is_set():
            await asyncio.sleep(0.005)
        return [Document("a", "b")]

    service = service_of(FakeEngine(wait))
    body = b'{"query": "q"}'
    head = (
        f"POST /retrieve HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with client_of(service) as client:
        connection = socket.create_connection((client.base_url.host, client.base_url.port))
        connection.sendall(head.encode() + body)
        assert began.wait(10)
        connection.close()
        go_on.set()
        _until(lambda: service.meter.used.queries == 1 and service.metrics.requests_under_way == 0)
    assert service.searching.outcomes == {"ok": 1}


def test_past_the_limit_of_requests_under_way_one_is_told_to_come_back() -> None:
    go_on = threading.Event()

    async def wait(request: object) -> list[Document]:
        while not go_on.is_set():
            await asyncio.sleep(0.005)
        return [Document("a", "b")]

    service = service_of(FakeEngine(wait), concurrency=2)
    with client_of(service) as client, ThreadPoolExecutor(2) as pool:
        busy = [pool.submit(client.post, "/retrieve", json={"query": str(i)}) for i in range(2)]
        _until(lambda: service.searching.under_way == 2)
        refused = client.post("/retrieve", json={"query": "q"})
        assert client.get("/health").status_code == 200
        go_on.set()
        assert [one.result().status_code for one in busy] == [200, 200]
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")


def test_a_client_past_its_rate_is_told_when_to_come_back(bm25: BM25Engine) -> None:
    now = 0.0
    rate = Rate(2.0, lambda: now)
    assert [rate.take("a") for _ in range(4)] == [0.0] * 4  # a burst of two seconds' worth
    assert rate.take("a") == pytest.approx(0.5)
    assert rate.take("b") == 0.0
    now = 0.5
    assert rate.take("a") == 0.0
    with client_of(service_of(bm25, requests_per_second=1)) as client:
        answers = [client.post("/retrieve", json={"query": "capital"}) for _ in range(5)]
    assert {answer.status_code for answer in answers} == {200, 429}
    assert int(answers[-1].headers["Retry-After"]) >= 1


def test_a_request_has_an_id_which_is_the_clients_where_it_is_a_plain_one(bm25: BM25Engine) -> None:
    with client_of(service_of(bm25)) as client:
        assert client.get("/health", headers={"X-Request-ID": "mine-7"}).headers["X-Request-ID"] == "mine-7"
        odd = client.get("/nowhere", headers={"X-Request-ID": "a b" + "c" * 100})
        assert odd.headers["X-Request-ID"] == odd.json()["request_id"] != ""
        assert " " not in odd.headers["X-Request-ID"]


def test_the_log_is_json_lines_without_key_or_query(bm25: BM25Engine, capsys: pytest.CaptureFixture[str]) -> None:
    with json_lines(), client_of(service_of(bm25, key=KEY)) as client:
        client.post(f"/retrieve?api_key={KEY}", json={"query": "my private words"})
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    [request] = [line for line in lines if line["message"] == "request"]
    assert (request["path"], request["status"], request["level"]) == ("/retrieve", 200, "info")
    assert KEY not in str(lines)
    assert "private" not in str(lines)
    assert not logging.getLogger("zerosearch").handlers or "JsonLines" not in str(
        logging.getLogger("zerosearch").handlers
    )


def test_beyond_this_machine_a_key_is_needed_or_an_open_word() -> None:
    for host in ("127.0.0.1", "::1", "localhost"):
        check_reach(host, key=False, open_=False)
    for host in ("0.0.0.0", "::", "192.168.1.5", "trainer.example"):
        check_reach(host, key=True, open_=False)
        check_reach(host, key=False, open_=True)
        with pytest.raises(ConfigError, match="--open"):
            check_reach(host, key=False, open_=False)


def _until(true: Any) -> None:
    """Wait for what the server does in its own thread."""
    for _ in range(2000):
        if true():
            return
        threading.Event().wait(0.005)
    raise AssertionError("it did not come true")
