"""`zerosearch fidelity`: how good a search engine is this simulator?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from zerosearch.commands.screen import console, json_text, table
from zerosearch.config_file import load_config
from zerosearch.errors import ConfigError, DataError, RunError
from zerosearch.factbook.queries import factbook_queries
from zerosearch.files.folders import check_file, owned
from zerosearch.files.jsonl import atomic_write, read_object, write_json, write_jsonl
from zerosearch.parts import Parts
from zerosearch.process.runtime import prepare, quiet_libraries
from zerosearch.simulator.collect import read_collection
from zerosearch.simulator.fidelity import Compared, FidelityQuery, compare, page_row
from zerosearch.simulator.fidelity import fidelity as figures
from zerosearch.simulator.gallery import page
from zerosearch.simulator.reader import Reading, read_pages, reader_report
from zerosearch.spending.ledger import counted


def fidelity(
    context: typer.Context,
    config_file: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="A TOML file: engine is simulated, evaluation.engine is real.")
    ],
    queries: Annotated[
        str | None,
        typer.Option(help="factbook:SPLIT (queries of all kinds), a folder of `collect`, or questions to ask whole."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Queries to ask.")] = 200,
    out: Annotated[Path | None, typer.Option(help="Folder for fidelity.json, fidelity.html and pages.jsonl.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting.")] = None,
) -> None:
    """Compare a simulator with the engine it imitates, query by query.

    Checks that useful pages contain the answer when the real page does, that noisy pages do not, what leaks, and
    whether the documents look real.
    """
    prepare()
    config = load_config(config_file, set_ or ())
    if config.engine.kind != "simulated":
        raise ConfigError("fidelity compares a simulator: engine.kind must be 'simulated'")
    reader_ref = config.fidelity.reader.ref()
    with Parts(config) as parts:
        parts.engine_config("real")
        if out is not None:
            context.with_resource(owned(out, "fidelity"))
            check_report(out)
        asked = open_queries(parts, queries or config.evaluation.questions, limit)
        quiet_libraries()
        reader = parts.chat(reader_ref) if reader_ref else None
        simulated, real = parts.engine("train"), parts.engine("real")
        top_k = config.engine.top_k
        if not as_json:
            count = counted(len(asked), "query", "queries")
            console.print(f"{count}: {simulated.name} against {real.name}, {top_k} documents a page")

        async def ask_all() -> tuple[list[Compared], list[Reading]]:
            blind = config.fidelity.blind
            compared = await compare(asked, simulated, real, top_k=top_k, seed=config.seed, blind=blind)
            return compared, await read_pages(compared, reader, seed=config.seed) if reader else []

        compared, readings = parts.run(ask_all())
        report = report_of(parts, compared)
    if reader:
        report["reader"] = reader_report(readings, reader.model)
    if out is not None:
        write_report(out, report, compared, readings)
    if as_json:
        print(json_text(report, indent=2))
    else:
        for shown in tables(report):
            console.print(shown)
        if out is not None:
            console.print(f"report       {out}/fidelity.json")
            console.print(f"side by side {out}/fidelity.html\nall pages    {out}/pages.jsonl")
    _complain(report)


def report_of(parts: Parts, compared: Sequence[Compared]) -> dict[str, Any]:
    """The figures, with what the pages were made with. Decoding is timed where the simulator is a local model."""
    config, models = parts.config, parts.models
    simulator = config.engine.simulated
    pages = sum(p is not None for c in compared for p in (c.useful, c.noisy, c.blind))
    return {
        "simulator": parts.engine("train").name,
        "engine": parts.engine("real").name,
        "top_k": config.engine.top_k,
        "temperature": simulator.temperature,
        "plan_temperature": simulator.plan_temperature,
        "rewrites": simulator.rewrites,
        "seed": config.seed,
        "decoding_seconds_per_page": models.simulator_seconds() / pages if pages and models.simulating else None,
        **figures(compared, top_k=config.engine.top_k),
    }


def write_report(out: Path, report: dict[str, Any], compared: Sequence[Compared], readings: Sequence[Reading]) -> None:
    """Write the report, its pages side by side, and all pages as rows."""
    write_json(out / "fidelity.json", report)
    atomic_write(out / "fidelity.html", page(report, compared, readings).encode())
    write_jsonl(out / "pages.jsonl", map(page_row, compared))


def _complain(report: dict[str, Any]) -> None:
    """Raises `RunError` where the figures lack what failed."""
    reader = report.get("reader", {"failed": 0})
    if report["failed"] or reader["failed"]:
        why = f" ({reader['error']})" if reader["failed"] else ""
        raise RunError(
            f"{report['failed']} searches failed, {reader['failed']} queries could not be read{why}: "
            "the figures are of the others"
        )


def check_report(out: Path) -> None:
    """Raises `FolderError` where files lie in `out` that the report would overwrite and that are no such report's."""

    def ours(path: Path) -> bool:
        try:
            return {"simulator", "engine"} <= read_object(out / "fidelity.json").keys()
        except DataError:
            return False

    for name in ("fidelity.json", "fidelity.html", "pages.jsonl"):
        check_file(out / name, ours)


