"""A server on loopback that fails in every way, by a seed: what a run behind a URL must live with."""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import zstandard

KEY = "sk-chaos-0f1e2d3c4b5a69788796a5b4c3d2e1f0/Zz+9"
ESCAPES = "\x1b]0;owned\x07\x1b[2J<script>alert(1)</script>"

Answer = Callable[[dict[str, Any]], str]

FINAL = ("400", "401", "404", "redirect")  # asking again is told the same
PASSING = (
    "500", "502", "503", "429", "429 odd", "closed", "half", "no json", "html", "wrong shape", "error in 200", "echo",
    "broken echo", "deep",
)  # fmt: skip
HARMLESS = ("giant usage", "usage list", "slow", "parts", "echo in text")


def chat(text: Any, **more: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}], **more}


class Chaos:
    """Answers with `answer(body)`, but a `share` of the requests with what stands in `ways`. Counts what it did."""

    def __init__(self, answer: Answer, *, ways: tuple[str, ...], share: float, seed: int) -> None:
        self.answer, self.ways, self.share = answer, ways, share
        self.did: Counter[str] = Counter()
        self._random, self._lock = random.Random(seed), threading.Lock()
        chaos = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with suppress(OSError):
                    chaos.respond(self, body, self.headers.get("Authorization", ""))

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 128
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                if not isinstance(sys.exc_info()[1], ConnectionError):
                    super().handle_error(request, client_address)

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def requests(self) -> int:
        return self.did.total()

    def respond(self, handler: Any, body: dict[str, Any], told: str) -> None:
        with self._lock:
            way = self._random.choice(self.ways) if self._random.random() < self.share else "right"
            self.did[way] += 1
        status, payload, headers = self._made(way, body, told)
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        if way == "closed":
            handler.close_connection = True
            handler.connection.close()
            return
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(data) + (50 if way == "half" else 0)))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        if way == "slow":
            for part in (data[:5], data[5:9], data[9:]):
                handler.wfile.write(part)
                time.sleep(0.002)
            return
        handler.wfile.write(data)
        if way == "half":
            handler.close_connection = True
            handler.connection.close()

    def _made(self, way: str, body: dict[str, Any], told: str) -> tuple[int, Any, dict[str, str]]:
        right = chat(self.answer(body), usage={"prompt_tokens": 10, "completion_tokens": 5})
        said = f"{ESCAPES} {told} is wrong"
        return {
            "400": (400, {"error": {"message": f"bad luck {said}"}}, {}),
            "401": (401, {"error": said}, {"WWW-Authenticate": told}),
            "404": (404, {"detail": [said]}, {}),
            "redirect": (307, b"", {"Location": f"http://user:{KEY}@127.0.0.1:9/?key={KEY}"}),
            "500": (500, said.encode(), {}),
            "502": (502, b"<html>" + said.encode(), {}),
            "503": (503, {}, {"Retry-After": "0.001"}),
            "429": (429, {"message": said}, {"Retry-After": "0"}),
            "429 odd": (429, {"message": said}, {"Retry-After": "Wed, 21 Oct 99999999999 07:28:00 GMT"}),
            "half": (200, right, {}),
            "no json": (200, b'{"choices": [{"message": {"conte', {}),
            "html": (200, b"<html>busy</html>", {}),
            "wrong shape": (200, self._random.choice([[], {}, None, 7, {"choices": {}}, chat(7), chat(None)]), {}),
            "error in 200": (200, {"error": {"message": said, "code": 502}}, {}),
            "echo": (500, {"error": {"message": "x" * 190 + told}}, {}),
            "broken echo": (500, {"error": " ".join(told) + told.replace("d", "d\n")}, {}),
            "deep": (200, b"[" * 200_000, {}),
            "giant usage": (200, right | {"usage": {"prompt_tokens": 10**400, "completion_tokens": -1}}, {}),
            "usage list": (200, right | {"usage": [1, float("nan")]}, {}),
            "parts": (200, chat([{"type": "text", "text": self.answer(body)}]), {}),
            "echo in text": (200, chat(self.answer(body) + f"\n{told} {ESCAPES}"), {}),
        }.get(way, (200, right, {}))

    def __enter__(self) -> Chaos:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def chaos(answer: Answer, *, seed: int, ways: tuple[str, ...], share: float = 0.3) -> Iterator[Chaos]:
    with Chaos(answer, ways=ways, share=share, seed=seed) as server:
        yield server


def leaks(*texts: str, folder: Path | None = None) -> list[str]:
    """Where the key, its beginning or an escape sequence stands: in these texts, or in the files of a folder."""
    read = list(texts)
    for path in sorted(folder.rglob("*")) if folder else ():
        if path.is_file():
            data = path.read_bytes()
            if path.suffix == ".zst":
                data = zstandard.ZstdDecompressor().stream_reader(data).read()
            read.append(data.decode("utf-8", "replace"))
    return [text[:300] for text in read if any(mark in text for mark in (KEY[:12], KEY[-12:], "\x1b", "\\u001b"))]
