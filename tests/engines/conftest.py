"""A real HTTP server on loopback that plays a script, for the tests of what talks to servers."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

import pytest

PAGE = "[1] Nepal: Kathmandu is the capital of Nepal.\n[2] Kathmandu: The city lies in a valley."


@dataclass
class Reply:
    """One answer of the server. `hold`: wait with it until the server is released."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    hold: bool = False


def completion(text: Any, *, finish_reason: str = "stop", usage: Any = None) -> bytes:
    answer = {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}]}
    return json.dumps(answer | ({"usage": usage} if usage is not None else {})).encode()


class Endpoint:
    """Answers the script's replies one after the other, the last for ever, and keeps the requests it got."""

    def __init__(self) -> None:
        self.script: list[Reply] = []
        self.answer: Callable[[dict[str, Any]], Reply] | None = None
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.released = threading.Event()
        self._lock = threading.Lock()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else each answer waits 40 ms for the client's ACK of its head

            def do_POST(self) -> None:
                reply = endpoint._next(self)
                if reply.hold:
                    endpoint.released.wait()
                try:
                    self.send_response(reply.status)
                    for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(reply.body)
                except OSError:
                    pass  # the client has gone: that is what some tests are about

            do_GET = do_POST

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 128  # as many clients come at once

            def handle_error(self, request: Any, client_address: Any) -> None:
                if not isinstance(sys.exc_info()[1], ConnectionError):  # a client may go when it likes
                    super().handle_error(request, client_address)

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def says(self, *texts: Any, **how: Any) -> None:
        """Answer chats with `texts`, one after the other; see `completion`."""
        self.script = [Reply(body=completion(text, **how)) for text in texts]

    def _next(self, handler: BaseHTTPRequestHandler) -> Reply:
        path, _, query = handler.path.partition("?")
        if handler.command == "GET":
            request: dict[str, Any] = dict(parse_qsl(query))
        else:
            request = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self._lock:
            self.requests.append(request)
            self.headers.append({name.lower(): value for name, value in handler.headers.items()})
            self.paths.append(path)
            if self.answer is None:
                return self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return self.answer(request)

    def stop(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    server = Endpoint()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def reply() -> type[Reply]:
    return Reply


@pytest.fixture
def complete() -> Callable[..., bytes]:
    return completion


@pytest.fixture
def service(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> Any:
    from engines.services import Service

    return Service(endpoint, monkeypatch)
