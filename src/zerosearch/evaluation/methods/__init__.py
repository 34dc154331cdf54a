"""The methods of a search-agent table. `PROMPTED` holds those that take any chat model; `episode` is a policy's own.

A prompted method is one async function of a `Session`, which returns the answer or None.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from zerosearch.evaluation.methods.agents import react, search_o1
from zerosearch.evaluation.methods.reading import cot, direct, ircot, rag
from zerosearch.evaluation.methods.session import ONCE, Errors, MethodSettings, Session
from zerosearch.evaluation.methods.tree import tree_search

__all__ = ["EPISODE", "ONCE", "PROMPTED", "Errors", "MethodSettings", "PromptedMethod", "Session"]

EPISODE = "episode"
"""The method that plays this package's protocol: `rollout.run_episode`, with a prompted or a trained policy."""


@dataclass(frozen=True)
class PromptedMethod:
    """A method by its name; `searches` says whether it ever asks an engine. `max_tokens` suits its replies."""

    name: str
    run: Callable[[Session], Awaitable[str | None]]
    searches: bool = True
    max_tokens: int = 256


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
