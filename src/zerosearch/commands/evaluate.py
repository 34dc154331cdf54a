"""`zerosearch evaluate`: run methods on benchmarks, keep each prediction, print a table."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from zerosearch.commands.data import FIELDS_HELP
from zerosearch.commands.screen import console, typed
from zerosearch.config_file import as_overrides, load_config
from zerosearch.errors import ConfigError, RunError
from zerosearch.evaluation.entrants import Trials
from zerosearch.evaluation.evaluate import METHODS
from zerosearch.evaluation.evaluate import evaluate as run
from zerosearch.evaluation.tables import rich_tables
from zerosearch.process.runtime import prepare


def evaluate(
    config_file: Annotated[
        Path | None,
        typer.Argument(metavar="[CONFIG]", help="A TOML file as for train: its model, protocol and evaluation.engine."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for predictions and tables; the same command resumes.")] = Path(
        "evaluation"
    ),
    methods: Annotated[
        str,
        typer.Option(
            help="direct, cot, rag, react, search-o1, ircot, tree-search, episode; LABEL=FOLDER: a trained policy; "
            "package.module:Name: your own."
        ),
    ] = METHODS,
    benchmarks: Annotated[
        str | None,
        typer.Option(
            help="nq, triviaqa, popqa, hotpotqa, 2wikimultihopqa, musique, bamboogle; question files; "
            "package.module:Name: your own."
        ),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Read benchmarks from this folder, not from the hub.")] = None,
    fields: Annotated[str | None, typer.Option(help=FIELDS_HELP)] = None,
    model: Annotated[str | None, typer.Option(help="The model: --set model.name=...")] = None,
    adapter: Annotated[str | None, typer.Option(help="Its LoRA adapter: --set model.adapter=...")] = None,
    url: Annotated[
        str | None, typer.Option(help="An OpenAI-compatible server that serves the model: --set model.base_url=...")
    ] = None,
    key_env: Annotated[
        str | None, typer.Option(help="The environment variable with its key: --set model.api_key_env=...")
    ] = None,
    engine: Annotated[str | None, typer.Option(help="The engine: --set evaluation.engine.kind=...")] = None,
    corpus: Annotated[str | None, typer.Option(help="Its corpus: --set evaluation.engine.bm25.corpus=...")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Draw N questions of each benchmark, by seed.")] = None,
    samples: Annotated[
        int, typer.Option(min=1, help="Tries for each question; more than one needs a temperature.")
    ] = 1,
    temperature: Annotated[float, typer.Option(min=0, help="Sampling temperature; 0 is greedy.")] = 0.0,
    max_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Maximal tokens of a prompted method's reply. Default: 256, search-o1 1024."),
    ] = None,
    label: Annotated[str | None, typer.Option(help="Name the rows METHOD@LABEL, for another model or engine.")] = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Number of questions at once. Default: twice training.max_batch_rows.")
    ] = None,
    unlike: Annotated[
        bool,
        typer.Option("--unlike", help="Put all results of the folder into one table, also those of other engines."),
    ] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting.")] = None,
) -> None:
    """Run a model and baseline methods on benchmarks; keep every prediction and print a table.

    Without --benchmarks the configuration's evaluation.benchmarks are used, or its evaluation.questions if there
    are none. The same command resumes an interrupted evaluation.
    """
    prepare()
    short = {
        "model.name": model,
        "model.adapter": adapter,
        "model.base_url": url,
        "model.api_key_env": key_env,
        "evaluation.engine.kind": engine,
        "evaluation.engine.bm25.corpus": corpus,
        "evaluation.engine.dense.corpus": corpus,
    }
    config = load_config(config_file, [*as_overrides(short), *(set_ or [])])
    judge = config.evaluation.engine
    if corpus is not None and (judge is None or judge.kind not in ("bm25", "dense")):
        raise ConfigError(f"--corpus: engine {judge.kind if judge else 'none'} has none (--engine bm25?)")
    trials = Trials(
        samples, temperature, limit, data, fields, max_tokens, label, concurrency, tuple(set_ or ()), unlike
    )
    began = time.perf_counter()
    table = run(config, methods, benchmarks, out, trials, say=console.print)
    for shown in rich_tables(table, console.width):
        console.print(shown)
    console.print(f"table {out}/table.md, {out}/table.json; predictions {out}/BENCHMARK/METHOD.jsonl")
    console.print(f"{time.perf_counter() - began:.0f} s in total, including loading")
    if table.complaint:
        raise RunError(table.complaint)
    whole = sorted((-row.micro.value, row.method) for row in table.rows if row.micro)
    if len(whole) > 1 and not table.notes:
        console.next(typed("compare", *(f"{out}:{method}" for _, method in whole[:2])))
