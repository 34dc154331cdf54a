"""A language model as judge: does this document contain what the query asks for? (ZeroSearch, second version.)

The judge sees query, question, golden answers and one document of the page, and answers with one word. Prose is not
guessed at: where no clear yes or no comes, it is asked once more; then the document counts as unclear and has no
verdict. A page is useful if one of its documents is.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from zerosearch.engines.page_rows import RecordedPage
from zerosearch.episodes.generation import Sampling
from zerosearch.episodes.protocol import Message, chat, field_text
from zerosearch.episodes.replies import thinking, visible
from zerosearch.episodes.rollout import ErrorRate
from zerosearch.episodes.search import Document, Quality
from zerosearch.episodes.seeds import derive_seed
from zerosearch.episodes.tasks import for_each
from zerosearch.errors import EngineError, RunError
from zerosearch.models.chat import ChatModel, Written
from zerosearch.models.completions import EmptyReply
from zerosearch.models.retry import PATIENT, Retry, with_retry
from zerosearch.simulator.label import JUDGE
from zerosearch.simulator.page_text import format_page
from zerosearch.spending.ledger import counted

_VERDICT = re.compile(r"\b(yes|no)\b", re.IGNORECASE)
_SYSTEM = "You judge the results of a search engine. You answer with one word: yes or no."
ATTEMPTS = 2
"""How often a document is asked about, until a verdict is clear."""
MAX_UNCLEAR = 0.5
"""A judge that leaves a larger share of the documents without a verdict is stopped."""
_MAX_TOKENS = 256
"""Room for a word, or a few, and a short thought before."""
_ROOM_TO_THINK = 8192
"""Given to a model that was stopped before it had answered."""
_TRIES = 3
"""So often room is given to what shows no sign of a thought: one that the template opened shows none."""


@dataclass(frozen=True)
class Judged:
    """The pages in order, with the verdict on each document and the label that follows, and how the judge did.

    Pairs of query and document that the judge sees alike count once: `documents` is all of them, `useful`, `unclear`
    and `failed` are some. `complaint`: what failed and why, if anything.
    """

    pages: list[RecordedPage]
    documents: int
    useful: int
    unclear: int
    failed: int
    complaint: str = ""


def judge_messages(page: RecordedPage, document: Document) -> list[Message]:
    """The chat that asks for a verdict on a document of `page`; no field of it can speak for another."""
    answers = "; ".join(field_text(answer) for answer in page.question.golden_answers[:5])
    return chat(
        _SYSTEM,
        "Someone who wants to answer the question below has sent a query to a search engine, perhaps as one "
        "step on the way. Does this result hold, correctly and concretely, the facts that the query asks "
        "for, so that it helps with the question? A result that only shares words or a subject with the query "
        "does not.\n\n"
        f"Question: {field_text(page.question.text)}\nIts answer: {answers}\n"
        f"Query: {field_text(page.query)}\n\n"
        f"Result:\n{format_page([document])}\n\nAnswer yes or no.",
    )


def page_label(verdicts: Sequence[Quality | None]) -> Quality | None:
    """A page is useful if one of its documents is, and noisy if none is. None where a verdict lacks that could decide.

    >>> page_label([Quality.NOISY, None, Quality.USEFUL]), page_label([Quality.NOISY, None])
    (<Quality.USEFUL: 'useful'>, None)
    """
    if Quality.USEFUL in verdicts:
        return Quality.USEFUL
    return Quality.NOISY if verdicts and None not in verdicts else None


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
    """Ask for a verdict on each document of each page, `concurrency` at a time; on those that the judge would see alike
    only once.

    `held` are verdicts that are there already, by `verdict_key`; `keep` is given each new one as it comes. Raises
    `RunError` where more than `MAX_UNCLEAR` of the first fifty documents, or of all, got no verdict (those in `held`
    have one), and where the server stays away.
    """
    keys = [[verdict_key(writer, page, document) for document in page.documents] for page in pages]
    asked = {
        key: (page, document)
        for page, row in zip(pages, keys, strict=True)
        for key, document in zip(row, page.documents, strict=True)
    }
    verdicts = {key: verdict for key in asked if (verdict := (held or {}).get(key)) is not None}
    wanted = {key: one for key, one in asked.items() if key not in verdicts}
    asker = _Asker(writer, retry)
    errors = ErrorRate(what="documents to judge", at_fault="the judge's server")
    done, unclear, last = 0, 0, ""

    async def ask(one: tuple[str, tuple[RecordedPage, Document]]) -> tuple[str, Quality | None, str | EngineError]:
        key, (page, document) = one
        try:
            return key, *await asker.verdict(judge_messages(page, document), key)
        except EngineError as error:
            return key, None, error

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
        if done in (50, len(wanted)) and lost > MAX_UNCLEAR * (lost + len(verdicts)):
            raise RunError(
                f"the judge {writer.model} gave no verdict on {lost} of {counted(lost + len(verdicts), 'document')} "
                f"(last: {last!r}); it must answer yes or no. Take another model, or label by outcome"
            )

    await for_each(wanted.items(), ask, note, limit=concurrency)
    labelled = [_judged(page, [verdicts.get(key) for key in row]) for page, row in zip(pages, keys, strict=True)]
    useful = sum(verdict is Quality.USEFUL for verdict in verdicts.values())
    return Judged(labelled, len(asked), useful, unclear, errors.failed, errors.complaint())


class _Asker:
    """Asks `writer`. A reply that the limit ended before a verdict came is asked for again with room; once that has
    helped, all that is asked later has it from the start."""

    def __init__(self, writer: ChatModel, retry: Retry) -> None:
        self._writer, self._retry = writer, retry
        self._room = _MAX_TOKENS
        self._in_vain = 0

    async def verdict(self, messages: Sequence[Message], key: str) -> tuple[Quality | None, str]:
        """The verdict, None where no attempt brought one, and what was said last. Raises `EngineError`."""
        for attempt in range(ATTEMPTS):
            text = await self._ask(messages, derive_seed(0, "judge", key, attempt), 0.7 * (attempt > 0))
            if (verdict := parse_verdict(text)) is not None:
                break
        return verdict, text

    async def _ask(self, messages: Sequence[Message], seed: int, heat: float) -> str:
        """The reply, thoughts and all. Raises `EngineError` once the attempts or the deadline are used up."""
        written = await self._write(messages, self._room, seed, heat)
        thought = not written.text.strip() or thinking(written.text)
        if not written.truncated or parse_verdict(written.text) or self._room >= _ROOM_TO_THINK:
            return written.text
        if not thought and self._in_vain >= _TRIES:
            return written.text  # it is prose, and would go on
        text = (await self._write(messages, _ROOM_TO_THINK, seed, heat)).text
        if parse_verdict(text):
            self._room = _ROOM_TO_THINK
        else:
            self._in_vain += 1
        return text

    async def _write(self, messages: Sequence[Message], room: int, seed: int, heat: float) -> Written:
        async def attempt(number: int) -> Written:
            try:
                return await self._writer.write(messages, Sampling(heat, max_tokens=room, seed=seed))
            except EmptyReply as error:
                if not error.truncated:
                    raise
                return Written("", truncated=True)

        return (await with_retry(attempt, self._retry))[0]


def _judged(page: RecordedPage, verdicts: Sequence[Quality | None]) -> RecordedPage:
    return replace(page, verdicts=tuple(verdicts)).with_label(JUDGE, page_label(verdicts))


def verdict_key(writer: ChatModel, page: RecordedPage, document: Document) -> str:
    """What a verdict depends on: who judges, and all that the judge is shown."""
    told = [writer.identity, judge_messages(page, document)]
    return hashlib.sha256(json.dumps(told, ensure_ascii=True).encode()).hexdigest()[:32]
