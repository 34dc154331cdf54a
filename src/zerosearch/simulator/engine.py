"""A search engine whose pages a language model writes: the core of the package.

    engine = SimulatedEngine(OpenAIWriter(Server("http://localhost:8000/v1"), "Qwen/Qwen2.5-14B-Instruct"))
    page = await engine.search(SearchRequest(query, top_k=5, question=question, quality=Quality.NOISY, seed=7))

The prompt is made from the request and from nothing else, so a query is always simulated with its own question.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from zerosearch.engines.config import SimulatedConfig
from zerosearch.episodes.generation import Sampling
from zerosearch.episodes.protocol import Message
from zerosearch.episodes.questions import Question
from zerosearch.episodes.search import Document, Quality, SearchPage, SearchRequest, close_connections, holds_answer
from zerosearch.episodes.seeds import derive_seed
from zerosearch.errors import EngineError
from zerosearch.files.identity import digest_of, with_parts
from zerosearch.models.chat import ChatModel
from zerosearch.models.retry import AttemptError, Retry, with_retry
from zerosearch.simulator.decided import (
    PagePlan,
    beginning,
    decided_messages,
    plan_comparison,
    plan_page,
    ranked,
    without,
)
from zerosearch.simulator.hits import Asked, HitPredictor, kind_of
from zerosearch.simulator.page_text import NO_PLAN, PLAN_BEGIN, announces_answer, parse_page
from zerosearch.simulator.passages import beside_messages, stating_messages, write_page
from zerosearch.simulator.prompts import WORDS_PER_DOCUMENT, PromptStyle, simulator_messages
from zerosearch.simulator.worlds import Worlds, Write
from zerosearch.usage import NOTHING, Usage

PAGES_VERSION = 2
"""Of how pages are made. Raise it with any change of code, words or rates after which a page may be another one: pages
of two versions are of two engines. `tests/simulator/test_pages_version.py` fails where it was forgotten."""
_WORD = re.compile(r"\w")
_DECISION_TOKENS = 12  # "<think>none</think>"


class SimulatedEngine:
    """A `SearchEngine`. With a local writer a page is a function of its request, the seed included.

    `settings` are those of `[engine.simulated]`; its model and address are ignored, because the writer is given. A
    query without a word gets an empty page, and the writer is not asked. A text without any document is an
    `EngineError` of kind `empty` after all retries. A text in another form whose documents can be recognised is a page
    with `parsed` False. Failed attempts are paid for too.

    With `settings.hits` a predictor decides, before the page of a useful request is written, whether it contains the
    answer. A noisy page never does. `worlds` has the facts that all pages of a question agree with.
    """

    def __init__(
        self, writer: ChatModel, settings: SimulatedConfig | None = None, *, retry: Retry | None = None
    ) -> None:
        settings = settings or SimulatedConfig()
        self._hits = HitPredictor.open(settings.hits) if settings.hits else None
        self.worlds = Worlds()
        self.name = f"simulated:{writer.model}"
        self.identity = with_parts(
            writer.identity,
            kind="simulated",
            pages_version=PAGES_VERSION,
            style=settings.style,
            prompt=_prompt_digest(settings.style),
            temperature=settings.temperature,
            max_tokens=settings.max_tokens,
            rewrites=settings.rewrites,
            plan_temperature=settings.plan_temperature,
            hits=self._hits.identity if self._hits else None,
            words=settings.words if settings.words != WORDS_PER_DOCUMENT else None,
        )
        self._writer, self._settings, self._retry = writer, settings, retry or Retry()

    async def search(self, request: SearchRequest) -> SearchPage:
        """The page for `request`. Raises `EngineError` once the attempts or the deadline are used up."""
        if not _WORD.search(request.query):
            return SearchPage((), self.name, request.quality)
        style = self._settings.style
        prompt = [] if style == "passages" else simulator_messages(request, style, self._settings.words)
        started = time.perf_counter()
        bill = _Bill()

        async def attempt(number: int) -> SearchPage:
            return await self._write(request, prompt, number, bill)

        try:
            page, attempts = await with_retry(attempt, self._retry)
        except EngineError as error:
            error.usage = bill.usage
            raise
        return replace(
            page,
            engine=self.name,
            quality=request.quality,
            seconds=time.perf_counter() - started,
            usage=bill.usage,
            attempts=attempts + bill.rewrites,
        )

    async def _write(
        self, request: SearchRequest, messages: Sequence[Message], attempt: int, bill: _Bill
    ) -> SearchPage:
        first = request.seed if attempt == 1 else derive_seed("attempt", attempt, request.seed)
        if self._settings.style == "passages":
            return await self._write_passages(request, first, bill)
        if (
            self._hits is not None
            and self._settings.style == "instruct"
            and (_can_tell(request) or _has_facts(request))
        ):
            return await self._write_decided(request, first, bill)
        wanted = hit = self._hit(request)
        begun = await self._decide(request, messages, first, bill) if hit is None else _decided_beginning(request, hit)
        if begun:
            messages = [*messages, {"role": "assistant", "content": begun}]
        for rewrite in range(self._settings.rewrites + 1):
            seed = derive_seed("rewrite", rewrite, first) if rewrite else first
            how = Sampling(self._settings.temperature, max_tokens=self._settings.max_tokens, seed=seed)
            text = begun + await self._text(messages, how, bill)
            page = parse_page(text, request.top_k)
            if not page.documents:
                raise self._nothing(request)
            if wanted is None:
                wanted = _should_hold(request, text)
            if rewrite == self._settings.rewrites or wanted in (None, _holds_answer_to(request, page)):
                break
            bill.rewrites += 1
        if hit is False and request.question is not None:
            page = replace(page, documents=without(request.question.golden_answers, page.documents) or page.documents)
        return replace(page, hit=hit)

    def _hit(self, request: SearchRequest) -> bool | None:
        """What is decided of a tuned simulator's page; None where nothing is."""
        if self._hits is None or request.question is None or not _can_tell(request):
            return None
        asked = Asked(request.question, request.query, request.question.bridge)
        return request.quality is Quality.USEFUL and self._hits.decide(asked)

    async def _write_decided(self, request: SearchRequest, first: int, bill: _Bill) -> SearchPage:
        """A page whose content is decided before: written freely or, in half of the pages and where that fails, with
        its fact in the model's mouth."""
        tell = self._tell(bill)
        plan = await self._plan(request, tell)
        messages = decided_messages(plan, request.top_k, self._settings.words)
        forced = bool(first % 2)
        for rewrite in range(self._settings.rewrites + 2):
            begun = beginning(plan, forced=forced or rewrite > 0)
            told: list[Message] = [*messages, {"role": "assistant", "content": begun}]
            seed = derive_seed("rewrite", rewrite, first) if rewrite else first
            text = await tell(told, self._settings.max_tokens, seed)
            anew = text.lstrip().startswith("[1]")  # a server that does not go on with what was begun
            page = parse_page(text if anew else begun + text, request.top_k)
            documents = without(plan.absent, page.documents)
            if documents and plan.kept(documents):
                break
            bill.rewrites += 1
        missing = [told for told in plan.states if told.fact and not told.kept(documents)]
        documents = (*(Document(told.title, told.fact) for told in missing), *documents)[: request.top_k]
        if not documents:
            raise self._nothing(request)
        return replace(page, documents=ranked(plan, documents, first), hit=plan.hit)

    async def _write_passages(self, request: SearchRequest, first: int, bill: _Bill) -> SearchPage:
        """A page of passages, each written on its own. Where nothing can be decided, none states anything."""
        tell = self._tell(bill)

        async def passage(messages: Sequence[Message], number: int) -> str:
            return await tell(messages, self._settings.max_tokens, derive_seed("passage", number, first))

        plan = await self._plan(request, tell)
        tries = self._settings.rewrites + 1
        documents, rewritten = await write_page(plan, request.query, request.top_k, tries, first, passage)
        bill.rewrites += rewritten
        if not documents:
            raise self._nothing(request)
        made = ranked(plan, documents, first)
        return SearchPage(made, self.name, request.quality, hit=plan.hit)

    async def _plan(self, request: SearchRequest, write: Write) -> PagePlan:
        """What the page shall be, as the predictor decides. It states nothing where nothing can be decided."""
        question, hits = request.question, self._hits
        if question is not None and _has_facts(request):
            return plan_comparison(question, request.query, noisy=request.quality != "useful")
        if question is None or hits is None or not _can_tell(request):
            return PagePlan(None, request.query)
        world = await self.worlds.of(question, write)
        asked = Asked(question, request.query, world.bridge)
        hit = request.quality is Quality.USEFUL and hits.decide(asked)
        return plan_page(question, request.query, kind_of(asked), world, hit=hit, noisy=request.quality != "useful")

    async def _decide(self, request: SearchRequest, messages: Sequence[Message], seed: int, bill: _Bill) -> str:
        """How the plan of a useful page begins: whether it will hold the answer. Empty where there is no plan."""
        heat = self._settings.plan_temperature
        if heat is None or request.quality is not Quality.USEFUL or not _can_tell(request):
            return ""
        how = Sampling(heat, max_tokens=_DECISION_TOKENS, stop=("[", "\n"), seed=seed)
        try:
            text = await self._text(messages, how, bill)
        except AttemptError as error:
            if error.kind != "empty":
                raise
            return ""  # a server cuts a page without a plan, "[1] ...", down to nothing
        return {PLAN_BEGIN: f"{PLAN_BEGIN}[", NO_PLAN.strip(): NO_PLAN}.get(text.strip(), "")

    def _nothing(self, request: SearchRequest) -> AttemptError:
        return AttemptError("empty", f"{self.name}: wrote no document for the query {request.query[:80]!r}")

    def _tell(self, bill: _Bill) -> Write:
        async def tell(messages: Sequence[Message], max_tokens: int, seed: int) -> str:
            how = Sampling(self._settings.temperature, max_tokens=max_tokens, seed=seed)
            return await self._text(messages, how, bill)

        return tell

    async def _text(self, messages: Sequence[Message], how: Sampling, bill: _Bill) -> str:
        try:
            written = await self._writer.write(messages, how)
        except EngineError as error:  # an answer that is of no use may have been written and charged for
            bill.usage += error.usage
            raise
        bill.usage += written.usage
        return written.text

    async def aclose(self) -> None:
        """Close the writer's connections, if it has any."""
        await close_connections(self._writer)


