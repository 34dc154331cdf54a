"""`zerosearch sft`: make the two embedded adapters, the warm-started policy and the tuned simulator."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zerosearch.commands.screen import Console
from zerosearch.process.runtime import prepare, quiet_libraries

if TYPE_CHECKING:
    from zerosearch.episodes.examples import Example
    from zerosearch.learning.policy import Policy
    from zerosearch.learning.sft import SFTResult, SFTSettings

console = Console()
ADAPTER_RATE = 1e-3


class Role(StrEnum):
    """What the adapter will play."""

    policy = "policy"
    simulator = "simulator"


def sft(
    context: typer.Context,
    role: Annotated[Role, typer.Argument(help="policy: a warm start. simulator: a search engine's pages.")],
    out: Annotated[Path, typer.Option(help="Folder to write the adapter to.")],
    model: Annotated[str, typer.Option(help="The base model.")] = "smollm2-135m",
    start: Annotated[str | None, typer.Option(help="Go on from this adapter: a folder, or embedded:policy.")] = None,
    examples: Annotated[int, typer.Option(min=40, help="At most so many training texts.")] = 6000,
    epochs: Annotated[float, typer.Option(min=0.01)] = 2.0,
    rank: Annotated[int, typer.Option(min=1, help="LoRA rank of a new adapter; alpha is twice as much.")] = 8,
    learning_rate: Annotated[float, typer.Option()] = ADAPTER_RATE,
    batch_size: Annotated[int, typer.Option(min=1)] = 16,
    micro_batch_tokens: Annotated[int, typer.Option(min=64)] = 4096,
    trajectories: Annotated[
        Path | None,
        typer.Option(help="policy: a folder of collect; tune on its right episodes (rejection sampling)."),
    ] = None,
    tries: Annotated[int, typer.Option(min=1, help="With --trajectories: right episodes kept of a question.")] = 1,
    two_search_share: Annotated[
        float, typer.Option(min=0, max=1, help="policy: share of two-hop scripts that search twice.")
    ] = 0.25,
    per_question: Annotated[int, typer.Option(min=1, help="simulator: queries a question.")] = 1,
    max_minutes: Annotated[
        float | None,
        typer.Option(help="Stop after so many minutes with the best weights; the learning rate falls with the clock."),
    ] = None,
    fast_matmul: Annotated[
        bool, typer.Option("--fast-matmul", help="Multiply in bfloat16 on CPUs that can (AMX).")
    ] = False,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Tune a LoRA adapter on Factbook questions: scripted episodes (policy) or query-page pairs (simulator).

    With --trajectories the policy learns from its own right episodes (rejection sampling).

    The policy learns the protocol, and to search once where two searches are needed; the rest is left to reinforcement
    learning. The simulator learns to write what BM25 returns for the query (useful), or what it ranks beside the point
    (noisy).
    """
    prepare()
    import torch

    from zerosearch.engines.bm25 import BM25Engine
    from zerosearch.errors import ConfigError
    from zerosearch.factbook import build, load_factbook_questions
    from zerosearch.learning import warmstart
    from zerosearch.learning.policy import Policy
    from zerosearch.models.adapters import read_card, resolve_adapter
    from zerosearch.models.local import LocalModel

    if trajectories is not None and role is not Role.policy:
        raise ConfigError("--trajectories is for the policy; label and tune make a simulator of them")
    quiet_libraries()
    torch.manual_seed(seed)
    context.with_resource(output(out, "sft"))
    own = None if trajectories is None else right_episodes(trajectories, model, tries, examples, seed)
    local = LocalModel.load(model, dtype="float32")
    source = resolve_adapter(start) if start else None
    local.add_adapter(role.value, source, rank=rank, alpha=2.0 * rank, trainable=True)
    settings = sft_settings(
        epochs, batch_size, learning_rate, micro_batch_tokens, max_minutes, fast_matmul=fast_matmul, seed=seed
    )
    card: dict[str, Any] = {"role": role.value, "base": model, "start": read_card(source) if source else None}
    if own is not None:
        card |= {"data": f"right episodes of {trajectories}"}
        tune_model(Policy(local, adapter=role.value), own, settings, out, card)
        return
    paths = build()
    engine = BM25Engine.open(paths.corpus)
    questions = load_factbook_questions(paths.train)
    if role is Role.policy:
        texts = warmstart.policy_examples(
            local, questions, engine, limit=examples, two_search_share=two_search_share, seed=seed
        )
    else:
        texts = warmstart.simulator_examples(
            local, questions, engine, limit=examples, per_question=per_question, seed=seed
        )
    card |= {
        "data": f"factbook:train ({paths.manifest.name} in the data's folder)",
        "top_k": warmstart.TOP_K,
        "snippet_words": warmstart.SNIPPET_WORDS,
        "style": "tuned",
    }
    tune_model(Policy(local, adapter=role.value), texts, settings, out, card)


