"""One fixed reader of real and simulated pages: does it give the same answer?

A page that *holds* the answer need not lead to it, and a page that misleads does so only for a reader. The reader is
any `ChatModel`. It sees the question and one page, decodes greedily, and never sees the golden answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from zerosearch.episodes.protocol import Message, chat, field_text
from zerosearch.episodes.replies import bare_line, visible
from zerosearch.episodes.rollout import ErrorRate
from zerosearch.episodes.scoring import exact_match, normalize, token_f1
from zerosearch.episodes.search import SearchPage
from zerosearch.episodes.seeds import derive_seed
from zerosearch.episodes.tasks import for_each
from zerosearch.errors import EngineError, RunError
from zerosearch.models.chat import ChatModel
from zerosearch.models.retry import PATIENT, Retry
from zerosearch.simulator.asker import Asker
from zerosearch.simulator.fidelity import SIDES, Compared
from zerosearch.simulator.label import cohens_kappa
from zerosearch.simulator.page_text import format_page
from zerosearch.simulator.style import mean

UNKNOWN = "unknown"
_SYSTEM = "You answer questions from a page of search results. You write the answer alone, in a few words."


@dataclass
class Reading:
    """The reader's answers to one query by page (`real`, `useful`, `noisy`); None where it could not be asked."""

    compared: Compared
    answers: dict[str, str | None]
    error: str = ""


def reader_messages(question: str, page: SearchPage) -> list[Message]:
    """The chat that asks for the answer to `question` from `page` alone; no field of it can speak for another."""
    documents = "\n".join(map(field_text, format_page(page.documents).split("\n")))
    return chat(
        _SYSTEM,
        f"Result page:\n{documents}\n\nQuestion: {field_text(question)}\n\n"
        f"Answer from this page alone. Where it does not hold the answer, write: {UNKNOWN}",
    )


def parse_answer(text: str) -> str:
    """The first line that is no thought, without a leading `Answer:` or the like; `unknown` where nothing is left.

    >>> parse_answer("<think> It says so. </think>\\n**Answer:** Kathmandu")
    'Kathmandu'
    """
    lines = map(bare_line, visible(text).splitlines())
    return next((line for line in lines if normalize(line)), UNKNOWN)


async def read_pages(
    compared: Sequence[Compared], writer: ChatModel, *, concurrency: int = 32, retry: Retry = PATIENT, seed: int = 0
) -> list[Reading]:
    """The answers to the queries whose three pages were all found, in order. An empty page is not asked about.

    A page that the reader could not be asked about has no answer; what went wrong is in `error`. Where its server stays
    away, it is asked no further: what was compared stands without it.
    """
    asker = Asker(writer, retry)
    errors = ErrorRate(what="pages to read", at_fault="the reader's server")
    readings: list[Reading] = []
    wanted: list[tuple[Reading, str, SearchPage]] = []
    for one in compared:
        pages = {side: page for side in SIDES if (page := getattr(one, side)) is not None}
        if len(pages) == len(SIDES):
            readings.append(Reading(one, {side: None if page.documents else UNKNOWN for side, page in pages.items()}))
            wanted += [(readings[-1], side, page) for side, page in pages.items() if page.documents]

    async def ask(one: tuple[Reading, str, SearchPage]) -> tuple[Reading, str, str | EngineError]:
        reading, side, page = one
        question = reading.compared.asked.question.text
        messages, drawn = reader_messages(question, page), derive_seed(seed, "reader", question)
        try:
            return reading, side, await asker.ask(messages, seed=drawn, read=lambda said: visible(said).strip())
        except EngineError as error:
            return reading, side, error

    def note(answered: tuple[Reading, str, str | EngineError]) -> None:
        reading, side, said = answered
        if isinstance(said, EngineError):
            reading.error = str(said)
            errors.failure(said)
        else:
            reading.answers[side] = parse_answer(said)
            errors.success()

    try:
        await for_each(wanted, ask, note, limit=concurrency)
    except RunError as gone:
        for reading in readings:
            if None in reading.answers.values():
                reading.error = reading.error or str(gone)
    return readings


def reader_report(readings: Sequence[Reading], model: str) -> dict[str, Any]:
    """The figures, JSON-ready; shares of nothing are None. Only queries with all three answers count.

    `agreement` is that of the answers on the real and on the useful page: `same`, the share of queries with equal
    normalised answers (`unknown` is an answer), and Cohen's kappa on whether they are right (EM).
    """
    whole = [r for r in readings if None not in r.answers.values()]
    golden = [r.compared.asked.question.golden_answers for r in whole]
    answers = {side: [r.answers[side] or "" for r in whole] for side in SIDES}
    right = {side: [exact_match(a, g) for a, g in zip(answers[side], golden, strict=True)] for side in SIDES}
    same = [normalize(a) == normalize(b) for a, b in zip(answers["real"], answers["useful"], strict=True)]
    return {
        "model": model,
        "queries": len(whole),
        "failed": len(readings) - len(whole),
        "error": next((r.error for r in readings if r.error), None),
        "pages": {
            side: {
                "em": mean(right[side]),
                "f1": mean([token_f1(a, g) for a, g in zip(answers[side], golden, strict=True)]),
                "unknown": mean([float(normalize(a) == UNKNOWN) for a in answers[side]]),
            }
            for side in SIDES
        },
        "agreement": {
            "same": mean([float(s) for s in same]),
            "kappa": cohens_kappa(list(zip(right["real"], right["useful"], strict=True))),
        },
    }
