"""The documents say what the code says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PLACES = ("*.md", "docs/**/*.md", "benchmarks/*.md", "recipes/**/*.md")
PAGES = [page for place in PLACES for page in sorted(ROOT.glob(place))]
SCRIPTS = [
    *("config_reference.py", "command_reference.py", "api_reference.py", "architecture.py"),
    *("results_figures.py", "results_tables.py", "results_claims.py"),
]


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_page_that_is_made_from_the_code_is_that_of_the_code(script: str) -> None:
    command = [sys.executable, str(ROOT / "scripts" / script), "--check"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for path in re.findall(r"(?<![\w/])(?:src|docs|examples|scripts|benchmarks|recipes)/[\w./-]+\.\w+", text):
        assert (ROOT / path).exists(), f"{page.name} names {path}"
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (page.parent / link).exists(), f"{page.name} links to {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_tests_and_headings_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text):
        assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE), name
    for link, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", text):
        target = page.parent / link if link else page
        titles = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, (
            f"{link}#{anchor}"
        )


def test_every_promise_names_a_test() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    promises = text.partition("## Promises")[2].partition("## To the last digit")[0]
    rows = [line for line in promises.splitlines() if line.startswith("| ") and not line.startswith("| promise")]
    assert rows
    assert [row for row in rows if "`tests/" not in row] == []


RECIPE = [ROOT / "recipes" / "beat-rag" / name for name in ("README.md", "earlier.md")]


def test_an_estimate_of_the_overview_stands_on_the_page_of_its_experiment() -> None:
    told = "\n".join(_plain(page) for page in [*(ROOT / "docs" / "results").glob("*.md"), *RECIPE])
    for estimate in re.findall(r"(?<![\d.])\d*\.\d+ \[-?\d*\.\d+, -?\d*\.\d+\]", _plain(ROOT / "docs/results.md")):
        assert estimate in told, f"{estimate} is on no page of docs/results"


def test_a_row_of_the_readmes_results_is_one_passage_of_its_experiments_page() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = next(block for block in text.split("\n\n") if block.startswith("|") and "](docs/results/" in block)
    page = ""  # a row without a link belongs to the page of the row before
    for row in table.splitlines()[2:]:
        link = re.search(r"\]\((docs/results/[\w-]+\.md)\)", row)
        page = link[1] if link else page
        numbers = _decimals(re.sub(r"\[[^]]*\]\([^)]*\)|p [<=] \.\d+", "", row))
        passages = re.split(r"\n\n|\n(?=[|-])", (ROOT / page).read_text(encoding="utf-8"))
        assert any(numbers <= _decimals(passage) for passage in passages), f"{page} has no passage with {numbers}"


def _decimals(text: str) -> set[str]:
    return set(re.findall(r"-?\d*\.\d+", text))


def test_the_text_against_rag_has_no_number_that_its_tables_and_its_recipe_have_not() -> None:
    text = _plain(ROOT / "docs/results/beat-rag.md")
    made = re.compile(r"<!-- begin (\S+) -->.*?<!-- end \1 -->", re.DOTALL)
    sources = [*(block[0] for block in made.finditer(text)), *map(_plain, RECIPE)]
    known = set().union(*map(_decimals, sources))
    assert sorted(_decimals(made.sub("", text)) - known) == []


def _plain(page: Path) -> str:
    """Its text in one line, numbers bare of stars, signs and units."""
    return " ".join(re.sub(r"[*+]|(?<=\d) points?(?= \[)", "", page.read_text(encoding="utf-8")).split())
