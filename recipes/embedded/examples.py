"""What the two embedded adapters learn from: scripted episodes (policy) and query-page pairs (simulator)."""

from __future__ import annotations

import random
from collections.abc import Sequence

from recipes.embedded.pairs import pairs
from recipes.embedded.scripted import encode_script, finder, scripts
from zerosearch.engines.bm25 import BM25Engine
from zerosearch.episodes.encoding import encode_prompt
from zerosearch.episodes.episode import EpisodeLimits
from zerosearch.episodes.examples import Example
from zerosearch.episodes.protocol import render_prompt
from zerosearch.factbook.questions import FactbookQuestion
from zerosearch.models.local import LocalModel
from zerosearch.simulator.pairs import page_example

TOP_K = 3
SNIPPET_WORDS = 15
LIMITS = EpisodeLimits(
    max_searches=3, max_turn_tokens=96, max_page_tokens=224, max_context_tokens=1280, answer_reserve_tokens=32
)
"""The embedded default's episode: what the configuration `demo` says too."""


def policy_examples(
    model: LocalModel,
    questions: Sequence[FactbookQuestion],
    engine: BM25Engine,
    *,
    limit: int,
    two_search_share: float,
    seed: int = 0,
) -> list[Example]:
    """At most `limit` scripted episodes as the policy would have lived them: protocol, chat template, pages and all."""
    chosen = random.Random(seed).sample(list(questions), min(limit, len(questions)))
    find = finder(engine, TOP_K, SNIPPET_WORDS)
    codec = model.codec

    def prompt(text: str) -> list[int]:
        return encode_prompt(render_prompt(codec.clean(text)), model.tokenizer)

    examples = []
    for script in scripts(chosen, find, two_search_share=two_search_share, seed=seed):
        encoded = encode_script(script, prompt, codec, LIMITS)
        if encoded is not None:
            examples.append(Example(*encoded, key=script.question.id))
    return examples


def simulator_examples(
    model: LocalModel,
    questions: Sequence[FactbookQuestion],
    engine: BM25Engine,
    *,
    limit: int,
    per_question: int = 1,
    seed: int = 0,
) -> list[Example]:
    """At most `limit` pages, half of them useful and half noisy, each after the prompt it is asked for with."""
    shuffled = random.Random(seed).sample(list(questions), len(questions))
    made = pairs(shuffled, engine, top_k=TOP_K, snippet_words=SNIPPET_WORDS, per_question=per_question, seed=seed)
    return [page_example(model, pair.request, pair.documents) for pair in made[:limit]]
