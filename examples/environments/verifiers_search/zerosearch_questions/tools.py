"""The search tool: verifiers serves it by MCP, one server a rollout, which is told the rollout's task."""

import verifiers.v1 as vf

from zerosearch import open_engine


class SearchConfig(vf.ToolsetConfig):
    base_url: str = "http://localhost:8000/v1"  # the simulator's server
    model: str = "Qwen/Qwen2.5-14B-Instruct"
    top_k: int = 5
    noise: float = 0.2  # the probability of a noisy page


class SearchTools(vf.Toolset[SearchConfig]):
    TOOL_PREFIX = None

    async def setup_task(self, task):
        engine = open_engine("simulated", **self.config.model_dump(include={"base_url", "model", "top_k"}))
        self.episode = engine.tool_episode(task.question, task.golden_answers, noise=self.config.noise)

    @vf.tool
    async def search(self, query: str) -> str:
        """Search the web. One fact at a time finds more than the whole question."""
        return await self.episode.search(query)


if __name__ == "__main__":
    SearchTools.run()
