"""TRL's GRPO with the simulated engine as a tool: `environment_factory`, for models that call tools.

pip install 'trl==1.16.*' zerosearch-rl, then: python trl_tools.py MODEL http://localhost:8000/v1 SIMULATOR
"""

import sys

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from zerosearch import load_questions, open_engine

ASK = "Answer the question. Look facts up with `search`, one at a time; then call `answer` once. Question: "


def environment(**settings):
    engine = open_engine("simulated", **settings)  # or open_engine("bm25", corpus="factbook")

    class SearchEnvironment:
        noise = 0.2  # the probability of a noisy page; a TrainerCallback may raise it as training goes on

        def reset(self, question, golden_answers, **columns):
            self.episode, self.given = engine.tool_episode(question, golden_answers, noise=self.noise), None

        async def search(self, query: str) -> str:
            """Search the web.

            Args:
                query: What to look for, one fact at a time.
            """
            return await self.episode.search(query)

        def answer(self, text: str) -> str:
            """Give the answer to the question.

            Args:
                text: The answer itself, in a few words.
            """
            self.given = text
            return "Noted."

        def get_reward(self) -> float:
            return self.episode.score(self.given).f1

    return SearchEnvironment


def dataset(questions):
    return Dataset.from_list([{"prompt": [{"role": "user", "content": ASK + q.text}], "question": q.text,
                               "golden_answers": list(q.golden_answers)} for q in questions])  # fmt: skip


if __name__ == "__main__":
    policy, base_url, simulator = sys.argv[1:]
    data = dataset(load_questions("questions.jsonl"))
    made = environment(base_url=base_url, model=simulator)
    GRPOTrainer(policy, args=GRPOConfig("runs/trl"), train_dataset=data, environment_factory=made).train()
