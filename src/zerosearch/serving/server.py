"""The server's process: it listens, and finishes open requests after a signal."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Iterator
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from zerosearch.errors import ConfigError
from zerosearch.process.interrupts import SIGNALS
from zerosearch.serving.config import ServeConfig

log = logging.getLogger(__name__)

MAX_HEADER_BYTES = 32 * 1024  # all headers of a request together; more are answered with 400


class Server(uvicorn.Server):
    """uvicorn, stopped by SIGINT, SIGTERM and SIGHUP: it finishes what is under way and then simply returns.

    A second SIGINT does not wait. (uvicorn itself raises the signal again at the end, which is not a clean exit.)
    """

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._stop) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for bound in sockets or ():
            host, port = bound.getsockname()[:2]
            url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
            log.info("listening on %s", url, extra={"fields": {"url": url, "docs": f"{url}/docs"}})

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self.should_exit and number == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True


def listen(config: ServeConfig) -> socket.socket:
    """A socket that listens where `config` says. Raises `ConfigError` where it cannot."""
    try:
        family = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0][0]
        bound = socket.socket(family, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((config.host, config.port))
    except (OSError, UnicodeError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"cannot listen on {config.host}:{config.port}: {said} (serve.host, serve.port)") from None
    bound.set_inheritable(True)
    return bound


def make_server(app: ASGIApp, config: ServeConfig) -> Server:
    """A server of `app`; `serve(sockets=[...])` runs it until `should_exit` is set or a signal comes."""
    return Server(
        uvicorn.Config(
            app,
            http="h11",  # it bounds headers
            h11_max_incomplete_event_size=MAX_HEADER_BYTES,
            ws="websockets-sansio",
            ws_max_size=config.max_body_kb * 1024,
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=2048,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=max(1, round(config.shutdown_seconds)),
        )
    )


async def serve(app: ASGIApp, bound: socket.socket, config: ServeConfig) -> None:
    """Serve `app` on `bound` until a signal stops it. What is under way then is finished, for `shutdown_seconds`."""
    await make_server(app, config).serve(sockets=[bound])
    log.info("stopped")
