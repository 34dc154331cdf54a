"""Label the pages of a collection and of recordings: useful or noisy, in every way that is available.

collect(config, "pages", how=Collecting(rollouts=2))
label(config, "pages")
tune(config, "pages/labels.jsonl", "simulator")
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from zerosearch.config import TrainConfig
from zerosearch.engines.page_rows import RecordedPage
from zerosearch.episodes.search import Quality
from zerosearch.errors import ConfigError, DataError, RunError
from zerosearch.files.folders import check_file, owned
from zerosearch.files.jsonl import append_jsonl, read_rows
from zerosearch.models.config import ModelRef
from zerosearch.parts import Parts
from zerosearch.simulator.collect import read_collection
from zerosearch.simulator.config import LabelConfig
from zerosearch.simulator.judge import judge
from zerosearch.simulator.label import VERSION, holds_labels, label_pages, label_recorded, write_labels
from zerosearch.simulator.record import read_recorded_pages
from zerosearch.spending.ledger import counted

_VERDICTS = ("useful", "noisy")
Say = Callable[[str], None]


def label(
    config: TrainConfig,
    collection: str | Path | None = None,
    out: str | Path | None = None,
    *,
    recorded: str | Path | Sequence[str | Path] = (),
    say: Say = print,
) -> list[RecordedPage]:
    """Label every page of the folder `collection` that `collect` wrote, and of `recorded`, a file of recorded pages or
    several; write them to the file `out` (None: `labels.jsonl` in the folder). Returns the pages, labels included.

    A page's `labels` say by each way (outcome, judge, containment, evidence) whether its first `engine.top_k` documents
    are useful. The judge is that of `label.judge`, if it is set. The same call asks only for the verdicts that lack.

    Raises `ConfigError` or `DataError` for what cannot be used, `FolderError` for a file that holds other things,
    `BudgetError` where the budget is spent, and at the end `RunError` where the judge failed.
    """
    files = [recorded] if isinstance(recorded, str | Path) else recorded
    pages, complaint = labelled(config, collection, list(map(Path, files)), out, say)
    if complaint:
        raise RunError(complaint)
    return pages


def target_of(collection: str | Path | None, recorded: Sequence[Path], out: str | Path | None) -> Path:
    """The file to write. Raises `ConfigError` where nothing says which pages, or where to."""
    if collection is None and (not recorded or out is None):
        raise ConfigError("give a folder that `zerosearch collect` wrote, or --recorded FILE with --out FILE")
    return Path(out) if out is not None else Path(collection or "") / "labels.jsonl"


def labelled(
    config: TrainConfig, collection: str | Path | None, recorded: Sequence[Path], out: str | Path | None, say: Say
) -> tuple[list[RecordedPage], str]:
    """The pages that `label` writes, and what failed, in one line."""
    target, complaint = target_of(collection, recorded, out), ""
    with owned(target, "label"):
        check_file(target, holds_labels)
        folder = None if collection is None else Path(collection)
        pages = read_pages(folder, recorded, config.label, config.engine.top_k, say)
        if (model := config.label.judge.ref()) is not None:
            pages, complaint = judged(config, pages, model, target, say)
        write_labels(target, pages)
    return pages, complaint and f"{complaint}. The same command asks again for the verdicts that lack"


def read_pages(
    collection: Path | None, recorded: Sequence[Path], settings: LabelConfig, top_k: int, say: Say
) -> list[RecordedPage]:
    """The pages of a collection and of recordings, with the labels that need no judge. Raises `DataError` for none."""
    pages = label_pages(read_collection(collection), top_k=top_k) if collection else []
    nameless = 0
    for path in recorded:
        found, without = read_recorded_pages(path, snippet_words=settings.snippet_words)
        pages += label_recorded(found, top_k=top_k)
        nameless += without
        left_out = f", {counted(without, 'row')} without question and answer left out" if without else ""
        say(f"{path}: {counted(len(found), 'page')}{left_out}")
    if not pages and nameless:
        raise DataError(
            "the recordings: no row has `question` and `golden_answers`, by which pages are labelled "
            "(zerosearch record writes them where its --queries have them)"
        )
    if not pages:
        raise DataError(f"{collection or 'the recordings'}: nothing there holds a page; does the policy search?")
    return pages


def judged(
    config: TrainConfig, pages: Sequence[RecordedPage], model: ModelRef, target: Path, say: Say
) -> tuple[list[RecordedPage], str]:
    """`pages` with the verdicts on their first `engine.top_k` documents, and what failed.

    Verdicts are kept beside `target` as they come: the same command asks only for those that lack. Those of another
    version, which were about whole pages, are counted and not used.
    """
    kept = target.with_suffix(".verdicts.jsonl")
    rows = [row for row in read_rows(kept) if row.get("verdict") in _VERDICTS]
    held = {str(row.get("key")): Quality(row["verdict"]) for row in rows if row.get("version") == VERSION}
    if others := sum(row.get("version") != VERSION for row in rows):
        say(f"{kept}: {counted(others, 'verdict')} of another version, not used (older ones: on whole pages)")
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
    say(
        f"judge {model}: {counted(done.documents, 'document')} on {counted(len(pages), 'page')}, {done.useful} useful, "
        f"{done.unclear} without a clear verdict, {done.failed} could not be asked"
    )
    labelled = [replace(seen, documents=page.documents) for page, seen in zip(pages, done.pages, strict=True)]
    return labelled, done.complaint
