"""What `mkdocs build` does besides: pages from outside docs/, links to source files, formulas without scripts.

The pages are written for GitHub. Four things differ in the site, and each is done here while it is built:

- CONTRIBUTING.md, CHANGELOG.md, the recipes and the benchmarks lie outside docs/. They become pages as they are.
- A link to a source file opens a page with its text. A link to anything else outside docs/ stays as plain words.
- `$...$` and `$$...$$` become MathML, which browsers show by themselves: no script, no network.
- A list may follow a paragraph without an empty line, `$5` is money, a `|` in the code of a table is written `\\|`, and
  an interval, `[2.5, 6.4]`, is not broken.

The theme's `offline` plugin loads one script from the network, for the search; it is replaced by ours.

A formula, a list or a fence that was not understood is a warning, and a strict build fails.
"""

from __future__ import annotations

import html
import logging
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
    "recipes/README.md": "recipes/index.md",
    **{f"recipes/{p.parent.name}/README.md": f"recipes/{p.parent.name}.md" for p in ROOT.glob("recipes/*/README.md")},
    "recipes/beat-rag/earlier.md": "recipes/beat-rag-earlier.md",
}
SHOWN = {".py": "python", ".toml": "toml", ".sh": "bash", ".yaml": "yaml", ".txt": "text", "": "text"}
PICTURES = {".png", ".svg"}
LINK = re.compile(r"(?P<words>!?\[(?:[^][]|\[[^]]*\])*\])\((?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")
FENCE = re.compile(r"^(```|~~~|\$\$).*?(?:^\1|\$\$$)", re.MULTILINE | re.DOTALL)
MONEY = re.compile(r"(`[^`]*`|^    .*$)|\$(?=\d[\d.,]*(?:[\s|);:]|$))", re.MULTILINE)
CELL = re.compile(r"<td.*?</td>", re.DOTALL)
INTERVAL = re.compile(
    r'(<(?:code|pre)\b.*?</(?:code|pre)>|<(?:span|div) class="arithmatex">.*?</(?:span|div)>)'
    r"|(\[[-+]?[\d.]+,) (?=[-+]?[\d.]+\])",
    re.DOTALL,
)
MATHS = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
PARAGRAPH_THEN_ITEM = re.compile(r"^((?![-*#|>] |\d+\. |\s).+)\n(?=[-*] |1\. )", re.MULTILINE)
LOST = re.compile(r"<p>(?:(?!</p>).)*(?:\n(?:[-*] |\d+\. )|```|\$\$)(?:(?!</p>).)*</p>", re.DOTALL)
SEARCH_FROM_DISK = "https://unpkg.com/iframe-worker/shim"

log = logging.getLogger("mkdocs.hooks.docs")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages from outside docs/, and one for each source file that a page links to."""
    for place, uri in OUTSIDE.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / place)))
    pages = [(file, place_of(file)) for file in files.documentation_pages()]
    linked = {found for file, place in pages for found in targets(file.content_string, place)}
    for place in sorted(linked):
        path = ROOT / place
        if not path.is_file() or place.startswith("docs/") or place in OUTSIDE:
            continue
        if path.suffix in SHOWN:
            shown = {"content": source_page(path, place), "inclusion": InclusionLevel.NOT_IN_NAV}
            files.append(File.generated(config, source_uri(place), **shown))
        elif path.suffix in PICTURES:
            files.append(File.generated(config, place, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Lead each link to where its file is in the site; take away one whose file is not there."""
    here = place_of(page.file)
    folder = posixpath.dirname(page.file.src_uri)

    def led(match: re.Match[str]) -> str:
        place = resolved(match["target"], here)
        if place is None or not (ROOT / place).exists():
            return match[0]
        if (ROOT / place).is_dir() and f"{place}/README.md" in OUTSIDE:
            place = f"{place}/README.md"
        uri = uri_of(place)
        if files.get_file_from_path(uri) is None:
            return match["words"][1:-1]
        anchor = "" if uri == source_uri(place) else match["anchor"] or ""
        return f"{match['words']}({posixpath.relpath(uri, folder)}{anchor})"

    def written(text: str) -> str:
        text = MONEY.sub(lambda match: match[1] or r"\$", LINK.sub(led, text))
        return PARAGRAPH_THEN_ITEM.sub(r"\1\n\n", text)

    return outside_fences(markdown, written)


def on_page_content(content: str, page: Any, config: Any, files: Files) -> str:
    """Draw formulas as MathML, and look for what was not understood."""
    for lost in LOST.findall(re.sub(r"<code.*?</code>", "", content, flags=re.DOTALL)):
        log.warning(f"{page.file.src_uri}: a list, a fence or a formula was not understood: {lost[:200]!r}")

    content = INTERVAL.sub(lambda match: match[1] or f"{match[2]}&nbsp;", content)

    def drawn(match: re.Match[str]) -> str:
        block = match[1] == "div"
        made = convert(html.unescape(match[2]).strip(), display="block" if block else "inline").replace("\\_", "_")
        if "\\" in made:
            log.warning(f"{page.file.src_uri}: formula not understood: {match[2]}")
        return f'<{match[1]} class="arithmatex">{made}</{match[1]}>'

    return MATHS.sub(drawn, CELL.sub(lambda cell: cell[0].replace("\\|", "|"), content))


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Take the search of pages that are opened from a folder from here, and not from the network."""
    ours = posixpath.relpath("assets/search-from-disk.js", posixpath.dirname(page.file.dest_uri))
    return output.replace(SEARCH_FROM_DISK, ours)


def on_post_template(output: str, template_name: str, config: Any) -> str:
    """The same for 404.html, which only a server shows: nothing is needed there."""
    return output.replace(f'<script src="{SEARCH_FROM_DISK}"></script>', "")


def place_of(file: File) -> str:
    """Where a page's file lies in the repository."""
    return next((place for place, uri in OUTSIDE.items() if uri == file.src_uri), f"docs/{file.src_uri}")


def uri_of(place: str) -> str:
    """Where a file of the repository lies in the site, if it is there at all."""
    if place in OUTSIDE:
        return OUTSIDE[place]
    if place.startswith("docs/"):
        return place.removeprefix("docs/")
    return place if PurePosixPath(place).suffix in PICTURES else source_uri(place)


def source_uri(place: str) -> str:
    return f"source/{place}.md"


def source_page(path: Path, place: str) -> str:
    """A page with the text of a source file, which the search leaves out."""
    text = path.read_text(encoding="utf-8")
    head = f'---\ntitle: "{place}"\nsearch:\n  exclude: true\n---\n\n# {path.name}\n\n`{place}`\n\n'
    return f'{head}````{SHOWN[path.suffix]} linenums="1"\n{text}````\n'


def resolved(target: str, here: str) -> str | None:
    """The place in the repository that a link on the page at `here` leads to; None: it leads out of it."""
    if re.match(r"[a-z]+:|/", target):
        return None
    place = posixpath.normpath(posixpath.join(posixpath.dirname(here), target))
    return None if place.startswith("..") else place


def targets(markdown: str, here: str) -> Iterator[str]:
    """The places in the repository that a page links to."""
    for match in LINK.finditer(FENCE.sub("", markdown)):
        if (place := resolved(match["target"], here)) is not None:
            yield place


def outside_fences(markdown: str, change: Any) -> str:
    """`markdown` changed everywhere but in fenced code."""
    parts, last = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [change(markdown[last : fence.start()]), fence[0]]
        last = fence.end()
    return "".join([*parts, change(markdown[last:])])
