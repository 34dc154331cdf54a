"""The command line, and a real browser, for the tests of what looks at runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from commands.conftest import endpoint, spawn, zerosearch

__all__ = ["endpoint", "spawn", "zerosearch"]

CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Headless Chromium of this machine, driven by Playwright: its event loop runs in this thread until it is closed,
    so a module closes it, and `apart` is for what needs a loop of its own."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium, or name one in CHROMIUM)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is missing: pip install '.[dev]'")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Page:
    """A page with whatever its console complained about, and whatever it tried to fetch."""

    def __init__(self, chromium: Any, address: str, **options: Any) -> None:
        self.context = chromium.new_context(**({"viewport": {"width": 1300, "height": 900}} | options))
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.fetched: list[str] = []
        self.page.on("console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append("a dialog"), dialog.dismiss()))
        self.page.on("request", lambda request: self.fetched.append(request.url))
        self.page.goto(address)

    def ready(self) -> Any:
        self.page.wait_for_selector("html[data-ready]", timeout=30_000)
        return self.page

    def count(self) -> int:
        """How many episodes the filters leave."""
        return int(self.page.locator("#count").inner_text().split(" of ")[0].replace(",", ""))

    def filter(self, **values: Any) -> int:
        """Set fields of the form, as one types and chooses, and count what is left."""
        for name, value in values.items():
            field = self.page.locator(f"#filters [name='{name.replace('_', '-')}']")
            if field.evaluate("field => field.tagName") == "SELECT":
                field.select_option(label=str(value))
            else:
                field.fill(str(value))
        self.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return self.count()


@pytest.fixture
def opened(chromium: Any) -> Iterator[Any]:
    """`opened(path_or_address)`: a `Page`; at the end of the test none may have complained."""
    pages: list[Page] = []

    def go(address: Any, **options: Any) -> Page:
        pages.append(Page(chromium, str(address) if "://" in str(address) else f"file://{address}", **options))
        return pages[-1]

    yield go
    complaints = [text for page in pages for text in page.complaints]
    for page in pages:
        page.context.close()
    assert complaints == []
