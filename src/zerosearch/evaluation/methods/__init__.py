"""The methods of a search-agent table. `PROMPTED` holds those that take any chat model; `episode` is a policy's own.

A prompted method is one async function of a `Session`, which returns the answer or None; your own is named as
`package.module:Name`.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zerosearch.errors import ConfigError
from zerosearch.evaluation.methods import prompts
from zerosearch.evaluation.methods.agents import react, search_o1
from zerosearch.evaluation.methods.reading import cot, direct, ircot, rag
from zerosearch.evaluation.methods.session import ONCE, Errors, MethodSettings, Session
from zerosearch.evaluation.methods.tree import tree_search
from zerosearch.registry import check_call, find

__all__ = ["EPISODE", "ONCE", "PROMPTED", "Errors", "MethodSettings", "PromptedMethod", "Session", "find_method"]

EPISODE = "episode"
"""The method that plays this package's protocol: `rollout.run_episode`, with a prompted or a trained policy."""


@dataclass(frozen=True)
class PromptedMethod:
    """A method by its name; `searches` says whether it ever asks an engine. `max_tokens` suits its replies."""

    name: str
    run: Callable[[Session], Awaitable[str | None]]
    searches: bool = True
    max_tokens: int = 256

    @property
    def digest(self) -> str:
        """Of its prompts, or of the code of your own: predictions of another one are not to be resumed."""
        return prompts.digest(self.name) if self.name in PROMPTED else _digest_of_code(self.run)


def find_method(name: str) -> PromptedMethod:
    """A prompted method by its name, or your own by `package.module:Name`: a `PromptedMethod`, or just its function.

    Raises `ConfigError` for what is neither.
    """
    found: Any = find(name, PROMPTED, "methods")
    method = found if isinstance(found, PromptedMethod) else PromptedMethod(name, found)
    check_call(method.run, f"methods: {name}", "session")
    if not inspect.iscoroutinefunction(method.run):
        raise ConfigError(f"methods: {name}: is no async function")
    return method


def _digest_of_code(function: Callable[..., Any]) -> str:
    """Of the file that `function` is written in; where that cannot be read, of its name."""
    try:
        code = Path(inspect.getfile(function)).read_bytes()
    except (OSError, TypeError):
        code = function.__qualname__.encode()
    return hashlib.sha256(code).hexdigest()[:12]


PROMPTED = {
    method.name: method
    for method in (
        PromptedMethod("direct", direct, searches=False),
        PromptedMethod("cot", cot, searches=False),
        PromptedMethod("rag", rag),
        PromptedMethod("react", react),
        PromptedMethod("search-o1", search_o1, max_tokens=1024),
        PromptedMethod("ircot", ircot),
        PromptedMethod("tree-search", tree_search),
    )
}
