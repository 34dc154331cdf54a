"""Pages to learn from whether a query hits: python hit_rows.py CORPUS.jsonl.gz TRAIN_FOLDER OUT.jsonl

BM25 is asked about questions that the corpus *covers*: for a question of one hop a passage with the answer shares most
of its words; for one of two hops a passage whose title the question names has the answer itself, or names another whose
own passage has it (the *bridge*). So the rates are those of an engine that can answer. Asked are the whole question, a
part of it, a first hop (what the question names), a second hop (the bridge and what is asked of it), and what is beside
the point (another name of the first passage, another question). `zerosearch tune --by hits` takes the rows.
"""

from __future__ import annotations

import gzip
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from choose_questions import LITTLE, bare
from script import arguments, run

from zerosearch.engines.bm25 import BM25Engine
from zerosearch.episodes.questions import Question, load_questions
from zerosearch.episodes.scoring import contains_answer, normalize

TOP, MOST_PASSAGES, SHARED = 3, 8, 0.6
ONE_HOP = 2500
"""Questions of one hop that are kept, of some 4,000 that are covered."""
TOKEN = re.compile(r"\w[\w'’-]*")


@dataclass(frozen=True)
class Named:
    """A title that a text names: `tokens[start:end]`, as it stands there."""

    title: str
    surface: str
    start: int
    end: int


class Passages:
    """The corpus by title, and as normalised text."""

    def __init__(self, path: Path) -> None:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            self.rows: list[dict[str, str]] = [json.loads(line) for line in lines]
        self.titles: dict[str, list[int]] = defaultdict(list)
        for place, row in enumerate(self.rows):
            self.titles[bare(row["title"])].append(place)
        self.texts = [f" {normalize(row['title'] + ' ' + row['text'])} " for row in self.rows]
        self.counts = Counter(word for text in self.texts for word in set(text.split()))

    def named(self, text: str) -> list[Named]:
        """The titles in `text`, the longest first at each place, with a capital letter, and not too many passages."""
        tokens = TOKEN.findall(text)
        plain = [normalize(token) for token in tokens]
        found, start = [], 0
        while start < len(tokens):
            for end in range(min(start + 8, len(tokens)), start, -1):
                title = " ".join(word for word in plain[start:end] if word)
                known = self.titles.get(title, ()) if len(title) > 3 and title not in LITTLE else ()
                if known and len(known) <= MOST_PASSAGES and any(t[0].isupper() for t in tokens[start:end]):
                    found.append(Named(title, " ".join(tokens[start:end]), start, end))
                    start = end
                    break
            else:
                start += 1
        return found

    def holding(self, title: str, golds: Sequence[str]) -> bool:
        return any(f" {gold} " in self.texts[place] for place in self.titles[title] for gold in golds)


def content(text: str) -> list[str]:
    return [token for token in TOKEN.findall(text) if normalize(token) and normalize(token) not in LITTLE]


def chain(question: Question, passages: Passages, golds: Sequence[str]) -> tuple[Named, Named, list[Named]] | None:
    """What the question names, the bridge that its passage names, and the other names there; None without a chain."""
    asked = set(normalize(question.text).split())
    for first in passages.named(question.text):
        for place in passages.titles[first.title]:
            names = [n for n in passages.named(passages.rows[place]["text"]) if not set(n.title.split()) <= asked]
            for bridge in names:
                if bridge.title not in golds and passages.holding(bridge.title, golds):
                    return first, bridge, [n for n in names if not set(n.title.split()) & set(bridge.title.split())]
    return None


