"""TRL's GRPO with `zerosearch serve CONFIG` as the search engine: a tool that asks it by HTTP.

pip install 'trl==1.16.*' zerosearch-rl, then: python trl_served.py MODEL http://localhost:8000
"""

import sys

import httpx
from trl import GRPOConfig, GRPOTrainer
from trl_tools import dataset

from zerosearch import load_questions, score_answer
from zerosearch.episodes.protocol import CONTROL_TEXTS, neutralize


def environment(url, noise=0.2):
    class ServedEnvironment:
        def reset(self, question, golden_answers, **columns):
            asked = {"question": question, "golden_answers": golden_answers, "noise": noise}
            self.episode = httpx.post(f"{url}/episodes", json=asked).raise_for_status().json()
            self.golden_answers, self.given = golden_answers, None

        async def search(self, query: str) -> str:
            """Search the web.

            Args:
                query: What to look for, one fact at a time.
            """
            async with httpx.AsyncClient(base_url=url, timeout=300) as client:
                answer = await client.post(self.episode["retrieve"], json={"query": query})
            rows = answer.raise_for_status().json()["result"][0]
            page = "\n".join(f"[{rank}] {row['contents']}" for rank, row in enumerate(rows, start=1))
            return neutralize(page, CONTROL_TEXTS)  # nothing in a page can speak the chat template

        def answer(self, text: str) -> str:
            """Give the answer to the question.

            Args:
                text: The answer itself, in a few words.
            """
            self.given = text
            return "Noted."

        def get_reward(self) -> float:
            return score_answer(self.given, self.golden_answers).f1

    return ServedEnvironment


if __name__ == "__main__":
    policy, url = sys.argv[1:]
    data = dataset(load_questions("questions.jsonl"))
    GRPOTrainer(policy, args=GRPOConfig("runs/trl"), train_dataset=data, environment_factory=environment(url)).train()
