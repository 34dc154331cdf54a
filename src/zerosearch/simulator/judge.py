"""A language model as judge: does this page contain what its query asks for? (ZeroSearch, second version.)

The judge sees query, question, golden answers and the page, and answers with one word. Prose is not guessed at: where
no clear yes or no comes, it is asked once more; then the page counts as unclear and gets no label of this way.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from zerosearch.engines.page_rows import RecordedPage
from zerosearch.episodes.protocol import Message, chat, field_text
from zerosearch.episodes.replies import visible
from zerosearch.episodes.rollout import ErrorRate
from zerosearch.episodes.search import Quality
from zerosearch.episodes.seeds import derive_seed
from zerosearch.episodes.tasks import for_each
from zerosearch.errors import EngineError, RunError
from zerosearch.models.chat import ChatModel
from zerosearch.models.retry import PATIENT, Retry
from zerosearch.simulator.asker import Asker
from zerosearch.simulator.label import JUDGE
from zerosearch.simulator.page_text import format_page

_VERDICT = re.compile(r"\b(yes|no)\b", re.IGNORECASE)
_SYSTEM = "You judge the results of a search engine. You answer with one word: yes or no."


ATTEMPTS = 2
"""How often a page is asked about, until a verdict is clear."""
MAX_UNCLEAR = 0.5
"""A judge that leaves a larger share of the pages without a verdict is stopped."""


@dataclass(frozen=True)
class Judged:
    """The pages with their labels, in order, and how the judge did. `complaint`: what failed and why, if anything."""

    pages: list[RecordedPage]
    unclear: int
    failed: int
    complaint: str = ""


def judge_messages(page: RecordedPage) -> list[Message]:
    """The chat that asks for a verdict on `page`; no field of it can speak for another."""
    answers = "; ".join(field_text(answer) for answer in page.question.golden_answers[:5])
    return chat(
        _SYSTEM,
        "Someone who wants to answer the question below has sent a query to a search engine, perhaps as one "
        "step on the way. Does the result page hold, correctly and concretely, the facts that the query asks "
        "for, so that it helps with the question? A page that only shares words or a subject with the query "
        "does not.\n\n"
        f"Question: {field_text(page.question.text)}\nIts answer: {answers}\n"
        f"Query: {field_text(page.query)}\n\n"
        f"Result page:\n{format_page(page.documents)}\n\nAnswer yes or no.",
    )


def parse_verdict(text: str) -> Quality | None:
    """`yes` is useful, `no` noisy. None where the text says neither, or both: prose is not guessed at.

    >>> parse_verdict("Yes.")
    <Quality.USEFUL: 'useful'>
    """
    found = {word.lower() for word in _VERDICT.findall(visible(text))}
    if len(found) != 1:
        return None
    return Quality.USEFUL if found == {"yes"} else Quality.NOISY


async def judge(
    pages: Sequence[RecordedPage],
    writer: ChatModel,
    *,
    concurrency: int = 32,
    retry: Retry = PATIENT,
    held: Mapping[str, Quality] | None = None,
    keep: Callable[[str, Quality], None] = lambda key, verdict: None,
) -> Judged:
    """Ask for a verdict on each page, `concurrency` at a time. Pages that the judge would see alike are judged once.

    `held` are verdicts that are there already, by `verdict_key`; `keep` is given each new one as it comes. Raises
    `RunError` where more than `MAX_UNCLEAR` of the first fifty pages, or of all, got no verdict, and where the server
    stays away.
    """
    keys = [verdict_key(writer, page) for page in pages]
    verdicts = {key: verdict for key in keys if (verdict := (held or {}).get(key)) is not None}
    wanted = {key: page for key, page in zip(keys, pages, strict=True) if key not in verdicts}
    asker = Asker(writer, retry)
    errors = ErrorRate(what="pages to judge", at_fault="the judge's server")
    done, unclear, last = 0, 0, ""

    async def ask(one: tuple[str, RecordedPage]) -> tuple[str, Quality | None, str | EngineError]:
        key, page = one
        for attempt in range(ATTEMPTS):
            seed, heat = derive_seed(0, "judge", page.question.id, page.query, attempt), 0.7 * (attempt > 0)
            try:
                text = await asker.ask(judge_messages(page), heat=heat, seed=seed, read=parse_verdict)
            except EngineError as error:
                return key, None, error
            if (verdict := parse_verdict(text)) is not None:
                break
        return key, verdict, text

    def note(judged: tuple[str, Quality | None, str | EngineError]) -> None:
        nonlocal done, unclear, last
        key, verdict, said = judged
        done += 1
        if isinstance(said, EngineError):
            errors.failure(said)
        else:
            errors.success()
            unclear += verdict is None
        if verdict is not None:
            verdicts[key] = verdict
            keep(key, verdict)
        else:
            last = " ".join(str(said).split())[:120]
        lost = unclear + errors.failed
        if done in (50, len(wanted)) and lost > MAX_UNCLEAR * done:
            raise RunError(
                f"the judge {writer.model} gave no verdict on {lost} of {done} pages (last: {last!r}); it must answer "
                "yes or no. Take another model, or label by outcome"
            )

    await for_each(wanted.items(), ask, note, limit=concurrency)
    labelled = [page.with_label(JUDGE, verdicts.get(key)) for key, page in zip(keys, pages, strict=True)]
    return Judged(labelled, unclear, errors.failed, errors.complaint())


def verdict_key(writer: ChatModel, page: RecordedPage) -> str:
    """What a verdict depends on: who judges, and all that the judge is shown."""
    told = [writer.identity, judge_messages(page)]
    return hashlib.sha256(json.dumps(told, ensure_ascii=True).encode()).hexdigest()[:32]
