"""Our engines as tools of verl's own agent, against verl's real classes: `make test-verl`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("verl", reason="verl is not installed here: make test-verl has an environment of its own")

from engines.conftest import PAGE, Reply, completion, endpoint  # noqa: F401
from verl.tools.function_tool import FUNCTION_TOOL_REGISTRY, normalize_function_tool_return
from verl.tools.tool_registry import load_all_tools

from zerosearch.episodes.questions import Question
from zerosearch.files.jsonl import write_jsonl
from zerosearch.scaleout.verl.dataset import question_row
from zerosearch.scaleout.verl.tools import FAILED

NEPAL = Question("q1", "What is the capital of Nepal?", ("Kathmandu",))
TOOLS = """
tools:
  - class_name: zerosearch.scaleout.verl.tools.SearchTool
    config: {{type: native, zerosearch: {config}, noise: {noise}}}
"""


def simulated(folder: Path, url: str, noise: float) -> Any:
    """The tool as verl makes it, of a YAML file."""
    (folder / "c.toml").write_text(
        f'[engine]\nkind = "simulated"\ntop_k = 2\nattempts = 1\nsimulated = {{ base_url = "{url}", model = "sim" }}\n'
    )
    (folder / "tools.yaml").write_text(TOOLS.format(config=folder / "c.toml", noise=noise))
    (tool,) = load_all_tools(str(folder / "tools.yaml"), None)
    return tool


async def called(tool: Any, query: str, row: dict[str, Any]) -> tuple[Any, float, dict[str, Any]]:
    """A call as verl's `ToolAgentLoop` makes it."""
    kwargs = row["extra_info"]["tools_kwargs"].get(tool.name, {})
    instance, _ = await tool.create(create_kwargs=kwargs.get("create_kwargs", {}))
    try:
        return await tool.execute(instance, {"query": query})
    finally:
        await tool.release(instance, **kwargs.get("release_kwargs", {}))


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_the_simulator_gets_question_and_answer_of_the_row(tmp_path: Path, endpoint: Any, noise: float) -> None:  # noqa: F811
    endpoint.says(PAGE)
    tool = simulated(tmp_path, endpoint.url, noise)
    response, reward, told = asyncio.run(called(tool, "capital of Nepal", question_row(NEPAL, 0, "p", "train")))
    assert response.text.splitlines()[0] == "[1] Nepal: Kathmandu is the capital of Nepal."
    assert (reward, told["noisy"]) == (0.0, int(noise))
    prompt = str(endpoint.requests[0]["messages"])
    assert "What is the capital of Nepal?" in prompt
    assert "Kathmandu" in prompt  # it knows the answer: to give it, or to keep it back


def test_a_failed_search_is_told_and_counted(tmp_path: Path, endpoint: Any) -> None:  # noqa: F811
    endpoint.script = [Reply(status=500)]
    tool = simulated(tmp_path, endpoint.url, 0.0)
    response, _, told = asyncio.run(called(tool, "capital of Nepal", question_row(NEPAL, 0, "p", "train")))
    assert response.text == FAILED
    assert (told["search_errors"], told["kind"]) == (1, "http")


def test_a_file_of_a_real_engine_is_a_function_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEROSEARCH_CACHE", str(tmp_path / "cache"))
    write_jsonl(tmp_path / "corpus.jsonl", [{"id": "np", "title": "Nepal", "text": "Kathmandu is its capital."}])
    (tmp_path / "tools.py").write_text(
        "from zerosearch.scaleout.verl.tools import search_function\n"
        f'search = search_function("bm25", corpus="{tmp_path / "corpus.jsonl"}", top_k=1)\n'
    )
    try:
        (tool,) = load_all_tools(None, str(tmp_path / "tools.py"))
        said = normalize_function_tool_return(asyncio.run(tool.call({"query": "capital Nepal"})))
    finally:
        FUNCTION_TOOL_REGISTRY.pop("search", None)
    assert said[0].text == "[1] Nepal: Kathmandu is its capital."
    assert tool.tool_schema.function.parameters.required == ["query"]
    assert "query" in tool.tool_schema.function.parameters.properties
