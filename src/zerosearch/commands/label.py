"""`zerosearch label`: which collected pages are useful, which are noisy, and how far the ways to decide agree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from zerosearch.commands.screen import console, table, typed
from zerosearch.config_file import load_config
from zerosearch.engines.page_rows import RecordedPage
from zerosearch.errors import RunError
from zerosearch.labelling import labelled, target_of
from zerosearch.process.runtime import prepare
from zerosearch.simulator.label import (
    CONTAINMENT,
    EVIDENCE,
    JUDGE,
    OUTCOME,
    WAYS,
    agreements,
    balance,
    evidence_note,
)
from zerosearch.simulator.page_text import format_page
from zerosearch.spending.ledger import counted

_SHOWN = 4  # pages


def label(
    config_file: Annotated[Path, typer.Argument(metavar="CONFIG", help="A TOML file: [label], and engine.top_k.")],
    collection: Annotated[Path | None, typer.Argument(help="Folder that `zerosearch collect` wrote.")] = None,
    recorded: Annotated[
        list[Path] | None,
        typer.Option(
            help="Also label recorded pages: a file of `zerosearch record`, or search traces; may be repeated."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write. Default: labels.jsonl in the folder.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting.")] = None,
) -> None:
    """Label every page as useful or noisy, in every way that is available, and print how far the ways agree.

    outcome: a page is useful if its trajectory ended with the right answer. evidence: it is useful if it contains a
    golden answer or, for questions of several hops, is about what the query names. judge (with label.judge): a
    language model decides for each document whether it contains what the query asks for, and a page with one such
    document is useful. containment (to compare with evidence): it is useful if it contains a golden answer. The first
    engine.top_k documents decide.
    """
    prepare()
    config = load_config(config_file, set_ or ())
    target, top_k = target_of(collection, recorded or (), out), config.engine.top_k
    pages, complaint = labelled(config, collection, recorded or (), out, console.print)
    _show(pages, top_k)
    console.print(f"{counted(len(pages), 'page')} in {target}")
    judged = config.label.judge.ref() is not None
    way = JUDGE if judged else OUTCOME if collection else best_free(pages, top_k)
    console.next(typed("tune", config_file, target, "--by", way, "--out", "simulator"))
    if complaint:
        raise RunError(complaint)


def best_free(pages: Sequence[RecordedPage], top_k: int) -> str:
    """What to tune recorded pages by without a judge: `evidence`, or `rank` where that is no more than containment.

    Labels by containment teach that a useful page always contains the answer. `rank` needs documents for its noisy
    pages behind the first `top_k`.
    """
    tells_more = any(page.labels[EVIDENCE] != page.labels[CONTAINMENT] for page in pages if EVIDENCE in page.labels)
    return "rank" if not tells_more and any(len(page.documents) > top_k for page in pages) else EVIDENCE


def _show(pages: Sequence[RecordedPage], top_k: int) -> None:
    ways = [way for way in WAYS if any(way in p.labels for p in pages)]
    shown = table("labels", "way", "useful", "noisy", "no label")
    for way in ways:
        useful, noisy = balance(pages, way).values()
        shown.add_row(way, str(useful), str(noisy), str(len(pages) - useful - noisy))
    console.print(shown)
    if note := evidence_note(pages):
        console.print(note)
    for a in agreements(pages):
        kappa = "-" if a.kappa is None else f"{a.kappa:.2f}"
        console.print(
            f"{a.first} and {a.second} agree on {a.alike:.0%} of {counted(a.pages, 'page')}, Cohen's kappa {kappa}"
        )
    step = max(1, len(pages) // _SHOWN)
    for page in pages[::step][:_SHOWN]:
        labels = ", ".join(f"{way}: {quality}" for way, quality in page.labels.items())
        console.print(f"\n{labels}", style="bold")
        if page.verdicts:
            console.print(f"judge, document by document: {', '.join(said or 'no verdict' for said in page.verdicts)}")
        console.print(f"question: {page.question.text}  ({'; '.join(page.question.golden_answers)})")
        console.print(f"query: {page.query}\n{format_page(page.documents[:top_k])}")
    console.print()
