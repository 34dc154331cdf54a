"""`zerosearch data`: the built-in Factbook questions, and a look into any file of questions."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from zerosearch.commands.screen import console
from zerosearch.episodes.questions import Fields, Reading, questions_digest, read_questions
from zerosearch.factbook import corpus_path, factbook_rows
from zerosearch.factbook import manifest as shipped_manifest
from zerosearch.parts import open_questions
from zerosearch.process.runtime import prepare
from zerosearch.spending.ledger import counted

data = typer.Typer(help="Questions to train on and to evaluate with.", no_args_is_help=True)
SPLITS = ("train", "dev", "test")
FIELDS_HELP = "Which fields hold what, if not the usual ones: question=NAME,answers=NAME,id=NAME,separator=MARK."


@data.command()
def factbook(
    show: Annotated[int, typer.Option(min=0, metavar="N", help="Questions to show of each split.")] = 2,
) -> None:
    """The questions and the corpus that come with the package: what is in them, and where the corpus lies."""
    prepare()
    manifest = shipped_manifest()
    table = Table(title=f"Factbook {manifest['version']}, seed {manifest['seed']}", title_justify="left")
    for column, justify in (("file", "left"), ("rows", "right"), ("one-hop", "right"), ("two-hop", "right"),
                            ("countries", "right"), ("sha256", "left")):  # fmt: skip
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    digests = {name: of["sha256"][:12] for name, of in manifest["files"].items()}
    table.add_row("corpus.jsonl", str(manifest["passages"]), "", "", "", digests["corpus.jsonl"])
    for split in SPLITS:
        counts = manifest["counts"][split]
        hops = [str(counts["hops"].get(hop, 0)) for hop in ("1", "2")]
        countries = str(len(manifest["countries"][split]))
        table.add_row(f"{split}.jsonl", str(counts["questions"]), *hops, countries, digests[f"{split}.jsonl"])
    console.print(table)
    source = manifest["source"]
    console.print(f"licence  {source['licence']}, from {source['package']}", markup=False)
    console.print(f"corpus   {corpus_path()}", markup=False)
    console.print('use it   data.train = "factbook:train" (or :dev, :test; and :one-hop or :two-hop after that)')
    for split in SPLITS if show else ():
        console.print(f"\n{split}", style="bold")
        for question in factbook_rows(f"factbook:{split}")[:show]:
            _print_question(question.question, question.golden_answers)


@data.command("show")
def show_questions(
    source: Annotated[
        str,
        typer.Argument(help="A .jsonl, .json, .csv, .tsv or .parquet file (or .gz), factbook:SPLIT, hub:NAME:SPLIT."),
    ],
    show: Annotated[int, typer.Option(min=0, metavar="N", help="Questions to show.")] = 3,
    limit: Annotated[int | None, typer.Option(min=1, help="Read only the first N questions.")] = None,
    fields: Annotated[str | None, typer.Option(help=FIELDS_HELP)] = None,
) -> None:
    """Read questions just as training does, and say what was understood. The first thing wrong is named by its line."""
    prepare()
    reading = _open(source, limit, fields)
    questions = reading.questions
    answers = [len(question.golden_answers) for question in questions]
    _say(
        f"{source}: {counted(len(questions), 'question')}, {sum(answers) / len(answers):.1f} golden answers each "
        f"(at most {max(answers)}), digest {questions_digest(questions)[:12]}"
    )
    if reading.forms:
        _say("forms of answers: " + ", ".join(f"{form} {count}" for form, count in reading.forms.most_common()))
    if reading.without_id:
        _say(f"without an id: {reading.without_id} (one is made from question and answers)")
    if reading.other_fields:
        _say(f"further fields: {', '.join(reading.other_fields)}")
    for note in reading.notes():
        _say(f"note: {note}")
    for question in questions[:show]:
        _print_question(question.text, question.golden_answers)


def _open(source: str, limit: int | None, fields: str | None) -> Reading:
    if source.startswith("factbook:"):
        return Reading(open_questions(source, limit))
    return read_questions(source, limit=limit, fields=Fields.parse(fields))


def _say(line: str) -> None:
    console.print(line, markup=False, soft_wrap=True)


def _print_question(text: str, golden_answers: tuple[str, ...]) -> None:
    console.print(Text(f"  {text}"))
    console.print(Text(f"    {' | '.join(golden_answers)}", style="green"))
