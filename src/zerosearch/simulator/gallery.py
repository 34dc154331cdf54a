"""Real and simulated pages side by side, as one HTML file without scripts or outside resources."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from zerosearch.episodes.scoring import contains_answer
from zerosearch.episodes.search import SearchPage
from zerosearch.simulator.fidelity import Compared
from zerosearch.spending.ledger import counted

EXAMPLES = 30
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #1d2733; }
h1 { font-size: 1.4rem }
h2 { font-size: 1rem; margin: 2.2rem 0 .3rem }
.question { color: #56657a; margin: 0 0 .6rem }
.pages { display: grid; grid-template-columns: repeat(3, 1fr); gap: 1rem }
.page { border-top: 3px solid #9aa7b8 }
.page.useful { border-color: #2d7d46 }
.page.noisy { border-color: #b5542c }
.page h3 { font-size: .8rem; margin: .4rem 0 }
.page ol { padding-left: 1.3rem; margin: 0 }
.page li { margin-bottom: .5rem; overflow-wrap: anywhere }
.holds { background: #e7f4ea }
b { font-weight: 600 }
table { border-collapse: collapse }
td, th { padding: .2rem .8rem .2rem 0; text-align: left }
@media (max-width: 50rem) { .pages { grid-template-columns: 1fr } }
"""


_SHARES = (
    ("control", "useful", "useful pages with the answer, where the real page has it"),
    ("control", "noisy", "noisy pages with the answer, where the real page has it"),
    ("leak", "useful", "useful pages with the answer, where the real page has it not (leak)"),
)


def page(report: dict[str, Any], compared: Sequence[Compared]) -> str:
    """The report's first figures, and at most `EXAMPLES` queries evenly over all, with their three pages.

    A document that holds the golden answer is marked. Everything that came from a model or an engine is escaped.
    """
    step = max(1, len(compared) // EXAMPLES)
    rows = "\n".join(map(_example, list(compared)[::step][:EXAMPLES]))
    cells = (f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in figures(report))
    title = escape(f"{report['simulator']} against {report['engine']}")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head>\n<body><h1>{title}</h1>\n"
        f"<table>{''.join(cells)}</table>\n<p>Documents that hold the golden answer are green.</p>\n{rows}\n"
        "</body></html>\n"
    )


def figures(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The first figures of a report of `fidelity`: what each is, and its value with its interval."""
    within = report["intervals"]
    yield "queries", str(report["queries"])
    for name, side, label in _SHARES:
        yield label, _within(report[name][side], within[name][side])
    yield "pages with all documents in form", _share(report["whole_pages"])
    if (bridge := report["bridge"])["queries"]:
        named = f"useful pages of {counted(bridge['queries'], 'first hop')}"
        right, wrong = (_within(bridge["useful"][key], within["bridge"]["useful"][key]) for key in ("right", "wrong"))
        yield f"{named} that name the bridge", right
        yield f"{named} that name a wrong one and not it", wrong


def _example(c: Compared) -> str:
    answers = "; ".join(c.asked.question.golden_answers)
    sides = "".join(
        f'<div class="page {name}"><h3>{label}</h3>{_documents(side, c.asked.question.golden_answers)}</div>'
        for name, label, side in (
            ("real", "real", c.real),
            ("useful", "simulated, useful", c.useful),
            ("noisy", "simulated, noisy", c.noisy),
        )
    )
    return (
        f"<h2>{escape(c.asked.query)}</h2>"
        f'<p class="question">{escape(c.asked.kind)} · {escape(c.asked.question.text)} · <b>{escape(answers)}</b></p>'
        f'<div class="pages">{sides}</div>'
    )


def _documents(found: SearchPage | None, golden_answers: Sequence[str]) -> str:
    if found is None:
        return "<p>the search failed</p>"
    if not found.documents:
        return "<p>no documents</p>"
    items = []
    for document in found.documents:
        holds = contains_answer(f"{document.title}: {document.text}", golden_answers)
        mark = ' class="holds"' if holds else ""
        items.append(f"<li{mark}><b>{escape(document.title)}</b> {escape(document.text)}</li>")
    return f"<ol>{''.join(items)}</ol>"


def _within(value: float | None, interval: Sequence[float] | None) -> str:
    return "-" if value is None or interval is None else f"{value:.0%} [{interval[0]:.0%}, {interval[1]:.0%}]"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
