"""From labelled pages to training examples of a simulator: balanced classes, loss on the page alone.

Each example is the simulator's own prompt (question, answer, query, "Write 5 useful documents.") and, to be learned,
the page that the real engine returned. The word in the prompt is the page's label: it comes to decide the page.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

from zerosearch.engines.lexical import Lexicon
from zerosearch.engines.page_rows import RecordedPage
from zerosearch.episodes.examples import Example
from zerosearch.episodes.protocol import Message
from zerosearch.episodes.search import Document, Quality, SearchRequest, holds_answer
from zerosearch.errors import ConfigError, DataError
from zerosearch.models.chat import render_messages
from zerosearch.models.local import LocalModel
from zerosearch.simulator.label import CONTAINMENT, JUDGE, named
from zerosearch.simulator.page_text import QUOTED_WORDS, answer_spans, format_page, format_plan
from zerosearch.simulator.prompts import simulator_messages
from zerosearch.spending.ledger import counted

RANK = "rank"
"""Instead of a label: every page is useful as it was returned, and what is ranked behind it is noisy."""
_ALIKE = 8  # questions like a query, of which a wrong one is drawn
MIN_CLASS = 20
"""Fewer pages of a class than this teach no word."""


@dataclass(frozen=True)
class TuningPair:
    """What a simulator is asked, and the page it should write."""

    request: SearchRequest
    documents: tuple[Document, ...]


def tuning_pairs(
    pages: Sequence[RecordedPage],
    way: str,
    *,
    top_k: int,
    limit: int | None = None,
    misdirected_share: float = 0.0,
    seed: int = 0,
) -> list[TuningPair]:
    """As many useful as noisy pages, by the labels of `way`; the larger class gives up pages by seeded draw.

    A page is cut to `top_k` documents, and its prompt asks for as many as it has. Equal pages of one query and one
    label count once; those labelled both ways are left out. Of the documents found for the query of a useful page,
    those that may be noise (`_noise`) make a second, noisy page: only one word of the prompt tells the two pages apart.
    With `way` = `judge` the verdicts of the judge say what is noise. With `way` = `rank` every page is useful as it was
    returned, and these are the only noisy ones. `misdirected_share` adds useful pages under another question, as a
    share of them (`misdirected`).

    Raises `DataError` where a class has fewer than `MIN_CLASS` pages, or where no page has such a label.
    """
    labelled = _distinct(pages, way, top_k)
    rng = random.Random(seed)
    useful = [page for page, quality in labelled if quality is Quality.USEFUL]
    useful += misdirected(useful, round(misdirected_share * len(useful)), rng)
    found = _found(pages, judged=way == JUDGE)
    candidates = (_noisy_twin(page, found.get((page.question.id, page.query), {}), top_k, rng) for page in useful)
    twins = [twin for twin in candidates if twin is not None]
    others = [_pair(page, Quality.NOISY, top_k) for page, quality in labelled if quality is Quality.NOISY]
    fewest = min(len(useful), len(twins) + len(others))
    if not labelled:
        there = ", ".join(sorted({name for page in pages for name in page.labels} - {CONTAINMENT})) or "none"
        raise DataError(
            f"no page has a label by {way} (there are labels by: {there}); take another --by, or label the pages again"
        )
    if fewest < MIN_CLASS:
        raise DataError(
            f"labels by {way}: {len(useful)} useful and {counted(len(twins) + len(others), 'noisy page')}, "
            f"too unbalanced to tune on (at least {MIN_CLASS} of each); collect more, or label another way"
        )
    count = fewest if limit is None else min(fewest, limit // 2)
    noisy = rng.sample(twins, min(count, len(twins)))  # the ones that part only by the word come first
    noisy += rng.sample(others, count - len(noisy))
    chosen = [_pair(page, Quality.USEFUL, top_k) for page in rng.sample(useful, count)] + noisy
    rng.shuffle(chosen)
    return chosen


def _distinct(pages: Sequence[RecordedPage], way: str, top_k: int) -> list[tuple[RecordedPage, Quality]]:
    """Each page once, with its one label; the recording that reaches deepest stands for its equals."""
    seen: dict[tuple[str, str, tuple[Document, ...]], set[Quality]] = {}
    deepest: dict[tuple[str, str, tuple[Document, ...]], RecordedPage] = {}
    for page in pages:
        label = Quality.USEFUL if way == RANK else page.labels.get(way)
        key = (page.question.id, page.query, page.documents[:top_k])
        if label is not None:
            seen.setdefault(key, set()).add(label)
        if key not in deepest or len(page.documents) > len(deepest[key].documents):
            deepest[key] = page
    return [(deepest[key], next(iter(labels))) for key, labels in seen.items() if len(labels) == 1]


def _pair(page: RecordedPage, quality: Quality, top_k: int) -> TuningPair:
    documents = page.documents[:top_k]
    return TuningPair(SearchRequest(page.query, len(documents), page.question, quality), documents)


def _found(pages: Sequence[RecordedPage], *, judged: bool) -> dict[tuple[str, str], dict[Document, Quality | None]]:
    """By question and query the documents found for it, in order and without their ids, and with `judged` the verdict
    on each. Where two judges differ, it is useful.
    """
    found: dict[tuple[str, str], dict[Document, Quality | None]] = {}
    for page in pages:
        documents = found.setdefault((page.question.id, page.query), {})
        for document, verdict in zip_longest(map(_bare, page.documents), page.verdicts if judged else ()):
            if documents.get(document) is not Quality.USEFUL:
                documents[document] = verdict or documents.get(document)
    return found


def _noisy_twin(
    page: RecordedPage, found: Mapping[Document, Quality | None], top_k: int, rng: random.Random
) -> TuningPair | None:
    """A noisy page for the query of `page`, of the documents `found` for it; None where they are too few.

    Those that are on the page already are left out, unless the judge told them from a useful one beside them.
    """
    shown = [_bare(document) for document in page.documents[:top_k]]
    told = Quality.USEFUL in map(found.get, shown)
    rest = [d for d, verdict in found.items() if (told or d not in shown) and _noise(page, d, verdict)]
    if len(rest) < len(shown):
        return None
    documents = tuple(rest[place] for place in sorted(rng.sample(range(len(rest)), len(shown))))
    return TuningPair(SearchRequest(page.query, len(documents), page.question, Quality.NOISY), documents)


def _bare(document: Document) -> Document:
    """The document as a judge and a policy see it: two engines know it by different ids."""
    return replace(document, id="")


def _noise(page: RecordedPage, document: Document, verdict: Quality | None) -> bool:
    """Whether a noisy page for the query of `page` may hold `document`: not if it was judged useful, or holds a golden
    answer.

    Without a verdict neither if the query names it, nor for a question of yes or no, whose answer any text may hold.
    """
    if verdict is None and (page.question.yes_or_no or named(document, page.query)):
        return False
    answers = () if page.question.yes_or_no else page.question.golden_answers
    return verdict is not Quality.USEFUL and not holds_answer([document], answers)


def misdirected(pages: Sequence[RecordedPage], count: int, rng: random.Random) -> list[RecordedPage]:
    """At most `count` of the pages under another question: one like the query, whose answer the page does not hold.

    Policies ask beside the point: about the wrong country, the wrong film. An engine then gives what it was asked for,
    and a simulator that only ever saw queries which fit their question would print that question's answer all the same.
    """
    questions = list({page.question.id: page.question for page in pages}.values())
    if count < 1 or len(questions) < 2:
        return []
    ranked = Lexicon([question.text for question in questions])
    out: list[RecordedPage] = []
    for page in rng.sample(list(pages), len(pages)):
        others = [questions[place] for place in ranked.nearest(page.query, _ALIKE)]
        wrong = [q for q in others if q.id != page.question.id and not holds_answer(page.documents, q.golden_answers)]
        if wrong and len(out) < count:
            out.append(replace(page, question=rng.choice(wrong)))
    return out


def page_example(
    model: LocalModel,
    request: SearchRequest,
    documents: Sequence[Document],
    *,
    plan: bool = True,
    answer_weight: int = 1,
) -> Example:
    """The training text of a page: a simulator's prompt (mask 0), its plan, the page and the end of text (mask 1).

    The plan, and golden answers with the words before them, where they stand in the page word for word, have the mask
    `answer_weight`. They are a few of 300 tokens, and decide whether the page is what was asked for. Raises
    `ConfigError` for a weight with a tokenizer that does not tell where its tokens stand.
    """
    golden = request.question.golden_answers if request.question is not None else ()
    note = format_plan(documents, golden) if plan else ""
    text = note + format_page(documents)
    spans = [(0, len(note)), *answer_spans(text, golden, before=QUOTED_WORDS)]
    key = request.question.id if request.question is not None else ""
    return chat_example(model, simulator_messages(request, "tuned"), text, key, spans, answer_weight)


def chat_example(
    model: LocalModel,
    messages: Sequence[Message],
    text: str,
    key: str,
    spans: Sequence[tuple[int, int]],
    weight: int,
) -> Example:
    """`messages` (mask 0), `text` and the end of text (mask 1; tokens of `text` in `spans` of characters: `weight`).

    Raises `ConfigError` for a weight with a tokenizer that does not tell where its tokens stand.
    """
    before, ids = render_messages(messages, model.tokenizer), model.codec.encode(text)
    mask = _weights(model.tokenizer, text, ids, spans, weight) if weight > 1 and spans else [1] * len(ids)
    return Example([*before, *ids, int(model.tokenizer.eos_token_id)], [0] * len(before) + mask + [1], key)


def _weights(tokenizer: Any, text: str, ids: Sequence[int], spans: Sequence[tuple[int, int]], weight: int) -> list[int]:
    """`weight` for every token of `text` that shares a character with a span, else 1."""
    if not tokenizer.is_fast:
        raise ConfigError("an answer weight needs a fast tokenizer, which tells where its tokens stand")
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    assert list(encoded["input_ids"]) == list(ids)
    return [
        weight if any(start < span[1] and span[0] < end for span in spans) else 1
        for start, end in encoded["offset_mapping"]
    ]
