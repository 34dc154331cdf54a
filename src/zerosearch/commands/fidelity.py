"""`zerosearch fidelity`: how good a search engine is this simulator?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from zerosearch.commands.screen import Console, json_text
from zerosearch.process.runtime import prepare, quiet_libraries

if TYPE_CHECKING:
    from zerosearch.config import TrainConfig
    from zerosearch.engines.encoders import Encoder
    from zerosearch.simulator.fidelity import Asked, Compared
    from zerosearch.simulator.reader import Reading

console = Console()


def fidelity(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(help="A TOML file: engine is simulated, evaluation.engine is real.")],
    queries: Annotated[
        str | None,
        typer.Option(help="factbook:SPLIT (queries of all kinds), a folder of `collect`, or questions to ask whole."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Queries to ask.")] = 200,
    blind: Annotated[int, typer.Option(min=0, help="Queries to ask once more without the answer in the prompt.")] = 50,
    out: Annotated[Path | None, typer.Option(help="Folder for fidelity.json, fidelity.html and pages.jsonl.")] = None,
    reader_model: Annotated[
        str | None, typer.Option(help="Let this model answer from each page: embedded, folder, hub id, or served name.")
    ] = None,
    reader_url: Annotated[str | None, typer.Option(help="OpenAI-compatible server of the reader.")] = None,
    reader_key_env: Annotated[
        str | None, typer.Option(help="Environment variable that holds the server's key.")
    ] = None,
    reader_request: Annotated[
        str | None, typer.Option(metavar="TOML", help="As model.request: {extra = {reasoning_effort = 'low'}}.")
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="Embed the pages with this sentence-transformers model: folder or hub id.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting.")] = None,
) -> None:
    """Compare a simulator with the engine it imitates, query by query.

    Checks that useful pages contain the answer when the real page does, that noisy pages do not, what leaks, and
    whether the documents look real.
    """
    prepare()
    from zerosearch.commands.collect import real_engine
    from zerosearch.commands.label import open_writer
    from zerosearch.config_file import load_config
    from zerosearch.episodes.search import close_connections
    from zerosearch.errors import ConfigError
    from zerosearch.files.folders import owned
    from zerosearch.files.jsonl import atomic_write, write_json, write_jsonl
    from zerosearch.parts import Models, open_engine
    from zerosearch.simulator.embedding import embedding_report
    from zerosearch.simulator.fidelity import compare, page_row
    from zerosearch.simulator.fidelity import fidelity as report_of
    from zerosearch.simulator.gallery import page
    from zerosearch.simulator.reader import read_pages, reader_report

    if reader_url and not reader_model:
        raise ConfigError("--reader-url needs --reader-model, the name that the server knows the model by")
    settings = load_config(config, set_ or ())
    if settings.engine.kind != "simulated":
        raise ConfigError("fidelity compares a simulator: engine.kind must be 'simulated'")
    real_config = real_engine(settings)
    if out is not None:
        context.with_resource(owned(out, "fidelity"))
        check_report(out)
    asked = open_queries(queries or settings.evaluation.questions, settings, limit)
    quiet_libraries()
    training = settings.training
    models = Models(
        settings.model.device,
        settings.model.dtype,
        training.max_batch_rows,
        training.max_batch_tokens,
        training.merge_adapters,
        training.fixed_cache,
    )
    try:
        embed = open_encoder(encoder, settings.engine.dense.device) if encoder else None
        reader = None
        if reader_model:
            reader = open_writer(models, reader_model, reader_url, reader_key_env, reader_request)
        simulated, real = open_engine(settings.engine, models), open_engine(real_config, models)
        top_k = settings.engine.top_k
        if not as_json:
            console.print(f"{len(asked)} queries: {simulated.name} against {real.name}, {top_k} documents a page")

        async def ask_all() -> tuple[list[Compared], list[Reading]]:
            try:
                compared = await compare(asked, simulated, real, top_k=top_k, seed=settings.seed, blind=blind)
                return compared, await read_pages(compared, reader, seed=settings.seed) if reader else []
            finally:
                for part in (simulated, real, reader):
                    await close_connections(part)

        compared, readings = asyncio.run(ask_all())
    finally:
        models.close()
    pages = sum(p is not None for c in compared for p in (c.useful, c.noisy, c.blind))
    report = {
        "simulator": simulated.name,
        "engine": real.name,
        "top_k": top_k,
        "temperature": settings.engine.simulated.temperature,
        "plan_temperature": settings.engine.simulated.plan_temperature,
        "rewrites": settings.engine.simulated.rewrites,
        "seed": settings.seed,
        "decoding_seconds_per_page": models.simulator_seconds() / pages if pages and models.simulating else None,
        **report_of(compared, top_k=top_k),
        **({"reader": reader_report(readings, reader.model)} if reader else {}),
        **({"embedding": embedding_report(compared, embed)} if embed else {}),
    }
    if out is not None:
        write_json(out / "fidelity.json", report)
        atomic_write(out / "fidelity.html", page(report, compared, readings).encode())
        write_jsonl(out / "pages.jsonl", map(page_row, compared))
    if as_json:
        print(json_text(report, indent=2))
        _complain(report)
        return
    for table in tables(report):
        console.print(table)
    if out is not None:
        console.print(f"report       {out}/fidelity.json")
        console.print(f"side by side {out}/fidelity.html\nall pages    {out}/pages.jsonl")
    _complain(report)


def _complain(report: dict[str, Any]) -> None:
    """Raises `RunError` where the figures lack what failed."""
    from zerosearch.errors import RunError

    reader = report.get("reader", {"failed": 0})
    if report["failed"] or reader["failed"]:
        why = f" ({reader['error']})" if reader["failed"] else ""
        raise RunError(
            f"{report['failed']} searches failed, {reader['failed']} queries could not be read{why}: "
            "the figures are of the others"
        )


def check_report(out: Path) -> None:
    """Raises `FolderError` where files lie in `out` that the report would overwrite and that are no such report's."""
    from zerosearch.errors import DataError
    from zerosearch.files.folders import check_file
    from zerosearch.files.jsonl import read_object

    def ours(path: Path) -> bool:
        try:
            return {"simulator", "engine"} <= read_object(out / "fidelity.json").keys()
        except DataError:
            return False

    for name in ("fidelity.json", "fidelity.html", "pages.jsonl"):
        check_file(out / name, ours)


