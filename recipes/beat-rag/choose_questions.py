"""Choose training questions by what BM25 finds: python choose_questions.py data/corpus.jsonl.gz OUT FILE.jsonl[.gz] ...

OUT/hit.jsonl  the first three passages for the whole question contain the answer
OUT/two.jsonl  they do not, but name something whose own passage does: there is a second search to be learned
OUT/yes.jsonl  answered by yes, no or a small number, which any page contains
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from script import arguments, run

from zerosearch.engines.bm25 import BM25Engine
from zerosearch.episodes.questions import Question, load_questions
from zerosearch.episodes.scoring import contains_answer, normalize
from zerosearch.episodes.search import Document

TOP = 3
MOST_NAMES = 24
NAME = re.compile(r"(?:[A-Z][\w'’.-]+(?:\s+(?:of|the|de|van|von|and|da|del|la))?\s+){0,4}[A-Z][\w'’.-]+")
LEADING = re.compile(r"^(?:The|In|During|It|He|She|A|An|On|At|After|Then|His|Her|From|As|Its)\s+")
LITTLE = frozenset(
    re.findall(
        r"\w+",
        "the a an of in on at is was were are who what which when where whose whom how did does do by for to and or "
        "that this from with as it its be has have had name",
    )
)


def bare(title: str) -> str:
    """A title as it is compared: without what stands in brackets."""
    return normalize(re.sub(r"\(.*?\)", "", title))


def any_page_answers(question: Question) -> bool:
    return all(re.fullmatch(r"yes|no||\d{1,3}", normalize(answer)) for answer in question.golden_answers)


def names_on(page: tuple[Document, ...], question: str) -> list[str]:
    """Titles and capitalised names of a page that the question does not name itself."""
    asked = set(normalize(question).split()) | LITTLE
    found = [LEADING.sub("", name) for d in page for name in (d.title, *NAME.findall(d.text))]
    return list(dict.fromkeys(n for n in found if bare(n) and not set(bare(n).split()) <= asked))[:MOST_NAMES]


def second_search(engine: BM25Engine, question: Question, page: tuple[Document, ...]) -> str | None:
    """A query for a name on the first page whose passage of that very title contains the answer."""
    rest = " ".join([w for w in re.findall(r"\w+", question.text) if w.lower() not in LITTLE][:4])
    for name in names_on(page, question.text):
        for query in (name, f"{name} {rest}"):
            for document in engine.search_many([query], TOP)[0]:
                if bare(document.title) == bare(name) and contains_answer(document.text, question.golden_answers):
                    return query
    return None


def main() -> None:
    corpus, out, *files = map(Path, arguments(__doc__, 3, more=True))
    engine = BM25Engine.open(corpus)
    out.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[str]] = {"hit": [], "two": [], "yes": []}
    for question in (q for file in files for q in load_questions(str(file))):
        page = engine.search_many([question.text], TOP)[0]
        kind = "yes" if any_page_answers(question) else None
        if kind is None and contains_answer(" ".join(f"{d.title} {d.text}" for d in page), question.golden_answers):
            kind = "hit"
        if kind is None and second_search(engine, question, page):
            kind = "two"
        if kind is not None:
            row = {"id": question.id, "question": question.text, "golden_answers": list(question.golden_answers)}
            rows[kind].append(json.dumps(row, ensure_ascii=False) + "\n")
    for kind, lines in rows.items():
        (out / f"{kind}.jsonl").write_text("".join(lines), encoding="utf-8")
        print(f"{out / kind}.jsonl: {len(lines)} questions")


if __name__ == "__main__":
    run(main)
