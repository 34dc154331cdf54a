"""Episodes as the page of a report reads them: small, cleaned, every text kept once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from zerosearch.cleaning import clean
from zerosearch.episodes.streaming import TextStream
from zerosearch.episodes.trajectory import SearchRecord, Trajectory
from zerosearch.reports.played import Played, Turn, as_found, told_page, why

Decode = Callable[[Sequence[int]], str]
_LEAST = 9999  # hundredths of a nat: below a probability of 1e-43 nobody looks


class Texts:
    """Every text that the page shows, once, by its number. Secrets and control characters are taken out here."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        place = self._numbers.get(text)
        if place is None:
            place = self._numbers[text] = len(self.shown)
            self.shown.append(clean(text))
        return place


class Tokens:
    """What each token of a model says. `decode` gives ids their text, nothing left out."""

    def __init__(self, decode: Decode) -> None:
        self.text = decode
        self._known: dict[int, str] = {}

    def pieces(self, ids: Sequence[int], whole: str) -> list[tuple[str, int]]:
        """The pieces of `whole`, the text of `ids`, each with its number of tokens; empty where they do not add up.

        A character of several tokens is one piece.
        """
        said = [self._one(i) for i in ids]
        if "".join(said) == whole and "\ufffd" not in whole:
            return [(text, 1) for text in said]
        stream = TextStream(self.text)
        found: list[tuple[str, int]] = []
        waiting = 0
        for i in ids:
            waiting += 1
            if text := stream.feed(i):
                found.append((text, waiting))
                waiting = 0
        if rest := stream.finish():
            found.append((rest, max(waiting, 1)))
        return found if "".join(text for text, _ in found) == whole else []

    def _one(self, i: int) -> str:
        if i not in self._known:
            self._known[i] = self.text([i])
        return self._known[i]


def page_row(
    one: Played, run: int, texts: Texts, *, score: str, tokens: Tokens | None, after: int | None = None
) -> Any:
    """One episode. `run` is the number of its run in the report, `after` the steps behind an evaluation.

    Probabilities are hundredths of a nat, as whole numbers: p = exp(-n / 100).
    """
    t = one.trajectory
    number = texts.number
    parts = [_prompt(t, texts, tokens)] if t is not None else []
    for place, turn in enumerate(one.turns):
        if turn.text:
            parts.append(_turn(turn, t, texts, tokens))
        after_it = _masked_after(one, place)
        if turn.search is not None:
            parts.append(_page(turn.search, one, texts) | after_it)
        elif t is not None and after_it.get("n") and tokens is not None and place + 1 < len(one.turns):
            note = tokens.text(t.ids[turn.end : one.turns[place + 1].start])
            parts.append({"t": "note", "s": number(note), **after_it})
    return {
        "run": run,
        "step": None if one.step is None else one.step + 1,
        "after": after,
        "where": number(one.where),
        "group": one.group,
        "try": one.rollout + 1,
        "id": number(one.question.id),
        "q": number(one.question.text),
        "golden": [number(text) for text in one.question.golden_answers],
        "answer": None if one.answer is None else number(one.answer),
        "reward": _finite(one.reward),
        "f1": _finite(one.scores.f1),
        "em": _finite(one.scores.em),
        "searches": len(one.searches),
        "quality": list(one.qualities),
        "stop": number(one.stop_reason),
        "error": None if one.error is None else number(one.error),
        "tokens": one.policy_tokens,
        "seconds": _finite(one.seconds),
        "why": number(why(one, score)),
        "parts": parts,
    }


def _prompt(t: Trajectory, texts: Texts, tokens: Tokens | None) -> dict[str, Any]:
    said = {"s": texts.number(tokens.text(t.ids[: t.prompt_length]))} if tokens is not None else {}
    return {"t": "prompt", "n": t.prompt_length, **said}


def _turn(turn: Turn, t: Trajectory | None, texts: Texts, tokens: Tokens | None) -> dict[str, Any]:
    """The policy's own text. Where it holds a secret it is shown as a whole: a token may be half of one."""
    part: dict[str, Any] = {"t": "turn"}
    if t is None or turn.start is None or turn.end is None:
        return part | {"s": texts.number(turn.text)}
    part["n"] = turn.end - turn.start
    part["own"] = int(all(t.mask[turn.start : turn.end]))
    pieces = tokens.pieces(t.ids[turn.start : turn.end], turn.text) if tokens is not None else []
    if not pieces or clean(turn.text) != turn.text:
        return part | {"s": texts.number(turn.text)}
    logprobs, place = [], turn.start
    for _, count in pieces:
        logprobs.append(_hundredths(sum(t.logprobs[place : place + count])))
        place += count
    return part | {"k": [texts.number(text) for text, _ in pieces], "p": logprobs}


def _page(search: SearchRecord, one: Played, texts: Texts) -> dict[str, Any]:
    held = as_found(search, one.question.golden_answers)
    documents = [
        [texts.number(d.title), texts.number(d.text), int(n in held)] for n, d in enumerate(search.documents, start=1)
    ]
    return {
        "t": "page",
        "query": texts.number(search.query),
        "quality": str(search.quality or ""),
        "told": texts.number(told_page(search, one.question)),
        "docs": documents,
        "engine": texts.number(search.engine),
    }


def _masked_after(one: Played, place: int) -> dict[str, int]:
    """How many tokens between a turn and the next are not the policy's."""
    t, turn = one.trajectory, one.turns[place]
    if t is None or turn.end is None:
        return {}
    following = one.turns[place + 1].start if place + 1 < len(one.turns) else len(t.ids)
    return {"n": (following if following is not None else len(t.ids)) - turn.end}


def _hundredths(logprob: float) -> int | None:
    return None if not math.isfinite(logprob) else min(max(round(-100 * logprob), 0), _LEAST)


def _finite(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None