def open_queries(parts: Parts, source: str, limit: int) -> list[FidelityQuery]:
    """`factbook:SPLIT`: right, whole and misdirected queries, one a question; a folder: the queries of its
    trajectories; anything else: questions, each asked whole.
    """
    if source.startswith("factbook:"):
        return [FidelityQuery(*found) for found in factbook_queries(source, limit, parts.config.seed)]
    if Path(source).is_dir():
        found = {
            (s.query, t.question.id): FidelityQuery(s.query, t.question)
            for t in read_collection(Path(source))
            for s in t.searches
        }
        return list(found.values())[:limit]
    return [
        FidelityQuery(q.text, q, "whole" if q.hops in (None, 1) else "whole_multi_hop")
        for q in parts.questions(source, limit)
    ]


SIDES = ("real", "useful", "noisy")


def tables(report: dict[str, Any]) -> list[Table]:
    """The report for the screen."""
    reader = [reader_table(report["reader"])] if "reader" in report else []
    return [answer_table(report), look_table(report), rest_table(report), *reader]


def answer_table(report: dict[str, Any]) -> Table:
    """Which pages hold the answer, by what the real page holds and by the kind of query."""
    made = table("does the page hold the answer? (95 % intervals)", "queries", "count", *SIDES)
    control, leak, bridge = report["control"], report["leak"], report["bridge"]
    within = report["intervals"]
    for label, row, name in (("real page holds it", control, "control"), ("real page does not", leak, "leak")):
        count, real = (report["findable"], "1.000") if name == "control" else (leak["queries"], "0.000")
        made.add_row(label, str(count), real, *(_within(row[s], within[name][s]) for s in ("useful", "noisy")))
    for kind, row in report["kinds"].items():
        shares = (_within(row[side], within["kinds"][kind][side]) for side in SIDES)
        made.add_row(kind, str(row["queries"]), *shares)
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
        ("overlap_within_page", "overlap of a page's documents"),
        ("copies_the_question", "documents that repeat the question"),
    ):
        made.add_row(label, *_shares(*(report["pages"][side][key] for side in SIDES)))
    style = report["style_auc"]
    made.add_row("told from real ones by words (AUC)", "", *_shares(style["useful"], style["noisy"]))
    return made


def rest_table(report: dict[str, Any]) -> Table:
    """Form, failures, time and cost."""
    made = Table(title="and besides", show_header=False)
    blind, price = report["answer_in_prompt"], report["usd_per_page"]
    held = f"useful page holds the answer ({blind['queries']} queries), answer in the prompt"
    made.add_row("pages with all documents in form", *_shares(report["whole_pages"]))
    made.add_row(held, *_shares(blind["with"]))
    made.add_row("the same without question and answer in the prompt", *_shares(blind["without"]))
    made.add_row("searches that failed", str(report["failed"]))
    made.add_row("queries left out above: the answer is yes, no or a bare number", str(report["unclear"]))
    made.add_row("seconds a page, waiting in line included", *_shares(report["seconds_per_page"]))
    made.add_row("seconds of decoding a page, of all at once", *_shares(report["decoding_seconds_per_page"]))
    made.add_row("US dollars a page", "-" if price is None else f"{price:.6f}")
    return made


def reader_table(report: dict[str, Any]) -> Table:
    """What a reader answers from the pages."""
    failed = f", {report['failed']} could not be asked ({report['error']})" if report["failed"] else ""
    title = Text(f"what does {report['model']} answer from the page? {report['queries']} queries{failed}")
    made = table(title, "", *SIDES)
    for key, label in (("em", "EM"), ("f1", "F1"), ("unknown", "says that the page does not tell")):
        made.add_row(label, *_shares(*(report["pages"][side][key] for side in SIDES)))
    agreement = report["agreement"]
    made.add_row("same answer as from the real page", "", *_shares(agreement["same"]), "")
    made.add_row("right or wrong alike (Cohen's kappa)", "", *_shares(agreement["kappa"]), "")
    return made


def _within(value: float | None, interval: Sequence[float] | None) -> str:
    return "-" if value is None or interval is None else f"{value:.3f} [{interval[0]:.2f}, {interval[1]:.2f}]"


def _shares(*values: float | None) -> Sequence[str]:
    return ["-" if value is None else f"{value:.3f}" for value in values]
