"""A whole episode played by a client: our own episode, with a policy that writes its turns elsewhere.

    session = Session(table, "e1")
    seen = await session.reset({"seed": 7})                 # the prompt with its question
    seen = await session.step("<search>Nepal</search>")     # the page, as the policy sees it
    seen = await session.step("<answer>Kathmandu</answer>")  # done, with its reward

Prompt, limits, pages, noise, scores and reward are those of `run_episode`; nothing of them is here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from zerosearch.episodes.curriculum import Curriculum
from zerosearch.episodes.generation import Generation, Sampling
from zerosearch.episodes.questions import Question
from zerosearch.episodes.rollout import ErrorRate, RolloutSettings, run_episode
from zerosearch.episodes.seeds import derive_seed
from zerosearch.episodes.trajectory import Trajectory, Try
from zerosearch.errors import BudgetError, DataError
from zerosearch.models.endpoint import generation_of
from zerosearch.serving.episodes import OpenEpisode
from zerosearch.serving.faults import Fault, of_budget
from zerosearch.serving.searching import Searching
from zerosearch.spending.ledger import counted

MAX_TEXT = 200_000  # characters of a turn


class ResetData(BaseModel):
    """What an episode begins with. Unknown fields are ignored, as OpenEnv's own servers do."""

    model_config = ConfigDict(extra="ignore")

    seed: int | None = Field(None, ge=0)
    """Draws the question where neither `question` nor `index` says which."""
    episode_id: str | None = Field(None, min_length=1, max_length=255)
    index: int | None = Field(None, ge=0)
    """A question of `data.train` by its place."""
    question: str | None = Field(None, min_length=1, max_length=10_000)
    golden_answers: list[str] = Field(default_factory=list, max_length=1000)
    step: int = Field(0, ge=0)
    """Your training step, from 0: the curriculum's noise goes by it, and equal queries of a question get one page."""
    noise: float | None = Field(None, ge=0, le=1)
    """Instead of the curriculum's."""


@dataclass(frozen=True)
class Table:
    """What all episodes of a server have in common. `steps` is how many the curriculum is drawn over."""

    searching: Searching
    settings: RolloutSettings
    questions: Sequence[Question]
    curriculum: Curriculum
    steps: int
    seconds: float
    drawn: Iterator[int] = field(default_factory=lambda: count(1))

    def question(self, told: ResetData) -> Question:
        """Raises `Fault` (422) where there is no such question."""
        if told.question is not None:
            try:
                asked = Question.asked(told.question)
            except DataError as error:
                raise Fault(422, "invalid", str(error)) from None
            return Question(asked.id, asked.text, tuple(told.golden_answers))
        known = len(self.questions)
        if not known:
            raise Fault(422, "invalid", "this server has no questions of its own: send question and golden_answers")
        if told.index is not None:
            if told.index >= known:
                raise Fault(
                    422,
                    "invalid",
                    f"index is {told.index}, counted from 0; this server has {counted(known, 'question')}",
                )
            return self.questions[told.index]
        if told.seed is not None:
            return self.questions[derive_seed("question", told.seed) % known]
        return self.questions[derive_seed("question", self.settings.seed, "drawn", next(self.drawn)) % known]

    def noise(self, told: ResetData) -> float | None:
        """None with a real engine: it has none to give."""
        if not self.searching.simulated:
            return None
        return self.curriculum.noise(told.step, self.steps) if told.noise is None else told.noise


class _ClientGenerator:
    """A `Generator` whose turns come from a client: it asks with the ids so far, and is given a text."""

    def __init__(self) -> None:
        self.prompts: asyncio.Queue[list[int]] = asyncio.Queue()
        self.texts: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.told = 0  # ids that the client has seen or written

    async def generate(self, prompt_ids: list[int], sampling: Sampling) -> Generation:
        await self.prompts.put(prompt_ids[self.told :])
        text, ended = await self.texts.get()
        generation = generation_of(text, {"finish_reason": ended}, sampling)
        self.told = len(prompt_ids) + len(generation.token_ids)
        return generation


class Session:
    """One client, one episode after the other. Calls come one at a time; `close` ends what is being played."""

    def __init__(self, table: Table, name: str) -> None:
        self.table, self.name = table, name
        self.steps = 0
        self._task: asyncio.Task[Trajectory] | None = None
        self._client = _ClientGenerator()
        self._errors = ErrorRate(limit=1)
        self._one = asyncio.Lock()
        self._try: Try | None = None

    @property
    def episode(self) -> OpenEpisode | None:
        """What a search beside the episode (MCP) knows of it."""
        if self._try is None:
            return None
        return OpenEpisode(self._try.question, self._try.noise or 0.0, self.table.settings.seed)

    @property
    def state(self) -> dict[str, Any]:
        one = self._try
        told = {} if one is None else {"question_id": one.question.id, "question": one.question.text, "step": one.step}
        return {"episode_id": self.name, "step_count": self.steps, "noise": one.noise if one else None, **told}

    async def reset(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Begin an episode; what the policy sees first. Raises `Fault`, and pydantic's error for other data."""
        told = ResetData.model_validate(data)
        async with self._one:
            await self.close()
            question = self.table.question(told)
            self.steps, self._client, self._errors = 0, _ClientGenerator(), ErrorRate(limit=1)
            self._try = Try(question, step=told.step, noise=self.table.noise(told))
            playing = run_episode(self._try, self._client, self.table.searching, self.table.settings, self._errors)
            self._task = asyncio.create_task(playing)
            return await self._seen()

    async def step(self, text: str, finish_reason: str = "stop") -> dict[str, Any]:
        """The policy's next turn; what it sees then. Raises `Fault` where no episode is being played, or it failed."""
        async with self._one:
            if self._task is None:
                raise Fault(409, "no_episode", "no episode is being played: reset begins one")
            self.steps += 1
            self._client.texts.put_nowait((text, finish_reason))
            return await self._seen()

    async def _seen(self) -> dict[str, Any]:
        """What the episode does next: it asks for a turn, or it is over."""
        task = self._task
        assert task is not None
        asked = asyncio.create_task(self._client.prompts.get())
        try:
            await asyncio.wait({task, asked}, timeout=self.table.seconds, return_when=asyncio.FIRST_COMPLETED)
            if asked.done():
                return self._observation(self.table.settings.codec.decode(asked.result()))
        finally:
            asked.cancel()
        self._task = None
        if not task.done():
            task.cancel()
            raise Fault(504, "timeout", f"no page within {self.table.seconds:g} s (serve.timeout_seconds)")
        try:
            return self._over(task.result())
        except BudgetError as error:
            raise of_budget(error) from None

    def _over(self, played: Trajectory) -> dict[str, Any]:
        if not played.valid:
            kind = next(iter(self._errors.failures), "engine")
            raise Fault(502, kind, f"the episode ended without a result, a search failed ({kind}): {self._errors.last}")
        ended = {"answer": played.answer, "stop_reason": played.stop_reason, "scores": asdict(played.scores)}
        return self._observation("", done=True, reward=played.reward, **ended)

    def _observation(
        self, text: str, *, done: bool = False, reward: float | None = None, **more: Any
    ) -> dict[str, Any]:
        metadata = self.state
        seen = {"text": text, "answer": None, "stop_reason": None, "scores": None, **more, "metadata": metadata}
        return {"observation": seen, "reward": reward, "done": done, "metadata": metadata}

    async def close(self) -> None:
        """End the episode that is being played, if there is one."""
        task, self._task = self._task, None
        if task is not None and not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
