"""`zerosearch label`: which collected pages are useful, which are noisy, and how far the ways to decide agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, cast

import typer

from zerosearch.commands.screen import console, table, typed
from zerosearch.config import TrainConfig
from zerosearch.config_file import load_config
from zerosearch.engines.page_rows import RecordedPage
from zerosearch.episodes.search import Quality
from zerosearch.errors import ConfigError, DataError, RunError
from zerosearch.files.folders import check_file, owned
from zerosearch.files.jsonl import append_jsonl, read_rows
from zerosearch.models.config import ModelRef
from zerosearch.parts import Parts
from zerosearch.process.runtime import prepare
from zerosearch.simulator.collect import read_collection
from zerosearch.simulator.config import LabelConfig
from zerosearch.simulator.judge import judge
from zerosearch.simulator.label import (
    CONTAINMENT,
    EVIDENCE,
    JUDGE,
    OUTCOME,
    VERSION,
    WAYS,
    agreements,
    balance,
    evidence_note,
    holds_labels,
    label_pages,
    label_recorded,
    write_labels,
)
from zerosearch.simulator.page_text import format_page
from zerosearch.simulator.record import read_recorded_pages
from zerosearch.spending.ledger import counted

_VERDICTS = ("useful", "noisy")
_SHOWN = 4  # pages


def label(
    context: typer.Context,
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
    judge, top_k = config.label.judge.ref(), config.engine.top_k
    if collection is None and (not recorded or out is None):
        raise ConfigError("give a folder that `zerosearch collect` wrote, or --recorded FILE with --out FILE")
    target = out or cast("Path", collection) / "labels.jsonl"
    context.with_resource(owned(target, "label"))
    check_file(target, holds_labels)
    pages = read_pages(collection, recorded or (), config.label, top_k)
    complaint = ""
    if judge is not None:
        pages, complaint = judged(config, pages, judge, target)
    write_labels(target, pages)
    _show(pages, top_k)
    console.print(f"{counted(len(pages), 'page')} in {target}")
    way = JUDGE if judge is not None else OUTCOME if collection else best_free(pages, top_k)
    console.next(typed("tune", config_file, target, "--by", way, "--out", "simulator"))
    if complaint:
        raise RunError(f"{complaint}. The same command asks again for the verdicts that lack")


def read_pages(
    collection: Path | None, recorded: Sequence[Path], settings: LabelConfig, top_k: int
) -> list[RecordedPage]:
    """The pages of a collection and of recordings, with the labels that need no judge. Raises `DataError` for none."""
    pages = label_pages(read_collection(collection), top_k=top_k) if collection else []
    nameless = 0
    for path in recorded:
        found, without = read_recorded_pages(path, snippet_words=settings.snippet_words)
        pages += label_recorded(found, top_k=top_k)
        nameless += without
        left_out = f", {counted(without, 'row')} without question and answer left out" if without else ""
        console.print(f"{path}: {counted(len(found), 'page')}{left_out}")
    if not pages and nameless:
        raise DataError(
            "the recordings: no row has `question` and `golden_answers`, by which pages are labelled "
            "(zerosearch record writes them where its --queries have them)"
        )
    if not pages:
        raise DataError(f"{collection or 'the recordings'}: nothing there holds a page; does the policy search?")
    return pages


def best_free(pages: Sequence[RecordedPage], top_k: int) -> str:
    """What to tune recorded pages by without a judge: `evidence`, or `rank` where that is no more than containment.

    Labels by containment teach that a useful page always contains the answer. `rank` needs documents for its noisy
    pages behind the first `top_k`.
    """
    tells_more = any(page.labels[EVIDENCE] != page.labels[CONTAINMENT] for page in pages if EVIDENCE in page.labels)
    return "rank" if not tells_more and any(len(page.documents) > top_k for page in pages) else EVIDENCE


def judged(
    config: TrainConfig, pages: Sequence[RecordedPage], model: ModelRef, target: Path
) -> tuple[list[RecordedPage], str]:
    """`pages` with the verdicts on their first `engine.top_k` documents, and what failed.

    Verdicts are kept beside `target` as they come: the same command asks only for those that lack. Those of another
    version, which were about whole pages, are counted and not used.
    """
    kept = target.with_suffix(".verdicts.jsonl")
    rows = [row for row in read_rows(kept) if row.get("verdict") in _VERDICTS]
    held = {str(row.get("key")): Quality(row["verdict"]) for row in rows if row.get("version") == VERSION}
    if others := sum(row.get("version") != VERSION for row in rows):
        console.print(f"{kept}: {counted(others, 'verdict')} of another version, not used (older ones: on whole pages)")
    with Parts(config, spending=target.with_suffix(".spending"), work="label") as parts:
        judging = judge(
            [replace(page, documents=page.documents[: config.engine.top_k]) for page in pages],
            parts.chat(model),
            held=held,
            keep=lambda key, verdict: append_jsonl(
                kept, {"version": VERSION, "key": key, "judge": model.name, "verdict": verdict.value}
            ),
        )
        done = parts.run(judging)
    console.print(
        f"judge {model}: {counted(done.documents, 'document')} on {counted(len(pages), 'page')}, {done.useful} useful, "
        f"{done.unclear} without a clear verdict, {done.failed} could not be asked"
    )
    labelled = [replace(seen, documents=page.documents) for page, seen in zip(pages, done.pages, strict=True)]
    return labelled, done.complaint


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