@contextmanager
def output(out: Path, command: str, *, full: bool = False) -> Iterator[None]:
    """Own the folder `out` while an adapter (`full`: a model) is made for it.

    Raises `FolderError` where other things lie there, or an adapter that zerosearch did not make.
    """
    from zerosearch.errors import FolderError
    from zerosearch.files.folders import ADAPTER_FILES, MODEL_FILES, check_folder, owned, restore
    from zerosearch.models.adapters import read_card

    with owned(out, command):
        files = MODEL_FILES if full else ADAPTER_FILES
        check_folder(out, files)
        check_folder(unfinished(out), files)
        restore(out)
        if out.is_dir() and any(out.iterdir()) and "command" not in read_card(out):
            raise FolderError(f"--out {out}: holds weights without zerosearch's card.json; name another folder")
        yield


def unfinished(out: Path) -> Path:
    """Where the best weights so far are kept while `out` is being made; an older `out` stays as it is until then."""
    return out.with_name(f"{out.name}.unfinished")


def right_episodes(folder: Path, model: str, tries: int, limit: int, seed: int) -> list[Example]:
    """The texts of a collection's right episodes. Raises `DataError` where it was collected with another model."""
    from zerosearch.errors import DataError
    from zerosearch.files.jsonl import read_object
    from zerosearch.learning.rejection import successful_examples
    from zerosearch.simulator.collect import read_collection

    record = folder / "collect.json"
    policy = read_object(record).get("policy") if record.exists() else None
    if policy is not None and policy != model:
        raise DataError(
            f"{folder}: was collected with {policy}, whose tokens are not those of {model}; --model {policy}"
        )
    return successful_examples(read_collection(folder), per_question=tries, limit=limit, seed=seed)


def default_rate(*, full: bool) -> float:
    """Of supervised tuning. All weights at an adapter's rate forget the language within a few steps."""
    return 1e-5 if full else ADAPTER_RATE


def sft_settings(
    epochs: float,
    batch_size: int,
    learning_rate: float,
    micro_batch_tokens: int,
    max_minutes: float | None,
    *,
    fast_matmul: bool,
    seed: int,
) -> SFTSettings:
    """The options that `sft` and `tune` have in common, as the trainer takes them."""
    from zerosearch.learning.sft import SFTSettings

    return SFTSettings(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        micro_batch_tokens=micro_batch_tokens,
        max_seconds=60 * max_minutes if max_minutes else None,
        matmul_precision="medium" if fast_matmul else "highest",
        seed=seed,
    )


def tune_model(
    trainee: Policy, texts: Sequence[Example], settings: SFTSettings, out: Path, card: dict[str, Any]
) -> SFTResult:
    """Tune, print a line now and then, and write weights and card to `out` at the end.

    The best weights so far are kept in `unfinished(out)`; a tuning that stops early leaves them there.
    """
    import torch

    from zerosearch.files.folders import ADAPTER_FILES, MODEL_FILES, strangers
    from zerosearch.learning.sft import train_sft

    tokens = sum(len(t.ids) for t in texts)
    console.print(
        f"{card['role']}: {len(texts)} texts, {tokens} tokens, {sum(m > 0 for t in texts for m in t.mask)} to learn"
    )

    def report(row: dict[str, float]) -> None:
        validation = f"  validation {row['validation_loss']:.4f}" if "validation_loss" in row else ""
        console.print(
            f"step {row['step']:.0f}/{row['total']:.0f}  loss {row['loss']:.4f}{validation}  {row['seconds']:.0f} s"
        )

    def keep() -> None:
        trainee.save(unfinished(out), dtype=torch.float16)

    try:
        result = train_sft(trainee, texts, settings, report, keep)
    except BaseException:
        if unfinished(out).is_dir():
            console.print(f"stopped early: the best weights so far are in {unfinished(out)}")
        raise
    card = {
        **card,
        "command": shlex.join(["zerosearch", *sys.argv[1:]]),
        "texts": len(texts),
        "tokens": tokens,
        "settings": asdict(settings),
        "result": asdict(result),
    }
    trainee.save(out, dtype=torch.float16, card=card)
    if not strangers(unfinished(out), ADAPTER_FILES + MODEL_FILES):
        shutil.rmtree(unfinished(out), ignore_errors=True)
    size = sum(file.stat().st_size for file in out.glob("*.safetensors"))
    console.print(
        f"{out}: validation loss {result.best_validation_loss:.4f}, {size / 2**20:.1f} MiB ({result.stopped})"
    )
    return result
