"""`zerosearch data`: show the built-in Factbook questions, or any file of questions."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from zerosearch.commands.screen import console, table
from zerosearch.episodes.questions import Fields, Reading, questions_digest, read_questions
from zerosearch.errors import ConfigError
from zerosearch.factbook import corpus_path
from zerosearch.factbook import manifest as shipped_manifest
from zerosearch.parts import open_questions
from zerosearch.process.runtime import prepare
from zerosearch.spending.ledger import counted

SPLITS = ("train", "dev", "test")
FIELDS_HELP = "Names of the fields, if not the usual ones: question=NAME,answers=NAME,id=NAME,separator=MARK."


def data(
    context: typer.Context,
    source: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SOURCE]",
            help=".jsonl, .json, .csv, .tsv or .parquet (also .gz); factbook:SPLIT; hub:NAME:SPLIT; factbook.",
        ),
    ] = None,
    show: Annotated[int, typer.Option(min=0, metavar="N", help="Questions to show.")] = 3,
    limit: Annotated[int | None, typer.Option(min=1, help="Read only the first N questions.")] = None,
    fields: Annotated[str | None, typer.Option(help=FIELDS_HELP)] = None,
) -> None:
    """Read questions as training does, and print what was understood. The first error is reported with its line.

    Without SOURCE: the questions and the corpus that come with the package, and where the corpus is stored. `data
    show SOURCE` is the same as `data SOURCE`.
    """
    prepare()
    words = list(source or ["factbook"])
    if words[0] == "show" and len(words) > 1:
        words = words[1:]
    if len(words) > 1:
        raise ConfigError(f"data reads one source, found {len(words)}: {', '.join(words)}")
    named = words[0]
    if named == "factbook":
        _refuse(context, ("show", "limit", "fields"), "the Factbook is several files: name one, such as factbook:dev")
        return print_factbook()
    if named.startswith("factbook:"):
        _refuse(context, ("fields",), "the fields of the Factbook are known: leave it out")
    if named.startswith("factbook:"):
        reading = Reading(open_questions(named, limit))
    else:
        reading = read_questions(named, limit=limit, fields=Fields.parse(fields))
    questions = reading.questions
    answers = [len(question.golden_answers) for question in questions]
    _say(
        f"{named}: {counted(len(questions), 'question')}, {sum(answers) / len(answers):.1f} golden answers each "
        f"(at most {max(answers)}), digest {questions_digest(questions)[:12]}"
    )
    if reading.forms:
        forms = ", ".join(f"{form} {count}" for form, count in reading.forms.most_common())
        _say(f"forms of answers, by questions: {forms}")
    if reading.without_id:
        _say(f"without an id: {reading.without_id} (one is made from question and answers)")
    if reading.other_fields:
        _say(f"further fields: {', '.join(reading.other_fields)}")
    for note in reading.notes():
        _say(f"note: {note}")
    for question in questions[:show]:
        console.print(Text(f"  {question.text}"))
        console.print(Text(f"    {' | '.join(question.golden_answers)}", style="green"))


def _refuse(context: typer.Context, options: tuple[str, ...], why: str) -> None:
    """Raises `ConfigError` for an option that was typed and that this source has no use for."""
    for name in options:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise ConfigError(f"--{name}: {why}")


def print_factbook() -> None:
    """What ships: a row a file, the licence, and how it is used."""
    manifest = shipped_manifest()
    title = f"Factbook {manifest['version']}, seed {manifest['seed']}"
    shown = table(title, "file", "rows", "one-hop", "two-hop", "countries", "sha256")
    digests = {name: of["sha256"][:12] for name, of in manifest["files"].items()}
    shown.add_row("corpus.jsonl", str(manifest["passages"]), "", "", "", digests["corpus.jsonl"])
    for split in SPLITS:
        counts = manifest["counts"][split]
        hops = [str(counts["hops"].get(hop, 0)) for hop in ("1", "2")]
        countries = str(len(manifest["countries"][split]))
        shown.add_row(f"{split}.jsonl", str(counts["questions"]), *hops, countries, digests[f"{split}.jsonl"])
    console.print(shown)
    source = manifest["source"]
    _say(f"licence  {source['licence']}, from {source['package']}")
    _say(f"corpus   {corpus_path()}")
    _say('use it   data.train = "factbook:train" (or :dev, :test; and :one-hop or :two-hop after that)')


def _say(line: str) -> None:
    console.print(line, soft_wrap=True)
