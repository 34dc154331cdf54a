"""What the embedded simulator knows: the countries of the Factbook, and nothing else.

Asked about an invented village it writes pages about Germany, so a run with other questions is warned.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from zerosearch.episodes.questions import Question
from zerosearch.episodes.scoring import normalize
from zerosearch.factbook.questions import PREFIX
from zerosearch.factbook.shipped import manifest
from zerosearch.models.embedded import EMBEDDED

EMBEDDED_SIMULATOR = "embedded:simulator"
ENOUGH = 0.5
_LOOKED_AT = 500  # questions


def embedded_warning(model: str | None, adapter: str | None, source: str, questions: Sequence[Question]) -> str | None:
    """What to say where the embedded simulator is asked questions that it knows nothing of, or its model lacks the
    adapter; None: nothing.

    `model` None: it is behind a URL.
    `source` is where the questions are from. Those of the Factbook itself are known; of others at least half must name
    a country of it. Give no questions where they cannot be looked at yet.
    """
    if model == EMBEDDED and adapter is None:
        return (
            f"the simulator {model} has no adapter: it was not taught to write pages. Set "
            f'engine.simulated.adapter = "{EMBEDDED_SIMULATOR}" for questions about countries, or take another model '
            "(docs/simulator.md, Your own data)"
        )
    if adapter != EMBEDDED_SIMULATOR or source.startswith(PREFIX):
        return None
    countries = {name for names in manifest()["countries"].values() for name in names}
    share = known_share(questions, countries) if questions else None
    if share is not None and share >= ENOUGH:
        return None
    told = f", and {share:.0%} of the questions of {source} name one" if share is not None else ""
    return (
        f"the simulator {adapter} knows the countries of the Factbook and nothing else{told}: on other questions its "
        "pages are about something else. Take another simulator (docs/simulator.md, Your own data)"
    )


def known_share(questions: Sequence[Question], names: Iterable[str]) -> float:
    """The share of (the first 500) questions whose text or answers name one of `names`; 0 of none."""
    wanted = [f" {normalize(name)} " for name in names]
    texts = [f" {normalize(' '.join((q.text, *q.golden_answers)))} " for q in questions[:_LOOKED_AT]]
    return sum(any(name in text for name in wanted) for text in texts) / max(len(texts), 1)
