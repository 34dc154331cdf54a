"""`zerosearch fidelity`: compare a simulator with the engine it imitates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from zerosearch.commands.screen import console, json_text, table, typed
from zerosearch.config_file import load_config
from zerosearch.measuring import check_failures, measure
from zerosearch.simulator.fidelity import SIDES
from zerosearch.spending.ledger import counted


def fidelity(
    config_file: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="A TOML file: engine is simulated, evaluation.engine is real.")
    ],
    queries: Annotated[
        str | None,
        typer.Option(
            help="factbook:SPLIT (queries of all kinds), a folder of `collect`, or questions (each is one query)."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Number of queries.")] = 200,
    out: Annotated[Path | None, typer.Option(help="Folder for fidelity.json, fidelity.html and pages.jsonl.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting.")] = None,
) -> None:
    """Compare a simulator with the engine it imitates, query by query.

    Checks that useful pages contain the answer when the real page does, that noisy pages do not, what leaks, and
    whether the documents look real.
    """
    config = load_config(config_file, set_ or ())
    say = (lambda line: None) if as_json else console.print
    report = measure(config, queries, limit, out, say)
    if as_json:
        print(json_text(report, indent=2))
    else:
        for shown in tables(report):
            console.print(shown)
        if out is not None:
            console.print(f"report       {out}/fidelity.json")
            console.print(f"side by side {out}/fidelity.html\nall pages    {out}/pages.jsonl")
    check_failures(report)
    if not as_json:
        kept = [change for change in set_ or () if not change.startswith("fidelity.")]
        console.next(typed("train", config_file, *(word for change in kept for word in ("--set", change))))


def tables(report: dict[str, Any]) -> list[Table]:
    """The report for the screen."""
    decided = [decision_table(report["decision"], "queries of this report")] if "decision" in report else []
    return [answer_table(report), *decided, look_table(report), rest_table(report)]


def decision_table(decision: dict[str, Any], of: str) -> Table:
    """What `engine.simulated.hits` decides, against the engine's pages."""
    title = f"which pages hit? {of}, AUC {_shares(decision['auc'])[0]} (95 % intervals)"
    made = table(title, "queries", "count", "engine", "decided", "AUC")
    for kind, row in decision["kinds"].items():
        shares = (_within(row[side], row[f"{side}_interval"]) for side in ("engine", "drawn"))
        made.add_row(kind, str(row["queries"]), *shares, *_shares(row["auc"]))
    return made


def answer_table(report: dict[str, Any]) -> Table:
    """Which pages hold the answer, by what the real page holds and by the kind of query."""
    made = table("does the page contain the answer? (95 % intervals)", "queries", "count", *SIDES)
    control, leak, bridge = report["control"], report["leak"], report["bridge"]
    within = report["intervals"]
    for label, row, name in (("real page contains it", control, "control"), ("real page does not", leak, "leak")):
        count, real = (report["findable"], "1.000") if name == "control" else (leak["queries"], "0.000")
        made.add_row(label, str(count), real, *(_within(row[s], within[name][s]) for s in ("useful", "noisy")))
    for kind, row in report["kinds"].items():
        shares = (_within(row[side], within["kinds"][kind][side]) for side in SIDES)
        made.add_row(kind, str(row["queries"]), *shares)
    titles = report["titles"]
    shares = (_within(titles[side], within["titles"][side]) for side in SIDES[:2])
    made.add_row("in a title, of pages that contain it", "", *shares, "")
    if bridge["queries"]:
        for key, label in (("right", "first hop: names the bridge"), ("wrong", "first hop: names a wrong one only")):
            shares = (_within(bridge[side][key], within["bridge"][side][key]) for side in SIDES)
            made.add_row(label, str(bridge["queries"]), *shares)
    return made


def look_table(report: dict[str, Any]) -> Table:
    """Whether the documents look real."""
    made = table("how do the pages look?", "", *SIDES)
    for key, label in (
        ("documents", "documents a page"),
        ("words_per_document", "words a document"),
        ("documents_with_answer", "documents with the answer, of pages that contain it"),
        ("plainness", "of the question's words, in a sentence with the answer"),
        ("overlap_within_page", "overlap of a page's documents"),
        ("copies_the_question", "documents that repeat the question"),
    ):
        made.add_row(label, *_shares(*(report["pages"][side][key] for side in SIDES)))
    style = report["style_auc"]
    made.add_row("told from real ones by words (AUC)", "", *_shares(style["useful"], style["noisy"]))
    return made


def rest_table(report: dict[str, Any]) -> Table:
    """Form, failures, time and cost."""
    made = Table(title="other numbers", title_justify="left", show_header=False)
    blind, price = report["answer_in_prompt"], report["usd_per_page"]
    asked = counted(blind["queries"], "query", "queries")
    held = f"useful page contains the answer ({asked}), answer in the prompt"
    made.add_row("pages with all documents in form", *_shares(report["whole_pages"]))
    made.add_row(held, *_shares(blind["with"]))
    made.add_row("the same without question and answer in the prompt", *_shares(blind["without"]))
    made.add_row("searches that failed", str(report["failed"]))
    made.add_row("queries left out above: the answer is yes, no or a bare number", str(report["unclear"]))
    made.add_row("seconds a page, waiting in line included", *_shares(report["seconds_per_page"]))
    made.add_row("seconds of decoding a page, of all at once", *_shares(report["decoding_seconds_per_page"]))
    made.add_row("US dollars a page", "-" if price is None else f"{price:.6f}")
    return made


def _within(value: float | None, interval: Sequence[float] | None) -> str:
    return "-" if value is None or interval is None else f"{value:.3f} [{interval[0]:.2f}, {interval[1]:.2f}]"


def _shares(*values: float | None) -> Sequence[str]:
    return ["-" if value is None else f"{value:.3f}" for value in values]