def open_encoder(name: str, device: str) -> Encoder:
    """Raises `ConfigError` where the extra `dense` is missing, `ModelError` where the model cannot be opened."""
    from zerosearch.engines.encoders import SentenceTransformerEncoder

    return SentenceTransformerEncoder(name, device=device)


def open_queries(source: str, config: TrainConfig, limit: int) -> list[Asked]:
    """`factbook:SPLIT`: right, whole and misdirected queries, one a question; a folder: the queries of its
    trajectories; anything else: questions, each asked whole.
    """
    from zerosearch.factbook.queries import factbook_queries
    from zerosearch.parts import open_questions
    from zerosearch.simulator.collect import read_collection
    from zerosearch.simulator.fidelity import Asked

    if source.startswith("factbook:"):
        return [Asked(*found) for found in factbook_queries(source, limit, config.seed)]
    if Path(source).is_dir():
        found = {
            (s.query, t.question.id): Asked(s.query, t.question)
            for t in read_collection(Path(source))
            for s in t.searches
        }
        return list(found.values())[:limit]
    return [
        Asked(q.text, q, "whole" if q.hops in (None, 1) else "whole_multi_hop")
        for q in open_questions(source, limit, config.data.fields)
    ]


def tables(report: dict[str, Any]) -> list[Table]:
    """The report for the screen."""
    first = Table(title="does the page hold the answer? (95 % intervals)")
    for column in ("queries", "count", "real", "useful", "noisy"):
        first.add_column(column, justify="left" if column == "queries" else "right")
    control, leak = report["control"], report["leak"]
    within = report["intervals"]
    for label, row, name in (("real page holds it", control, "control"), ("real page does not", leak, "leak")):
        count, real = (report["findable"], "1.000") if name == "control" else (leak["queries"], "0.000")
        first.add_row(label, str(count), real, *(_within(row[s], within[name][s]) for s in ("useful", "noisy")))
    for kind, row in report["kinds"].items():
        shares = (_within(row[side], within["kinds"][kind][side]) for side in ("real", "useful", "noisy"))
        first.add_row(kind, str(row["queries"]), *shares)
    bridge = report["bridge"]
    if bridge["queries"]:
        for key, label in (("right", "first hop: names the bridge"), ("wrong", "first hop: names a wrong one only")):
            shares = (_within(bridge[side][key], within["bridge"][side][key]) for side in ("real", "useful", "noisy"))
            first.add_row(label, str(bridge["queries"]), *shares)
    second = Table(title="how do the pages look?")
    for column in ("", "real", "useful", "noisy"):
        second.add_column(column, justify="right" if column else "left")
    for key, label in (
        ("documents", "documents a page"),
        ("words_per_document", "words a document"),
        ("overlap_within_page", "overlap of a page's documents"),
        ("copies_the_question", "documents that repeat the question"),
    ):
        second.add_row(label, *_shares(*(report["pages"][side][key] for side in ("real", "useful", "noisy"))))
    style = report["style_auc"]
    second.add_row("told from real ones by words (AUC)", "", *_shares(style["useful"], style["noisy"]))
    if "embedding" in report:
        distance, mmd2 = report["embedding"]["distance"], report["embedding"]["mmd2"]
        second.add_row(
            "cosine distance (real: of two questions)",
            *_shares(distance["other_questions"], distance["useful"], distance["noisy"]),
        )
        second.add_row(
            "squared MMD (real: of two halves)",
            *_shares(mmd2["real_halves"], mmd2["useful"], mmd2["noisy"]),
        )
    third = Table(title="and besides", show_header=False)
    blind = report["answer_in_prompt"]
    third.add_row("pages with all documents in form", *_shares(report["whole_pages"]))
    third.add_row(
        f"useful page holds the answer ({blind['queries']} queries), answer in the prompt", *_shares(blind["with"])
    )
    third.add_row("the same without question and answer in the prompt", *_shares(blind["without"]))
    third.add_row("searches that failed", str(report["failed"]))
    third.add_row("queries left out above: the answer is yes, no or a bare number", str(report["unclear"]))
    third.add_row("seconds a page, waiting in line included", *_shares(report["seconds_per_page"]))
    third.add_row("seconds of decoding a page, of all at once", *_shares(report["decoding_seconds_per_page"]))
    third.add_row("US dollars a page", "-" if report["usd_per_page"] is None else f"{report['usd_per_page']:.6f}")
    return [first, second, third, *([reader_table(report["reader"])] if "reader" in report else [])]


def reader_table(report: dict[str, Any]) -> Table:
    failed = f", {report['failed']} could not be asked ({report['error']})" if report["failed"] else ""
    table = Table(title=Text(f"what does {report['model']} answer from the page? {report['queries']} queries{failed}"))
    for column in ("", "real", "useful", "noisy"):
        table.add_column(column, justify="right" if column else "left")
    for key, label in (("em", "EM"), ("f1", "F1"), ("unknown", "says that the page does not tell")):
        table.add_row(label, *_shares(*(report["pages"][side][key] for side in ("real", "useful", "noisy"))))
    agreement = report["agreement"]
    table.add_row("same answer as from the real page", "", *_shares(agreement["same"]), "")
    table.add_row("right or wrong alike (Cohen's kappa)", "", *_shares(agreement["kappa"]), "")
    return table


def _within(value: float | None, interval: Sequence[float] | None) -> str:
    return "-" if value is None or interval is None else f"{value:.3f} [{interval[0]:.2f}, {interval[1]:.2f}]"


def _shares(*values: float | None) -> Sequence[str]:
    return ["-" if value is None else f"{value:.3f}" for value in values]
