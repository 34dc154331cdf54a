"""Supervised tuning with its folder: locked meanwhile, best weights kept, with a card."""

from __future__ import annotations

import random
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from zerosearch.config import TrainConfig
from zerosearch.engines.page_rows import RecordedPage
from zerosearch.episodes.examples import Example
from zerosearch.errors import FolderError
from zerosearch.files.folders import ADAPTER_FILES, MODEL_FILES, aside, check_folder, owned, restore, strangers
from zerosearch.learning.policy import Policy
from zerosearch.learning.sft import SFTResult, SFTSettings, train_sft
from zerosearch.models.adapters import read_card, resolve_adapter
from zerosearch.models.local import LocalModel
from zerosearch.parts import Parts
from zerosearch.process.runtime import prepare
from zerosearch.simulator.label import read_labels
from zerosearch.simulator.pairs import page_example, tuning_pairs
from zerosearch.simulator.passage_training import passage_examples
from zerosearch.simulator.record import read_recorded_pages
from zerosearch.spending.ledger import counted

_ADAPTER = "simulator"
PASSAGES = "passages"
"""The way of `tune.by` that learns single passages."""


@contextmanager
def output(out: Path, command: str, *, full: bool = False) -> Iterator[None]:
    """Own the folder `out` while an adapter (`full`: a model) is made for it.

    Raises `FolderError` where other things lie there, or an adapter that zerosearch did not make.
    """
    with owned(out, command):
        files = MODEL_FILES if full else ADAPTER_FILES
        check_folder(out, files)
        check_folder(unfinished(out), files)
        restore(out)
        if out.is_dir() and any(out.iterdir()) and "command" not in read_card(out):
            raise FolderError(f"--out {out}: holds weights without zerosearch's card.json; name another folder")
        yield


def made_by(words: Sequence[str]) -> str:
    """The command that `words`, the arguments of this process, are. Those of a user's own program are not told: they
    may be secret.
    """
    program = Path(words[0])
    ours = program.stem == "zerosearch" or program.parts[-2:] == ("zerosearch", "__main__.py")
    return shlex.join(["zerosearch", *words[1:]]) if ours else "zerosearch.tune, from Python"


def unfinished(out: Path) -> Path:
    """Where the best weights so far are kept while `out` is being made; an older `out` stays as it is until then."""
    return out.with_name(f"{out.name}.unfinished")


def default_rate(*, full: bool) -> float:
    """The learning rate. All weights at an adapter's rate forget the language within a few steps."""
    return 1e-5 if full else 1e-3


def tune_model(
    trainee: Policy,
    texts: Sequence[Example],
    settings: SFTSettings,
    out: Path,
    card: dict[str, Any],
    say: Callable[[str], None] = print,
) -> SFTResult:
    """Tune, say a line now and then, and write weights and card to `out` at the end.

    The best weights so far are kept in `unfinished(out)`; a tuning that stops early leaves them there. The next one
    begins anew: it renames them, and says so.
    """
    tokens, learnt = sum(len(t.ids) for t in texts), sum(m > 0 for t in texts for m in t.mask)
    say(f"{card['role']}: {counted(len(texts), 'text')}, {tokens} tokens, {learnt} to learn")

    if unfinished(out).is_dir():
        older = aside(unfinished(out))
        unfinished(out).rename(older)
        say(f"this begins anew: the best weights of the tuning that was stopped are now in {older}")

    def report(row: dict[str, float]) -> None:
        validation = f"  validation {row['validation_loss']:.4f}" if "validation_loss" in row else ""
        say(f"step {row['step']:.0f}/{row['total']:.0f}  loss {row['loss']:.4f}{validation}  {row['seconds']:.0f} s")

    def keep() -> None:
        trainee.save(unfinished(out), dtype=torch.float16)

    try:
        result = train_sft(trainee, texts, settings, report, keep)
    except BaseException:
        if unfinished(out).is_dir():
            say(f"stopped early: the best weights so far are in {unfinished(out)}")
        raise
    card = {
        "command": made_by(sys.argv),
        **card,
        "texts": len(texts),
        "tokens": tokens,
        "settings": asdict(settings),
        "result": asdict(result),
    }
    trainee.save(out, dtype=torch.float16, card=card)
    if not strangers(unfinished(out), ADAPTER_FILES + MODEL_FILES):
        shutil.rmtree(unfinished(out), ignore_errors=True)
    size = sum(file.stat().st_size for file in out.glob("*.safetensors"))
    say(f"{out}: validation loss {result.best_validation_loss:.4f}, {size / 2**20:.1f} MiB ({result.stopped})")
    return result


