"""An inspect-ai task: questions, a search tool whose engine is simulated by zerosearch, F1 as score.

pip install inspect-ai zerosearch-rl, then:
inspect eval inspect_search.py --model MODEL -T base_url=http://localhost:8000/v1 -T simulator=NAME
"""

from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer, stderr
from inspect_ai.solver import Generate, Solver, TaskState, solver, system_message
from inspect_ai.tool import Tool, tool

from zerosearch import ToolEpisode, load_questions, open_engine, score_answer

ASK = "Answer the question. Look facts up with the search tool; your last message is the answer alone."


@tool
def search(episode: ToolEpisode) -> Tool:
    async def execute(query: str) -> str:
        """Search the web.

        Args:
            query: What to look for, one fact at a time.
        """
        return await episode.search(query)

    return execute


@scorer(metrics=[mean(), stderr()])
def f1() -> Scorer:
    async def score(state: TaskState, target: Target) -> Score:
        answer = state.output.completion
        return Score(value=score_answer(answer, list(target)).f1, answer=answer)

    return score


@task
def questions(base_url: str, simulator: str, questions: str = "questions.jsonl", noise: float = 0.0) -> Task:
    engine = open_engine("simulated", base_url=base_url, model=simulator)

    @solver
    def with_search() -> Solver:
        async def solve(state: TaskState, generate: Generate) -> TaskState:
            state.tools = [search(engine.tool_episode(state.input_text, list(state.target), noise=noise))]
            return await generate(state)  # it calls tools until the model answers

        return solve

    samples = [Sample(q.text, target=list(q.golden_answers), id=q.id) for q in load_questions(questions)]
    return Task(samples, solver=[system_message(ASK), with_search()], scorer=f1())