def _decided_beginning(request: SearchRequest, hit: bool) -> str:
    """How a tuned simulator's page begins where it is decided whether it holds the answer."""
    if request.quality is not Quality.USEFUL:
        return ""
    return f"{PLAN_BEGIN}[" if hit else NO_PLAN


def _should_hold(request: SearchRequest, text: str) -> bool | None:
    """Whether the page of `text` should hold a golden answer; None where that is not known."""
    if not _can_tell(request):
        return None
    return announces_answer(text) if request.quality is Quality.USEFUL else False


def _can_tell(request: SearchRequest) -> bool:
    """Whether it can be told of a page if it holds a golden answer: not of `yes`, which any page may hold."""
    question = request.question
    return question is not None and bool(question.golden_answers) and not question.yes_or_no


def _has_facts(request: SearchRequest) -> bool:
    """Whether the data has a fact of each thing that the question compares."""
    return request.question is not None and bool(request.question.compared_facts)


def _holds_answer_to(request: SearchRequest, page: SearchPage) -> bool:
    return request.question is not None and holds_answer(page.documents, request.question.golden_answers)


@dataclass
class _Bill:
    """What one search used, all attempts together."""

    usage: Usage = NOTHING
    rewrites: int = 0


@cache
def _prompt_digest(style: PromptStyle) -> str:
    """Of the words in which a simulator is asked: a release that asks otherwise gets other pages."""
    if style == "passages":
        return digest_of([stating_messages("query", "title", "fact"), beside_messages("query", 1)])
    example = Question("example", "question", ("answer",))
    requests = [SearchRequest("query", 2, example, quality) for quality in Quality]
    return digest_of([simulator_messages(request, style) for request in requests])
