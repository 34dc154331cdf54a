"""Our engines as tools of verl's own agents, for users of `tool_agent`.

A `BaseTool`, which is told each row's question and golden answers (`tools_kwargs`), so that a simulator can answer;
name it in the YAML of `actor_rollout_ref.rollout.multi_turn.tool_config_path`:

    tools:
      - class_name: zerosearch.scaleout.verl.tools.SearchTool
        config: {type: native, zerosearch: /path/config.toml}

Or a plain function, which is told the query and nothing else, for real engines; a file of your own, named by
`multi_turn.function_tool_path`:

    from zerosearch.scaleout.verl.tools import search_function
    search = search_function("bm25", corpus="factbook", top_k=3)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from verl.tools.base_tool import BaseTool
from verl.tools.function_tool import function_tool
from verl.tools.schemas import OpenAIFunctionToolSchema, ToolResponse

from zerosearch.api import open_engine
from zerosearch.config_file import load_config
from zerosearch.episodes.curriculum import draw_quality
from zerosearch.episodes.protocol import render_document
from zerosearch.episodes.questions import Question
from zerosearch.episodes.search import SearchPage, SearchRequest
from zerosearch.episodes.seeds import derive_seed
from zerosearch.episodes.shared_pages import same_query
from zerosearch.errors import ConfigError, EngineError
from zerosearch.parts import Parts

SCHEMA = {
    "type": "function",
    "function": {
        "name": "search",
        "description": "Search for documents that help to answer the question.",
        "parameters": {
            "type": "object",
            "properties": {"query": {"type": "string", "description": "What to search for."}},
            "required": ["query"],
        },
    },
}
FAILED = "The search failed."


def page_text(page: SearchPage) -> str:
    """A page as a tool's answer: `[1] Title: text`, a line a document."""
    return "\n".join(render_document(document, rank) for rank, document in enumerate(page.documents, start=1))


class SearchTool(BaseTool):  # type: ignore[misc]
    """The engine of a configuration of ours.

    `config["zerosearch"]` is its file or name; `config["noise"]` (default 0) the chance that a simulated page is noisy:
    verl tells a tool no step, so a curriculum takes the agent loop. Equal queries of a question get one page
    where the engine goes by its seed. A failed search is told to the policy as such, and counted in the tool's metrics.
    """

    def __init__(self, config: dict[str, Any], tool_schema: OpenAIFunctionToolSchema | None = None) -> None:
        super().__init__(config, tool_schema or OpenAIFunctionToolSchema.model_validate(SCHEMA))
        if "zerosearch" not in config:
            raise ConfigError("SearchTool: config.zerosearch names no configuration (a TOML file, or demo)")
        self._settings = load_config(config["zerosearch"])
        self._noise = float(config.get("noise", 0.0))
        self._parts = Parts(self._settings)
        self._asked: dict[str, Question | None] = {}

    async def create(self, instance_id: str | None = None, **kwargs: Any) -> tuple[str, ToolResponse]:
        """`create_kwargs` of the row: `id`, `question`, `golden_answers`; without them a simulator writes blindly."""
        name, told = instance_id or str(uuid4()), kwargs.get("create_kwargs", kwargs)
        text, answers = told.get("question"), tuple(told.get("golden_answers") or ())
        self._asked[name] = Question(str(told.get("id", text)), text, answers) if text else None
        return name, ToolResponse()

    async def execute(
        self, instance_id: str, parameters: dict[str, Any], **kwargs: Any
    ) -> tuple[ToolResponse, float, dict[str, Any]]:
        """The page for `parameters["query"]`, no reward, and what happened."""
        query = str(parameters.get("query", "")).strip()
        engine = self._parts.engine("train", metered=False)
        try:
            page = await engine.search(self._request(query, self._asked.get(instance_id)))
        except EngineError as error:
            return ToolResponse(text=FAILED), 0.0, {"search_errors": 1, "kind": error.kind}
        return ToolResponse(text=page_text(page)), 0.0, {"search_errors": 0, "noisy": int(page.quality == "noisy")}

    def _request(self, query: str, question: Question | None) -> SearchRequest:
        settings = self._settings
        seed = derive_seed(settings.seed, question.id if question else "", "page", same_query(query))
        quality = draw_quality(self._noise if settings.engine.kind == "simulated" else None, seed)
        return SearchRequest(query, settings.engine.top_k, question, quality, seed)

    async def release(self, instance_id: str, **kwargs: Any) -> None:
        self._asked.pop(instance_id, None)


def search_function(kind: str, **settings: Any) -> Callable[[str], Any]:
    """`search(query)` over any engine, registered with verl as a function tool. Arguments are those of `open_engine`.

    A simulated engine then knows no question and no answer: its useful pages often lack the answer.
    """
    engines: dict[int, Any] = {}  # one an event loop: connections belong to theirs

    async def search(query: str) -> str:
        """Search for documents that help to answer the question.

        Args:
            query: What to search for.
        """
        loop = id(asyncio.get_running_loop())
        if loop not in engines:
            engines[loop] = open_engine(kind, **settings)
        engine = engines[loop]
        try:
            return page_text(await engine.search(SearchRequest(query, engine.top_k)))
        except EngineError:
            return FAILED

    return function_tool(search)  # type: ignore[no-any-return]
