"""Questions of a file, as verifiers takes them."""

import httpx
import verifiers.v1 as vf

from zerosearch import load_questions, score_answer
from zerosearch_questions.tools import SearchConfig, SearchTools

ASK = "Answer the question. Look facts up with the search tool; your last message is the answer alone. Question: "


class QuestionData(vf.TaskData):
    question: str
    golden_answers: list[str]


class QuestionConfig(vf.TaskConfig):
    tools: SearchConfig = SearchConfig()


class QuestionTask(vf.Task[QuestionData, vf.State, QuestionConfig]):
    @classmethod
    def toolsets(cls, config):
        return [SearchTools(config.tools)]

    async def setup(self, trace, runtime):
        """Where `tools.url` names the /mcp of a `zerosearch serve`: an episode there, whose pages know the question."""
        tools = self.config.tools
        if tools.url:
            asked = {**self.data.model_dump(include={"question", "golden_answers"}), "noise": tools.noise}
            async with httpx.AsyncClient() as client:
                opened = await client.post(httpx.URL(tools.url).copy_with(path="/episodes"), json=asked)
            url = httpx.URL(tools.url).copy_set_param("episode", opened.raise_for_status().json()["id"])
            self.config = self.config.model_copy(update={"tools": tools.model_copy(update={"url": str(url)})})

    @vf.reward
    async def f1(self, trace: vf.Trace) -> float:
        return score_answer(trace.last_reply, self.data.golden_answers).f1

    @vf.metric
    async def em(self, trace: vf.Trace) -> float:
        return score_answer(trace.last_reply, self.data.golden_answers).em


class QuestionsConfig(vf.TasksetConfig):
    questions: str = "questions.jsonl"
    task: QuestionConfig = QuestionConfig()


class QuestionsTaskset(vf.Taskset[QuestionTask, QuestionsConfig]):
    def load(self):
        for q in load_questions(self.config.questions):
            data = QuestionData(id=q.id, prompt=ASK + q.text, question=q.text, golden_answers=list(q.golden_answers))
            yield QuestionTask(data, self.config.task)
