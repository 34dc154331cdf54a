"""OpenEnv's own clients against a running `zerosearch serve`: `python scripts/openenv_client.py [URL]`.

In an environment of its own with `pip install openenv==0.10.0`: its dependencies and ours need not agree. The server
has to know the capital of Nepal, as any engine over the Factbook does.
"""

from __future__ import annotations

import asyncio
import sys

from openenv.core.generic_client import GenericEnvClient
from openenv.core.mcp_client import MCPToolClient

QUESTION = {"question": "What is the capital of Nepal?", "golden_answers": ["Kathmandu"]}


async def play(url: str) -> None:
    """A whole episode by the generic client: prompt, page, reward, state."""
    async with GenericEnvClient(base_url=url) as env:
        seen = await env.reset(**QUESTION)
        assert QUESTION["question"] in seen.observation["text"], seen
        seen = await env.step({"text": "<think>A fact.</think><search>capital of Nepal</search>"})
        assert "<information>" in seen.observation["text"], seen
        assert not seen.done
        seen = await env.step({"text": "<think>There.</think><answer>Kathmandu</answer>"})
        assert (seen.done, seen.reward) == (True, 1.0), seen
        state = await env.state()
        assert state["step_count"] == 2, state
        drawn = await env.reset(seed=1)
        assert "Question:" in drawn.observation["text"], drawn
    print("GenericEnvClient: an episode from prompt to reward")


async def call(url: str) -> None:
    """The tool by the MCP client, in a session whose episode was begun over its WebSocket."""
    async with MCPToolClient(base_url=url) as env:
        await env.reset(**QUESTION)
        tools = await env.list_tools()
        assert [tool.name for tool in tools] == ["search"], tools
        page = await env.call_tool("search", query="capital of Nepal", top_k=2)
        assert page.startswith("[1] "), page
    print("MCPToolClient: tools/list and tools/call in a session")


if __name__ == "__main__":
    address = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
    asyncio.run(play(address))
    asyncio.run(call(address))
