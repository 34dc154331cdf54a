"""From labelled pages to what a simulator is tuned on: balanced classes, loss on the page alone.

Each example is the simulator's own prompt (question, answer, query, "Write 5 useful documents.") and, to be learned,
the page that the real engine returned. The word in the prompt is the page's label: it comes to decide the page.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from zerosearch.engines.pages import format_page
from zerosearch.engines.writers import render_messages
from zerosearch.errors import DataError
from zerosearch.examples import Example
from zerosearch.generators.local import LocalModel
from zerosearch.prompts import simulator_messages
from zerosearch.search import Document, Quality, SearchRequest
from zerosearch.simulation.label import LabelledPage

MIN_CLASS = 20
"""Fewer pages of a class than this teach no word."""


@dataclass(frozen=True)
class TuningPair:
    """What a simulator is asked, and the page it should write."""

    request: SearchRequest
    documents: tuple[Document, ...]


def tuning_pairs(
    pages: Sequence[LabelledPage], way: str, *, top_k: int, limit: int | None = None, seed: int = 0
) -> list[TuningPair]:
    """As many useful as noisy pages, by the labels of `way`; the larger class gives up pages by seeded draw.

    A page is cut to `top_k` documents, and its prompt asks for as many as it has. Equal pages of one query and one
    label count once, and those labelled both ways (rollouts of unlike outcome) are left out: they teach nothing.

    Raises `DataError` where a class has fewer than `MIN_CLASS` pages.
    """
    seen: dict[tuple[str, str, tuple[Document, ...]], set[Quality]] = {}
    first: dict[tuple[str, str, tuple[Document, ...]], LabelledPage] = {}
    for page in pages:
        if way in page.labels:
            key = (page.question.id, page.query, page.documents[:top_k])
            seen.setdefault(key, set()).add(page.labels[way])
            first.setdefault(key, page)
    classes: dict[Quality, list[TuningPair]] = {quality: [] for quality in Quality}
    for key, qualities in seen.items():
        if len(qualities) == 1:
            page, (quality,) = first[key], qualities
            documents = page.documents[:top_k]
            request = SearchRequest(page.query, len(documents), page.question, quality)
            classes[quality].append(TuningPair(request, documents))
    sizes = {str(quality): len(found) for quality, found in classes.items()}
    fewest = min(sizes.values())
    if fewest < MIN_CLASS:
        raise DataError(
            f"labels by {way}: {sizes['useful']} useful and {sizes['noisy']} noisy pages, too unbalanced to tune on "
            f"(at least {MIN_CLASS} of each); collect more, or label another way"
        )
    rng = random.Random(seed)
    count = fewest if limit is None else min(fewest, limit // 2)
    chosen = [pair for found in classes.values() for pair in rng.sample(found, count)]
    rng.shuffle(chosen)
    return chosen


def page_example(model: LocalModel, request: SearchRequest, documents: Sequence[Document]) -> Example:
    """The training text of a page: a simulator's prompt (mask 0), the page and the end of text (mask 1)."""
    before = render_messages(simulator_messages(request, "tuned"), model.tokenizer)
    page = [*model.codec.encode(format_page(documents)), int(model.tokenizer.eos_token_id)]
    key = request.question.id if request.question is not None else ""
    return Example(before + page, [0] * len(before) + [1] * len(page), key)
