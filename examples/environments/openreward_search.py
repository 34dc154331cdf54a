"""An OpenReward environment server whose search engine is simulated by zerosearch.

pip install openreward zerosearch-rl, then:
python openreward_search.py http://localhost:8000/v1 SIMULATOR questions.jsonl
"""

import sys

from openreward.environments import Environment, Server, Split, TextBlock, ToolOutput, terminal, tool
from pydantic import BaseModel

from zerosearch import load_questions, open_engine


class Query(BaseModel):
    query: str


class Answer(BaseModel):
    answer: str


def environment(questions: str, noise: float = 0.2, **settings: object) -> type[Environment]:
    engine, rows = open_engine("simulated", **settings), [q.as_dict() for q in load_questions(questions)]

    class ZeroSearch(Environment):
        @classmethod
        def list_splits(cls) -> list[Split]:
            return [Split(name="train", type="train")]

        @classmethod
        def list_tasks(cls, split: str) -> list[dict]:
            return rows

        def setup(self) -> None:
            task = self.task_spec
            self.episode = engine.tool_episode(task["question"], task["golden_answers"], noise=noise)

        def get_prompt(self) -> list[TextBlock]:
            return [TextBlock(text=f"Answer in a few words; look facts up first. {self.task_spec['question']}")]

        @tool(concurrent=True)
        async def search(self, args: Query) -> ToolOutput:
            """Search the web. One fact at a time finds more than the whole question."""
            return ToolOutput(blocks=[TextBlock(text=await self.episode.search(args.query))])

        @terminal
        @tool
        def submit(self, args: Answer) -> ToolOutput:
            """The model's last message is its answer."""
            return ToolOutput(blocks=[], reward=self.episode.score(args.answer).f1, finished=True)

    return ZeroSearch


if __name__ == "__main__":
    base_url, model, file = sys.argv[1:4]
    port = int(sys.argv[4]) if len(sys.argv) > 4 else 8080
    Server([environment(file, base_url=base_url, model=model)]).run(host="127.0.0.1", port=port)
