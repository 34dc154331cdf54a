"""The JSON client itself: connections and event loops, bodies without end, and keys in addresses."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from zerosearch.errors import ConfigError
from zerosearch.models.client import MAX_BODY_BYTES, JsonClient, PerLoop, StatusError, error_message, key_from
from zerosearch.models.retry import AttemptError

KEY = "a key?".replace(" ", "+") + "/0123456789"


async def get_and_close(client: JsonClient, **parameters: str) -> Any:
    try:
        return await client.get(parameters)
    finally:
        await client.aclose()


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


def test_a_redirect_is_not_followed(endpoint: Any, reply: Any) -> None:
    endpoint.script = [reply(307, b"", {"Location": f"{endpoint.url}/elsewhere"})]
    with pytest.raises(StatusError) as caught:
        asyncio.run(get_and_close(JsonClient(endpoint.url)))
    assert (caught.value.status, caught.value.kind, len(endpoint.requests)) == (307, "refused", 1)


def test_silence_is_a_kind_of_its_own(endpoint: Any, reply: Any) -> None:
    endpoint.script = [reply(hold=True)]
    with pytest.raises(AttemptError, match=r"silent for 0\.05 s") as caught:
        asyncio.run(get_and_close(JsonClient(endpoint.url, timeout_seconds=0.05)))
    assert caught.value.kind == "deadline"


def test_a_key_in_the_address_is_in_no_log_and_no_error(
    endpoint: Any, reply: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client = JsonClient(endpoint.url, key=KEY)
    endpoint.script = [reply(body=b"{}"), reply(400, f"no: {KEY}".encode(), {"X-Echo": KEY})]
    asyncio.run(get_and_close(client, api_key=KEY))
    with pytest.raises(StatusError) as caught:
        asyncio.run(get_and_close(client, api_key=KEY))
    assert endpoint.requests[0] == {"api_key": KEY}
    assert caught.value.detail == "no: [key]"
    assert "api_key=[key]" in caplog.text
    assert "0123456789" not in caplog.text + str(caught.value) + repr(client)


def test_a_placeholder_for_a_key_is_not_cut_out_of_other_logs(
    endpoint: Any, reply: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    endpoint.script = [reply(body=b"{}")]
    asyncio.run(get_and_close(JsonClient(endpoint.url, key="T")))
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


def test_an_address_too_long_is_a_typed_error() -> None:
    with pytest.raises(AttemptError) as caught:
        asyncio.run(get_and_close(JsonClient("http://127.0.0.1:9/"), q="x" * 100_000))
    assert caught.value.kind == "connection"


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


def test_a_key_of_spaces_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "  ")
    with pytest.raises(ConfigError, match="MY_KEY is not set"):
        key_from("MY_KEY")
    assert key_from(None) == ""