def of_two_hops(question: Question, passages: Passages, rng: random.Random) -> list[tuple[str, str, int]] | None:
    """The bridge, a query and its turn, for each query to ask; None where the corpus does not cover the question."""
    golds = [normalize(answer) for answer in question.evident_answers]
    if contains_answer(question.text, question.evident_answers):  # A or B?
        names = passages.named(question.text)
        return [("", question.text, 0), ("", names[0].surface, 0)] if len(names) > 1 else None
    if any(passages.holding(name.title, golds) for name in passages.named(question.text)):
        words = content(question.text)
        part = [word for word in words if rng.random() < 0.6] or words
        return [("", question.text, 0), ("", " ".join(part), 0)]
    found = chain(question, passages, golds)
    if found is None:
        return None
    first, bridge, others = found
    tokens = TOKEN.findall(question.text)
    near = content(" ".join(tokens[max(first.start - 4, 0) : first.start] + tokens[first.end : first.end + 3]))[:3]
    rest = content(" ".join(tokens[: first.start] + tokens[first.end :]))
    asks = " ".join(rest[:4] if rng.random() < 0.5 else rest[-3:])
    asked = [(question.text, 0), (first.surface, 0), (f"{first.surface} {' '.join(near)}", 0)]
    asked += [(bridge.surface, 1), (f"{bridge.surface} {asks}", 1), (f"{' '.join(rest[:2])} {bridge.surface}", 1)]
    asked += [(f"{rng.choice(others).surface} {asks}", 1)] if others else []
    return [(bridge.surface, query, turn) for query, turn in asked]


def of_one_hop(question: Question, passages: Passages, deep: list[str], rng: random.Random) -> list[str] | None:
    """Queries to ask; None where no passage of `deep` (normalised texts) has the answer and most of the question."""
    words = set(normalize(" ".join(content(question.text))).split())
    weight = {word: 1 / (1 + passages.counts[word]) ** 0.3 for word in words}
    golds = [normalize(answer) for answer in question.evident_answers]

    def covers(text: str) -> bool:
        shared = sum(weight[word] for word in words if f" {word} " in text)
        return any(f" {gold} " in text for gold in golds) and shared >= SHARED * sum(weight.values())

    if not words or not any(map(covers, deep)):
        return None
    kept = [word for word in content(question.text) if rng.random() < 0.7]
    return [question.text, " ".join(kept)] if kept else [question.text]


def rows(corpus: Path, folder: Path) -> Iterator[dict[str, Any]]:
    rng = random.Random(5)
    engine, passages = BM25Engine.open(corpus), Passages(corpus)

    def row(question: Question, query: str, hops: int, bridge: str, turn: int) -> dict[str, Any]:
        page = engine.search_many([query], TOP)[0]
        asked = {"id": question.id, "question": question.text, "golden_answers": list(question.golden_answers)}
        shape = {"query": query, "engine": "bm25", **asked, "hops": hops, "bridge": bridge, "turn": turn}
        return shape | {"results": [{"title": d.title, "text": d.text} for d in page]}

    for name in ("multihop_mix", "musique"):
        questions = [q for q in load_questions(str(folder / f"{name}.jsonl.gz")) if q.evident_answers]
        for question in questions:
            for number, (bridge, query, turn) in enumerate(of_two_hops(question, passages, rng) or ()):
                yield row(question, query, 2, bridge, turn)
                if not number:
                    yield row(question, rng.choice(questions).text, 2, bridge, 0)
    questions = [q for q in load_questions(str(folder / "nq.jsonl.gz")) if q.evident_answers]
    rng.shuffle(questions)
    kept = 0
    for question in questions:
        if kept == ONE_HOP:
            break
        deep = engine.search_many([question.text], 50)[0]
        texts = [f" {normalize(d.title + ' ' + d.text)} " for d in deep]
        queries = of_one_hop(question, passages, texts, rng)
        kept += queries is not None
        for query in queries or ():
            yield row(question, query, 1, "", 0)
        if queries is not None and rng.random() < 0.4:
            yield row(question, rng.choice(questions).text, 1, "", 0)


def main() -> None:
    corpus, folder, out = map(Path, arguments(__doc__, 3))
    made = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows(corpus, folder)]
    out.write_text("".join(made), encoding="utf-8")
    print(f"{out}: {len(made)} pages")


if __name__ == "__main__":
    run(main)
