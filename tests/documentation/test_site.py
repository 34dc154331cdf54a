"""The documentation site in a real browser: it builds without a warning, fits a phone, and needs no network."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

PHONE, DESK = 390, 1280


class Links(HTMLParser):
    """What a page links to and loads, and the places in it that a link may name."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.leads: list[str] = []
        self.places: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.leads.append(value)
            elif name in ("id", "name") and value:
                self.places.add(value)


def pages_of(site: Path) -> list[str]:
    """The pages that the menus have, as addresses in the site."""
    found = sorted(str(path.relative_to(site)) for path in site.rglob("*.html"))
    return [page for page in found if not page.startswith("source/") and page != "404.html"]


def test_every_link_and_anchor_of_the_built_site_leads_somewhere(site: Path) -> None:
    pages = {path: Links(path) for path in site.rglob("*.html") if path.name != "404.html"}
    assert len(pages) > 40
    lost = []
    for path, page in pages.items():
        for lead in page.leads:
            parts = urlsplit(lead)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            known = anchor in pages[target].places if anchor and target in pages else target.exists()
            if not known and not anchor.startswith("__"):
                lost.append(f"{path.relative_to(site)} -> {lead}")
    assert lost == []


def test_nothing_of_a_page_is_loaded_from_another_machine(site: Path) -> None:
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        tags = re.findall(
            r"<(?:script|img|iframe|source)\b[^>]*|<link\b[^>]*rel=.?(?:stylesheet|icon|preload)[^>]*", text
        )
        assert [tag for tag in tags if re.search(r"(?:src|href)=.?(?:https?:)?//", tag)] == [], path.name


def test_formulas_are_drawn_without_a_script(site: Path) -> None:
    text = (site / "concepts" / "algorithms.html").read_text(encoding="utf-8")
    assert text.count("<math") > 20
    assert text.count('class="arithmatex"') == text.count("<math")


def test_money_is_no_formula_and_code_stays_as_it_is(site: Path) -> None:
    assert "$0.001 ($0.002 with" in (site / "engines.html").read_text(encoding="utf-8")
    assert "x $9.167 per 1,000" in (site / "cost.html").read_text(encoding="utf-8")
    assert "factbook:SPLIT[:one-hop|two-hop]" in (site / "configuration.html").read_text(encoding="utf-8")


def test_an_interval_is_not_broken_but_code_and_formulas_stay(site: Path) -> None:
    page = (site / "results/beat-rag.html").read_text(encoding="utf-8")
    assert "+8.4</strong> [6.4,&nbsp;10.5]" in page
    assert "<strong>+3.0 [1.1,&nbsp;4.9]</strong></td>" in page
    pages = [file.read_text(encoding="utf-8") for file in site.rglob("*.html")]
    assert [
        page for page in pages if re.search(r"<code[^>]*>(?:(?!</code>).)*&nbsp;|<math(?:(?!</math>).)*nbsp", page)
    ] == []


def test_pages_from_outside_docs_lead_back_into_the_site(site: Path) -> None:
    assert "architecture.html" in Links(site / "contributing.html").leads
    assert "../source/src/zerosearch/api.py.html" in Links(site / "reference" / "python.html").leads
    assert "def open_engine" in re.sub(
        "<[^>]+>", "", (site / "source/src/zerosearch/api.py.html").read_text(encoding="utf-8")
    )


def test_no_page_scrolls_sideways(site: Path, served: str, browse: Any) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    page = browse(f"{served}/index.html", DESK).page
    too_wide = []
    for name in pages_of(site):
        page.goto(f"{served}/{name}", wait_until="load")
        for width in (PHONE, DESK):
            page.set_viewport_size({"width": width, "height": 850})
            try:  # the theme puts each table in a box that scrolls, once the page is there
                page.wait_for_function("document.documentElement.scrollWidth <= innerWidth", timeout=5_000)
            except playwright.TimeoutError:
                too_wide.append(f"{name} at {width}")
    assert too_wide == []


@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("opened", ["from a server", "from a folder"])
def test_the_search_finds_a_page(site: Path, served: str, browse: Any, opened: str, width: int) -> None:
    base = served if opened == "from a server" else site.as_uri()
    page = browse(f"{base}/results/demo.html", width).page
    if width == PHONE:
        page.locator("label.md-header__button[for='__search']").click()
    page.locator("[data-md-component=search-query]").press_sequentially("curriculum")  # it listens to keys
    first = page.locator(".md-search-result__link").first
    first.wait_for(timeout=30_000)
    first.click()
    page.wait_for_url("**/concepts/curriculum.html*")
    assert page.locator("h1").inner_text().startswith("Curriculum")