def tune(
    config: TrainConfig,
    labels: str | Path | Sequence[str | Path],
    out: str | Path,
    say: Callable[[str], None] = print,
) -> SFTResult:
    """Tune the simulator `engine.simulated.model` on what `label` wrote, as `[tune]` says; write it to `out`. `labels`
    is a file or several.

    Raises `DataError` for labels that cannot be used, `ModelError` for a model, `FolderError` for a folder that holds
    other things, `RunError` for a loss that is not finite.
    """
    prepare()
    settings, files = config.tune, [Path(path) for path in ([labels] if isinstance(labels, str | Path) else labels)]
    if settings.by == PASSAGES and settings.misdirected:
        say("tune.misdirected is not used: single passages have no question that could be another one")
    with output(Path(out), "tune", full=settings.full), Parts(config) as parts:
        torch.manual_seed(config.seed)
        pages, make = _passages(config, files) if settings.by == PASSAGES else _pages(config, files)
        trainee = _trainee(parts)
        texts = make(trainee.model)
        return tune_model(trainee, texts, _sft_settings(config), Path(out), _card(config, files, pages), say)


_Made = tuple[Sequence[RecordedPage], Callable[[LocalModel], list[Example]]]
"""Recorded pages, and what makes the texts of them once the model is there."""


def _pages(config: TrainConfig, files: Sequence[Path]) -> _Made:
    settings = config.tune
    labelled = [page for path in files for page in read_labels(path)]
    pairs = tuning_pairs(
        labelled,
        settings.by,
        top_k=config.engine.top_k,
        limit=settings.pages,
        misdirected_share=settings.misdirected,
        seed=config.seed,
    )
    plan, weight = settings.plan, settings.answer_weight

    def make(model: LocalModel) -> list[Example]:
        return [page_example(model, pair.request, pair.documents, plan=plan, answer_weight=weight) for pair in pairs]

    return labelled, make


def _passages(config: TrainConfig, files: Sequence[Path]) -> _Made:
    pages = [page for path in files for page in read_recorded_pages(path)[0]]
    limit, weight, seed = config.tune.pages, config.tune.answer_weight, config.seed
    top_k, longest = config.engine.top_k, config.engine.simulated.max_tokens
    pages = pages if limit is None else random.Random(seed).sample(pages, min(limit, len(pages)))

    def make(model: LocalModel) -> list[Example]:
        return passage_examples(model, pages, top_k=top_k, max_tokens=longest, answer_weight=weight, seed=seed)

    return pages, make


def _trainee(parts: Parts) -> Policy:
    """The simulator's model, with the adapter that is tuned."""
    settings = parts.config.tune
    model = parts.models.load(parts.config.engine.simulated.model, settings.dtype)
    if settings.full:
        return Policy.full_weights(model, None)
    source = resolve_adapter(settings.start) if settings.start else None
    model.add_adapter(_ADAPTER, source, rank=settings.rank, alpha=2.0 * settings.rank, trainable=True)
    return Policy(model, adapter=_ADAPTER)


def _sft_settings(config: TrainConfig) -> SFTSettings:
    settings = config.tune
    return SFTSettings(
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate or default_rate(full=settings.full),
        micro_batch_tokens=settings.micro_batch_tokens,
        max_seconds=60 * settings.max_minutes if settings.max_minutes else None,
        matmul_precision=settings.matmul_precision,
        seed=config.seed,
    )


def _card(config: TrainConfig, files: Sequence[Path], labelled: Sequence[RecordedPage]) -> dict[str, Any]:
    """What the simulator was made from, for its card.json."""
    settings = config.tune
    return {
        "role": "simulator",
        "base": config.engine.simulated.model,
        "data": f"{', '.join(path.name for path in files)}: {counted(len(labelled), 'page')}, labels by {settings.by}",
        "engine": sorted({page.engine for page in labelled}),
        "questions": len({page.question.id for page in labelled}),
        "top_k": config.engine.top_k,
        **({} if settings.by == PASSAGES else {"misdirected": settings.misdirected, "plan": settings.plan}),
        "answer_weight": settings.answer_weight,
        "style": "passages" if settings.by == PASSAGES else "tuned",
        "start": read_card(resolve_adapter(settings.start)) if settings.start else None,
    }
