"""The concept pages name functions that exist, and their table of noise is what the curriculum computes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from zerosearch.episodes.curriculum import Curriculum, CurriculumKind

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs" / "concepts").glob("*.md"))
NAMED = re.compile(r"`(\w+(?:\.\w+)?)`\s+in\s+`([\w/]+\.py)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_functions_that_a_concept_page_names_stand_in_the_file_it_names(page: Path) -> None:
    named = NAMED.findall(page.read_text(encoding="utf-8"))
    assert named
    for name, path in named:
        file = ROOT / path if path.startswith("src/") else ROOT / "src/zerosearch/learning" / path
        source = file.read_text(encoding="utf-8")
        for part in name.split("."):
            assert re.search(rf"^ *(async )?(def|class) {part}\b", source, re.MULTILINE), f"{path} has no {name}"


@pytest.mark.parametrize(("column", "kind"), [(1, "exponential"), (2, "linear")])
def test_the_table_of_noise_is_what_the_curriculum_computes(column: int, kind: CurriculumKind) -> None:
    text = (ROOT / "docs" / "concepts" / "curriculum.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| ([\d.]+) \| ([\d.]+) \|$", text, re.MULTILINE)
    assert len(rows) == 5
    for row in rows:
        assert float(row[column]) == pytest.approx(Curriculum(kind).noise(int(row[0]), 200), abs=5.001e-4)
