"""The example of own questions: the tutorial shows the file that ships, and a second search is there to be learned."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from zerosearch.config_file import load_config
from zerosearch.engines.bm25 import BM25Engine
from zerosearch.episodes.questions import Question, load_questions
from zerosearch.episodes.search import holds_answer

ROOT = Path(__file__).parent.parent.parent
FILES = ROOT / "examples" / "own-questions"


def founder(question: Question) -> str:
    return question.text.partition("founder was ")[2].rstrip("?")


def test_the_tutorial_shows_the_configuration_that_ships(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "tutorials" / "own-questions.md").read_text(encoding="utf-8")
    block = page.partition('    name = "valley"\n')[2].partition("\nFor a simulator by URL")[0]
    shown = tmp_path / "valley.toml"
    shown.write_text('name = "valley"\n' + re.sub(r"(?m)^    ", "", block), encoding="utf-8")
    assert load_config(shown) == load_config(FILES / "valley.toml")


def test_held_out_questions_are_about_other_villages() -> None:
    train, held_out = (load_questions(FILES / f"{name}.jsonl") for name in ("train", "held-out"))
    assert (len(train), len(held_out)) == (10, 12)
    assert not {founder(q) for q in train} & {founder(q) for q in held_out}


@pytest.mark.parametrize("name", ["train", "held-out"])
def test_two_searches_find_what_one_does_not(name: str, tmp_path: Path) -> None:
    questions = load_questions(FILES / f"{name}.jsonl")
    engine = BM25Engine.open(FILES / "corpus.jsonl", tmp_path)
    whole = engine.search_many([q.text for q in questions], 3)
    first = engine.search_many([f"founder {founder(q)}" for q in questions], 3)
    villages = [page[0].title.partition(":")[0] for page in first]
    facts = [re.search(r"river|craft|mill", q.text, re.IGNORECASE) for q in questions]
    second = engine.search_many([f"{v} {fact[0]}" for v, fact in zip(villages, facts, strict=True) if fact], 3)
    hits = [
        sum(holds_answer(page, q.golden_answers) for page, q in zip(pages, questions, strict=True))
        for pages in (whole, second)
    ]
    assert hits[1] == len(questions)
    assert hits[0] <= len(questions) / 2
