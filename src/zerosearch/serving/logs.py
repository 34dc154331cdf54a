"""What the server logs: one JSON object a line on standard error, without keys, queries or answers."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
from collections.abc import Iterator
from typing import Any

from zerosearch.cleaning import clean

REQUESTS = logging.getLogger("zerosearch.serving.requests")
_LOGGERS = ("", "zerosearch", "uvicorn", "uvicorn.error", "mcp")

_PASSED_ON = ("uvicorn.error", "mcp")


class JsonLines(logging.Handler):
    """`{"time", "level", "logger", "message", ...}`; what a record's `fields` hold stands beside them."""

    def emit(self, record: logging.LogRecord) -> None:
        seconds = f"{record.msecs:03.0f}"
        row: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{seconds}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": clean(record.getMessage()),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            row["exception"] = clean(logging.Formatter().formatException(record.exc_info))
        with contextlib.suppress(OSError, ValueError):  # standard error is full or closed
            print(json.dumps(row, ensure_ascii=True), file=sys.stderr, flush=True)


@contextlib.contextmanager
def json_lines() -> Iterator[None]:
    """In this block whatever this package, uvicorn and the MCP SDK log comes as JSON lines."""
    handler = JsonLines()
    before = {name: (logger.handlers[:], logger.propagate, logger.level) for name, logger in _named()}
    for name, logger in _named():
        logger.handlers[:] = [] if name in _PASSED_ON else [handler]
        logger.propagate = name in _PASSED_ON
        logger.setLevel(logging.WARNING if name in ("", "mcp") else logging.INFO)
    try:
        yield
    finally:
        for name, logger in _named():
            logger.handlers[:], logger.propagate, level = before[name]
            logger.setLevel(level)


def _named() -> list[tuple[str, logging.Logger]]:
    return [(name, logging.getLogger(name)) for name in _LOGGERS]
