"""An episode whose searches are tool calls: the state of one question in another trainer's environment.

    episode = engine.tool_episode("Who wrote Emma?", ["Jane Austen"], noise=0.2)
    await episode.search("author of Emma")        # the page as text; the simulator knows question and answer
    episode.score("Jane Austen").f1

`docs/environments.md` has an example a trainer.
"""

from __future__ import annotations

import time
from functools import partial

from zerosearch.episodes.curriculum import draw_quality
from zerosearch.episodes.protocol import CONTROL_TEXTS, neutralize, render_document
from zerosearch.episodes.questions import Question
from zerosearch.episodes.scoring import Scores, score_answer
from zerosearch.episodes.search import SearchEngine, SearchRequest
from zerosearch.episodes.seeds import derive_seed
from zerosearch.episodes.shared_pages import same_query
from zerosearch.episodes.trajectory import SearchRecord
from zerosearch.errors import EngineError

NOTHING_FOUND = "Nothing was found."


class ToolEpisode:
    """One question, and the searches that a model makes for it by calling a tool.

    The question and its golden answers are sent with every query, so that a simulated page fits them. With probability
    `noise` such a page is noisy; real engines have no noise. Equal queries of a question have the same draw and the
    same seed in every episode of the same `seed`. `searches` contains queries and pages, also failed searches.
    """

    def __init__(
        self, engine: SearchEngine, question: Question, *, top_k: int = 5, noise: float = 0.0, seed: int = 0
    ) -> None:
        self._engine, self._top_k, self._noise, self._seed = engine, top_k, noise, seed
        self.question = question
        self.searches: list[SearchRecord] = []

    async def search(self, query: str) -> str:
        """The page for `query`, `[1] Title: text` line by line. Control tokens and tags in it are neutralised. Raises
        `EngineError` if the search failed: let the trainer count it, and do not show it as a page.
        """
        seed = derive_seed(self._seed, self.question.id, "page", same_query(query))
        request = SearchRequest(query, self._top_k, self.question, draw_quality(self._noise, seed), seed)
        started = time.perf_counter()
        try:
            page = await self._engine.search(request)
        except EngineError as error:
            seconds = time.perf_counter() - started
            self.searches.append(SearchRecord.failed(request, self._engine.name, error, seconds, self._noise or None))
            raise
        self.searches.append(SearchRecord.of(query, page, self._noise))
        clean = partial(neutralize, special_tokens=CONTROL_TEXTS)
        lines = [render_document(document, rank, clean) for rank, document in enumerate(page.documents, start=1)]
        return "\n".join(lines) or NOTHING_FOUND

    def score(self, answer: str | None) -> Scores:
        """EM, F1 and cover-EM of an answer against the golden answers; None and an empty one score 0."""
        return score_answer(answer or None, self.question.golden_answers, well_formed=bool(answer))
