"""`zerosearch tune`: labelled pages in, a simulator out."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from zerosearch.commands.screen import Console
from zerosearch.process.runtime import prepare, quiet_libraries

ADAPTER = "simulator"
console = Console()


class Way(StrEnum):
    """Whose labels count."""

    outcome = "outcome"
    judge = "judge"
    evidence = "evidence"
    rank = "rank"


class Dtype(StrEnum):
    """Number formats of weights."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


def tune(
    context: typer.Context,
    labels: Annotated[list[Path], typer.Argument(help="Files that `zerosearch label` wrote.")],
    out: Annotated[Path, typer.Option(help="Folder to write the adapter (or with --full the model) to.")],
    by: Annotated[
        Way,
        typer.Option(help="Whose labels count; rank: pages as returned are useful, what is ranked behind is noisy."),
    ] = Way.judge,
    model: Annotated[str, typer.Option(help="The base model: embedded, a folder or a hub id.")] = "smollm2-135m",
    start: Annotated[str | None, typer.Option(help="Go on from this adapter: a folder, or embedded:simulator.")] = None,
    top_k: Annotated[int, typer.Option(min=1, help="Documents a page.")] = 5,
    pages: Annotated[int | None, typer.Option(min=40, help="At most so many pages, half of each class.")] = None,
    misdirected: Annotated[
        float,
        typer.Option(min=0, max=1, help="Useful pages put under a question that their query does not fit, as a share."),
    ] = 0.0,
    plan: Annotated[
        bool, typer.Option(help="Before its page the simulator notes which documents will hold the answer.")
    ] = True,
    answer_weight: Annotated[
        int, typer.Option(min=1, help="How often the plan, and golden answers in the page, count in the loss.")
    ] = 1,
    full: Annotated[bool, typer.Option("--full", help="Tune all weights, not an adapter.")] = False,
    dtype: Annotated[Dtype, typer.Option(help="Of the base weights; auto is bfloat16 on a GPU.")] = Dtype.float32,
    epochs: Annotated[float, typer.Option(min=0.01)] = 2.0,
    rank: Annotated[int, typer.Option(min=1, help="LoRA rank of a new adapter; alpha is twice as much.")] = 8,
    learning_rate: Annotated[
        float | None, typer.Option(help="By default 1e-3 for an adapter, 1e-5 for all weights.", show_default=False)
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 16,
    micro_batch_tokens: Annotated[int, typer.Option(min=64)] = 4096,
    max_minutes: Annotated[
        float | None,
        typer.Option(help="Stop after so many minutes with the best weights; the learning rate falls with the clock."),
    ] = None,
    fast_matmul: Annotated[
        bool, typer.Option("--fast-matmul", help="TF32 on GPUs, bfloat16 on CPUs with AMX.")
    ] = False,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Tune a LoRA adapter (or all weights) to write pages as the real engine did, useful or noisy as the prompt says.

    Classes are balanced, the loss is on the page alone, validation questions are held out, and training stops early.
    """
    prepare()
    import torch

    from zerosearch.errors import ConfigError
    from zerosearch.learning.policy import Policy
    from zerosearch.learning.sft import SFTSettings
    from zerosearch.learning.tuning import default_rate, output, tune_model
    from zerosearch.models.adapters import read_card, resolve_adapter
    from zerosearch.models.local import LocalModel
    from zerosearch.simulator.label import read_labels
    from zerosearch.simulator.pairs import page_example, tuning_pairs

    if full and start:
        raise ConfigError("--full tunes all weights and --start an adapter: choose one")
    if full and dtype is Dtype.float16:
        raise ConfigError("--full with --dtype float16 would lose small updates: choose float32")
    context.with_resource(output(out, "tune", full=full))
    quiet_libraries()
    torch.manual_seed(seed)
    labelled = [page for path in labels for page in read_labels(path)]
    pairs = tuning_pairs(
        labelled,
        by.value,
        top_k=top_k,
        limit=pages,
        misdirected_share=misdirected,
        seed=seed,
    )
    source = resolve_adapter(start) if start else None
    local = LocalModel.load(model, dtype=dtype.value)
    if full:
        trainee = Policy.full_weights(local, None)
    else:
        local.add_adapter(ADAPTER, source, rank=rank, alpha=2.0 * rank, trainable=True)
        trainee = Policy(local, adapter=ADAPTER)
    settings = SFTSettings(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate or default_rate(full=full),
        micro_batch_tokens=micro_batch_tokens,
        max_seconds=60 * max_minutes if max_minutes else None,
        matmul_precision="medium" if fast_matmul else "highest",
        seed=seed,
    )
    card = {
        "role": "simulator",
        "base": model,
        "data": f"{', '.join(path.name for path in labels)}: {len(labelled)} pages, labels by {by.value}",
        "engine": sorted({page.engine for page in labelled}),
        "questions": len({page.question.id for page in labelled}),
        "top_k": top_k,
        "misdirected": misdirected,
        "plan": plan,
        "answer_weight": answer_weight,
        "style": "tuned",
        "start": read_card(source) if source else None,
    }
    texts = [
        page_example(local, pair.request, pair.documents, plan=plan, answer_weight=answer_weight) for pair in pairs
    ]
    tune_model(trainee, texts, settings, out, card, console.print)
    use = f"engine.simulated.{'model' if full else 'adapter'}={out}"
    console.print(f"next: zerosearch fidelity CONFIG --set {use} --set engine.simulated.style=tuned")
