"""The documentation site, built once, and a server for it."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from reports.conftest import Page, chromium

__all__ = ["chromium"]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a fresh build. A warning ends it: a broken link, a page that no menu has, a lost formula."""
    for package in ("mkdocs", "material", "latex2mathml"):
        pytest.importorskip(package, reason=f"{package} is missing: pip install '.[docs]'")
    folder = tmp_path_factory.mktemp("documentation") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def served(site: Path) -> Iterator[str]:
    """The address of the site on a local server."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def browse(chromium: Any) -> Iterator[Any]:
    """`browse(address, width)`: a `Page`; at the end of the test none may have complained or left this machine."""
    pages: list[Page] = []

    def go(address: str, width: int) -> Page:
        pages.append(Page(chromium, address, viewport={"width": width, "height": 850}))
        return pages[-1]

    yield go
    for page in pages:
        page.context.close()
    assert [text for page in pages for text in page.complaints] == []
    outside = [url for page in pages for url in page.fetched if not url.startswith(("http://127.0.0.1:", "file:"))]
    assert [url for url in outside if not url.startswith(("data:", "about:", "blob:"))] == []
