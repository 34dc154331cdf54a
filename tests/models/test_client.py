"""The JSON client itself: connections and event loops, bodies without end, and keys in addresses."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

import pytest

from zerosearch.errors import ConfigError
from zerosearch.models.client import MAX_BODY_BYTES, JsonClient, PerLoop, StatusError, error_message, key_from
from zerosearch.models.retry import AttemptError

KEY = "a key?".replace(" ", "+") + "/0123456789"
REFUSED, RETRIED = (302, 400, 401, 403, 404), (408, 429, 500, 503)
NO_JSON = (b'{"choices": [{"mess', b"<html>busy</html>", b"\xff\xfe\x00", b"[" * 100_000, b"")


async def get_and_close(client: JsonClient, **parameters: str) -> Any:
    try:
        return await client.get(parameters)
    finally:
        await client.aclose()


def failure(client: JsonClient, **parameters: str) -> AttemptError:
    """How the client fails: with one short line that names the address."""
    with pytest.raises(AttemptError) as caught:
        asyncio.run(get_and_close(client, **parameters))
    assert str(caught.value).startswith(client.url)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    return caught.value


def test_get_and_post_send_what_they_are_given(endpoint: Any, reply: Any) -> None:
    async def main() -> list[Any]:
        client = JsonClient(endpoint.url, headers={"X-Mine": "yes"})
        answers = [await client.get({"q": "a b&c=d"}), await client.post({"q": ["é"]})]
        await client.aclose()
        return answers

    endpoint.script = [reply(body=b"[1]"), reply(body=b'{"a": null}')]
    assert asyncio.run(main()) == [[1], {"a": None}]
    assert endpoint.requests == [{"q": "a b&c=d"}, {"q": ["é"]}]
    assert [h["x-mine"] for h in endpoint.headers] == ["yes", "yes"]
    assert endpoint.headers[1]["content-type"] == "application/json"


WORDS = b'{"error": {"message": "because\\nof this"}}'


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        *(({"status": status, "body": WORDS}, "refused", f"HTTP {status}: because of this") for status in REFUSED),
        *(({"status": status, "body": WORDS}, "http", f"HTTP {status}: because of this") for status in RETRIED),
        ({"status": 307, "headers": {"Location": "/elsewhere"}}, "refused", "it leads to /elsewhere, not followed"),
        *(({"body": body}, "malformed", "the answer is not JSON") for body in NO_JSON),
        ({"body": b"{", "headers": {"Content-Length": "100", "Connection": "close"}}, "connection", ""),
        ({"hold": True}, "deadline", "silent for 0.05 s"),
    ],
)
def test_what_a_server_does_wrong_has_a_kind_and_is_asked_once(
    endpoint: Any, reply: Any, answer: Any, kind: str, said: str
) -> None:
    endpoint.script = [reply(**answer)]
    error = failure(JsonClient(endpoint.url, timeout_seconds=0.05 if "hold" in answer else 30.0))
    assert (error.kind, len(endpoint.requests)) == (kind, 1)
    assert said in str(error)


def test_the_pause_that_a_server_asks_for_is_handed_on(endpoint: Any, reply: Any) -> None:
    endpoint.script = [reply(429, b"slow down", {"Retry-After": "3"})]
    error = failure(JsonClient(endpoint.url))
    assert (error.retry_after, str(error).rpartition("/v1: ")[2]) == (3.0, "HTTP 429: slow down")


def test_a_server_that_is_down_and_an_address_too_long_are_connection_errors() -> None:
    with socket.socket() as held:  # bound and not listening: nobody else can take the port meanwhile
        held.bind(("127.0.0.1", 0))
        assert failure(JsonClient(f"http://127.0.0.1:{held.getsockname()[1]}/v1")).kind == "connection"
    assert failure(JsonClient("http://127.0.0.1:9/"), q="x" * 100_000).kind == "connection"


def test_a_key_in_the_address_is_in_no_log_and_no_error(
    endpoint: Any, reply: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("MY_KEY", f"{KEY}\n")
    assert key_from("MY_KEY") == KEY
    client = JsonClient(endpoint.url)
    endpoint.script = [reply(body=b"{}"), reply(400, f"no: {KEY}".encode(), {"X-Echo": KEY})]
    asyncio.run(get_and_close(client, api_key=KEY))
    with pytest.raises(StatusError) as caught:
        asyncio.run(get_and_close(client, api_key=KEY))
    assert endpoint.requests[0] == {"api_key": KEY}
    assert caught.value.detail == "no: [key]"
    assert "api_key=[key]" in caplog.text
    assert "0123456789" not in caplog.text + str(caught.value) + repr(client)


def test_a_placeholder_for_a_key_is_not_cut_out_of_other_logs(
    endpoint: Any, reply: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    endpoint.script = [reply(body=b"{}")]
    monkeypatch.setenv("MY_KEY", "T")
    asyncio.run(get_and_close(JsonClient(endpoint.url, headers={"X-API-KEY": key_from("MY_KEY")})))
    assert "HTTP Request: GET" in caplog.text


def test_closing_closes_the_connection_in_the_loop_that_opened_it() -> None:
    async def main() -> None:
        ended = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            assert await reader.read() == b""  # the end: not before the client closes
            ended.set()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        client = JsonClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        assert await client.get({}) == {}
        assert not ended.is_set()
        await client.aclose()
        await asyncio.wait_for(ended.wait(), 30)
        await client.aclose()  # nothing is open: nothing happens
        server.close()

    asyncio.run(main())


def test_a_body_without_end_is_left_after_four_mebibytes() -> None:
    sent = 0

    async def main() -> AttemptError:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
            try:
                while True:
                    writer.write(b" " * 65536)
                    sent += 65536
                    await writer.drain()
            except OSError:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        client = JsonClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        with pytest.raises(AttemptError) as caught:
            await get_and_close(client)
        server.close()
        return caught.value

    error = asyncio.run(main())
    assert error.kind == "malformed"
    assert MAX_BODY_BYTES < sent < 16 * MAX_BODY_BYTES  # what lies in the buffers of the sockets has been sent too


def test_each_loop_has_its_own_object() -> None:
    made: list[object] = []

    def make() -> object:
        made.append(object())
        return made[-1]

    held = PerLoop(make)

    async def twice() -> None:
        assert held.get() is held.get() is made[-1]

    async def take() -> object:
        return held.take()

    asyncio.run(twice())
    asyncio.run(twice())
    assert len(made) == 2
    assert asyncio.run(take()) is None  # it belongs to a loop that has ended
    asyncio.run(twice())
    assert len(made) == 3


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"error": {"message": "a\nb", "code": 3}}, "a b"),
        ({"error": "text", "message": "other"}, "text"),
        ({"message": "Unauthorized.", "statusCode": 403}, "Unauthorized."),
        ({"detail": [{"loc": ["q"]}]}, '[{"loc": ["q"]}]'),
        ({"error": {"code": 3}}, '{"error": {"code": 3}}'),
        ({"error": {"message": None}}, "null"),
        (["x"], '["x"]'),
        ({"error": "x" * 900}, "x" * 200),
        ({"error": "\ud800"}, "?"),
        (float("nan"), "NaN"),
    ],
)
def test_what_a_server_says_went_wrong_is_one_short_line(answer: Any, said: str) -> None:
    assert error_message(answer) == said


@pytest.mark.parametrize(
    ("value", "said"), [(None, "is not set"), ("", "is not set"), ("  ", "is not set"), (f"{KEY} é", "odd characters")]
)
def test_a_key_that_cannot_be_used_is_said_without_showing_it(
    monkeypatch: pytest.MonkeyPatch, value: str | None, said: str
) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("MY_KEY", value)
    with pytest.raises(ConfigError, match=f"MY_KEY .*{said}") as caught:
        key_from("MY_KEY")
    assert KEY not in str(caught.value)
    assert key_from(None) == ""
