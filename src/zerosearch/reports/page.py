"""The report as one HTML file: style, scripts and data are in it, and nothing is fetched when it is opened.

What comes from models, pages and settings reaches the file as gzipped JSON in base64, which cannot end a script tag,
and the page inserts it as text. The page's policy (Content-Security-Policy) allows this file's scripts and style, by
their digests, and nothing else: no network, no other script.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from zerosearch.files.folders import check_file
from zerosearch.files.jsonl import atomic_write

MARK = '<meta name="generator" content="zerosearch report">'
"""What tells a report from other people's files."""
_SCRIPTS = (
    "vendor/uPlot.iife.min.js",
    *(f"{name}.js" for name in ("data", "elements", "charts", "tables", "episode", "list", "main")),
)
_STYLES = ("vendor/uPlot.min.css", "report.css")


def packed(value: Any) -> str:
    """`value` as JSON, gzipped, in base64. The same value gives the same text."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode("utf-8", "replace"), 6, mtime=0)).decode()


def html(summary: dict[str, Any], episodes: dict[str, Any] | None) -> str:
    """The whole page. `episodes` None: a live page, which asks its own server for all that changes."""
    live = episodes is None
    scripts = [_file(name) for name in _SCRIPTS]
    style = "\n".join(_file(name) for name in _STYLES)
    allowed = " ".join(_digest(text) for text in scripts)
    network = " connect-src 'self';" if live else ""
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src {_digest(style)}; img-src data:;{network} "
        "base-uri 'none'; form-action 'none'"
    )
    names = ", ".join(run["name"] for run in summary["runs"]) or ", ".join(summary["targets"])
    blocks = {"summary": packed(summary)} | ({} if episodes is None else {"episodes": packed(episodes)})
    data = "\n".join(
        f'<script type="application/gzip" id="{name}-data">{text}</script>' for name, text in blocks.items()
    )
    body = "\n".join(f"<script>{text}</script>" for text in scripts)
    return (
        f'<!doctype html>\n<html lang="en"{" data-live" * live}>\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n{MARK}\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<link rel="icon" href="data:,">\n'
        f"<title>{escape(names)} - zerosearch</title>\n<style>{style}</style>\n</head>\n"
        f"{_file('body.html')}\n{data}\n{body}\n</html>\n"
    )


def write_report(path: Path, page: str) -> None:
    """Write the page whole or not at all. Raises `FolderError` where `path` is another's file, `RunError` on a full
    disk."""
    check_file(path, is_report)
    atomic_write(path, page.encode("utf-8", "replace"))


def is_report(path: Path) -> bool:
    """Whether a file is a report of this package."""
    try:
        with path.open("rb") as file:
            return MARK.encode() in file.read(4000)
    except OSError:
        return False


@cache
def _file(name: str) -> str:
    return (files("zerosearch.reports") / "page" / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """How a policy names a script or style by its content. Line ends are normalised by browsers, ours are plain."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
