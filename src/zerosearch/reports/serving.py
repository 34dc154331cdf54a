"""A report that is served while a run goes on: over loopback only, and only what the report shows."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any

from zerosearch.errors import ConfigError
from zerosearch.reports.page import html
from zerosearch.reports.report import Report

HOST = "127.0.0.1"
_NAMES = (HOST, "localhost", "[::1]")


class ReportServer(ThreadingHTTPServer):
    """Serves `report` at `address`: the page at `/`, its data at `/summary` and `/episodes`, and at `/state` a text
    that changes with the files. `port` 0 takes a free one. Raises `ConfigError` where the port is taken."""

    daemon_threads = True

    def __init__(self, report: Report, port: int = 0) -> None:
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise ConfigError(
                f"port {port}: cannot be listened on ({error.strerror or error}); --port 0 takes a free one"
            ) from None
        self.report = report
        self._lock = Lock()  # a report reads files, and remembers them
        self._made: dict[str, tuple[str, bytes]] = {}

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.server_address[1]}/"

    def state(self) -> str:
        with self._lock:
            return self.report.state()

    def made(self, name: str, make: Callable[[], Any]) -> bytes:
        """What `make` gives as gzipped JSON, made anew once a file has changed."""
        with self._lock:
            now = self.report.state()
            if name not in self._made or self._made[name][0] != now:
                text = json.dumps(make(), ensure_ascii=False, allow_nan=False)
                self._made[name] = (now, gzip.compress(text.encode("utf-8", "replace"), 3))
            return self._made[name][1]

    def page(self) -> bytes:
        with self._lock:
            return html(self.report.summary(), None).encode("utf-8", "replace")


class _Handler(BaseHTTPRequestHandler):
    server: ReportServer
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if host not in _NAMES:  # a page of another name that points to this machine (DNS rebinding)
            self._answer(403, "text/plain", b"the report is for this machine alone\n")
            return
        path, report = self.path.partition("?")[0], self.server.report
        try:
            if path == "/":
                self._answer(200, "text/html; charset=utf-8", self.server.page())
            elif path == "/state":
                self._answer(200, "text/plain; charset=utf-8", self.server.state().encode("utf-8", "replace"))
            elif path in ("/summary", "/episodes"):
                make = report.summary if path == "/summary" else report.episodes
                self._answer(200, "application/json", self.server.made(path, make), packed=True)
            else:
                self._answer(404, "text/plain", b"there is nothing here\n")
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the browser has gone
        except Exception as error:
            self._answer(500, "text/plain; charset=utf-8", f"{error}\n".encode("utf-8", "replace"))

    def _answer(self, status: int, kind: str, body: bytes, *, packed: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        if packed:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: two requests a second are no news."""
