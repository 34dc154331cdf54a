"""The answer to a failed request: a status, a kind and one line, never an empty page.

{"error": {"type": "deadline", "message": "..."}, "request_id": "..."}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from zerosearch.cleaning import clean
from zerosearch.errors import BudgetError, EngineError


class Fault(Exception):
    """A request that is refused or failed. `retry_after` in seconds becomes the header of that name."""

    def __init__(self, status: int, kind: str, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status, self.kind, self.retry_after = status, kind, retry_after

    def __str__(self) -> str:
        return clean(super().__str__())

    @property
    def headers(self) -> dict[str, str]:
        headers = {} if self.retry_after is None else {"Retry-After": str(max(1, round(self.retry_after)))}
        return headers | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})

    def as_dict(self, request_id: str = "") -> dict[str, Any]:
        return {"error": {"type": self.kind, "message": str(self)}, "request_id": request_id}


def of_engine(error: EngineError) -> Fault:
    """The fault of a search that failed for good: the engine behind this server failed, not the request. A query that
    a recording does not hold is one, too."""
    kind = error.kind
    return Fault(
        504 if kind == "deadline" else 502, kind, f"the search failed ({kind}): {' '.join(str(error).split())}"
    )


def of_budget(error: BudgetError) -> Fault:
    """No further search is paid for; waiting does not help, so nothing is said of when to come back."""
    return Fault(503, "budget", f"{error}: engine.budget_usd and engine.budget_searches bound what is spent")


class Json(Response):
    """A JSON answer in UTF-8. Half a character (a lone surrogate) becomes `?` and fails nothing."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def answer(fault: Fault, request_id: str = "", headers: Mapping[str, str] | None = None) -> Json:
    """The response for `fault`."""
    return Json(fault.as_dict(request_id), fault.status, {**fault.headers, **(headers or {})})
