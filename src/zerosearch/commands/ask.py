"""`zerosearch ask`: put a question to a trained policy with its engine, and watch it think, search and answer."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zerosearch.cleaning import clean
from zerosearch.commands.blocks import Blocks
from zerosearch.commands.screen import Console, json_text
from zerosearch.process.interrupts import giving_up
from zerosearch.process.runtime import prepare, quiet_libraries
from zerosearch.spending.ledger import dollars

if TYPE_CHECKING:
    from zerosearch.asking import Asked, Listener, MakeGenerator
    from zerosearch.config import TrainConfig
    from zerosearch.episodes.rollout import RolloutSettings
    from zerosearch.episodes.search import SearchEngine
    from zerosearch.spending.ledger import Ledger

PROMPT = "question> "
EMBEDDED: dict[str, Any] = {
    "model": {"name": "smollm2-135m", "adapter": "embedded:policy", "dtype": "float32"},
    "protocol": {"max_searches": 3, "max_turn_tokens": 96, "max_page_tokens": 224, "max_context_tokens": 1280},
    "engine": {"kind": "bm25", "bm25": {"corpus": "factbook"}, "top_k": 3, "snippet_words": 15},
}
"""What is asked without --config and --run: the policy and the engine that demo begins and judges with."""


def ask(
    question: Annotated[str | None, typer.Argument(help="None: a prompt; from a pipe, one question a line.")] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file as for train: its policy and engine.")] = None,
    run: Annotated[Path | None, typer.Option(help="A run's folder: its newest checkpoint, and its engine.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting.")] = None,
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy: the same answer every time.")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a question, on a line of its own.")] = False,
) -> None:
    """Ask a policy: it thinks, searches and answers before your eyes.

    Without --config and --run it is the policy that ships with the package, with BM25 over the World Factbook. The
    engine is the configuration's evaluation.engine, or where there is none its engine.

    Every question is an episode of its own: the policy knows nothing of the ones before.
    """
    prepare()
    from zerosearch.commands.screen import read_input
    from zerosearch.episodes.questions import Question
    from zerosearch.errors import DataError

    settings = ask_settings(config, run, set_ or ())
    if question is not None:
        Question.asked(question)  # an empty one is told of before any model is loaded
    elif not sys.stdin.isatty():
        questions = [line for line in read_input().splitlines() if line.strip()]
        if not questions:
            raise DataError("no question: give one as the argument, or one a line on standard input")
    screen, notes = Console(), Console(stderr=True)
    if notes.is_terminal and not settings.model.base_url:
        notes.print("loading the model ...", style="dim")
    with opened(settings, temperature) as parts:
        if not as_json:
            _introduce(settings, parts.engine, screen if question is None and sys.stdin.isatty() else notes)

        def put(text: str) -> Asked:
            listener: Listener = _Silent() if as_json else Blocks(screen)
            return _put(text, parts, settings, listener)

        if question is None and sys.stdin.isatty():
            _converse(put, notes, as_json)
        else:
            _answer_all([question] if question is not None else questions, put, screen, as_json)


def ask_settings(config: Path | None, run: Path | None, overrides: list[str] | tuple[str, ...]) -> TrainConfig:
    """The settings of what is asked, whose `engine` is the one to ask with.

    With `run`, `model` is the newest checkpoint. Raises `ConfigError`, or `CheckpointError` for a run without one.
    """
    from zerosearch.config_file import load_config
    from zerosearch.errors import ConfigError

    if config is not None and run is not None:
        raise ConfigError("--config and --run both say what to ask: give one of them")
    if run is not None:
        settings = _newest(run, load_config(_run_config(run), overrides), overrides)
    else:
        settings = load_config(config, overrides, base=EMBEDDED)
    return settings.model_copy(update={"engine": settings.evaluation.engine or settings.engine})


def _run_config(run: Path) -> Path:
    from zerosearch.errors import ConfigError

    if not run.is_dir():
        raise ConfigError(f"--run {run}: no such folder")
    path = run / "config.toml"
    if not path.is_file():
        raise ConfigError(f"--run {run}: holds no config.toml: not the folder of a run (runs/NAME)")
    return path


def _newest(run: Path, settings: TrainConfig, overrides: list[str] | tuple[str, ...]) -> TrainConfig:
    """`settings` with the newest checkpoint's policy, unless the user has set another model or adapter."""
    if any(override.strip().startswith(("model.name", "model.adapter")) for override in overrides):
        return settings
    from zerosearch.errors import CheckpointError
    from zerosearch.learning.checkpoints import list_checkpoints

    checkpoints = list_checkpoints(run / "checkpoints")
    if not checkpoints:
        raise CheckpointError(
            f"{run}: has no checkpoint yet; one is written every {settings.training.checkpoint_every} steps and at the "
            "end (training.checkpoint_every)"
        )
    policy = str(checkpoints[-1].folder / "policy")
    part = {"name": policy} if settings.model.full else {"adapter": policy}
    return settings.model_copy(update={"model": settings.model.model_copy(update=part)})


@dataclass(frozen=True)
class Opened:
    """Model and engine, and the event loop to ask them in. `charged`: what a policy behind a URL has used, as it came;
    None for a local one."""

    make_generator: MakeGenerator
    engine: SearchEngine
    playing: RolloutSettings
    runner: asyncio.Runner
    charged: list[Ledger] | None


@contextlib.contextmanager
def opened(settings: TrainConfig, temperature: float) -> Iterator[Opened]:
    """Model and engine, ready to be asked in one event loop; closed afterwards."""
    from zerosearch.episodes.generation import Generator
    from zerosearch.episodes.search import close_connections
    from zerosearch.parts import Models, open_engine, open_policy

    behind_url = settings.model.base_url is not None
    if not behind_url:
        quiet_libraries()
    training = settings.training
    models = Models(
        settings.model.device, settings.model.dtype, merge=training.merge_adapters, fixed=training.fixed_cache
    )
    charged: list[Ledger] = []
    with contextlib.closing(models), asyncio.Runner() as runner:
        generator, playing = open_policy(
            settings, models, temperature=temperature, top_k=settings.engine.top_k, charge=charged.append
        )
        engine = open_engine(settings.engine, models)

        def make_generator(on_token: Callable[[int], None]) -> Generator:
            return generator if behind_url else replace(generator, on_token=on_token)  # type: ignore[type-var]

        try:
            yield Opened(make_generator, engine, playing, runner, charged if behind_url else None)
        finally:
            for part in (engine, generator):
                runner.run(close_connections(part))


def _put(text: str, parts: Opened, settings: TrainConfig, listener: Listener) -> Asked:
    """Ask one question, and close its blocks with a line on how it went. Raises `DataError` for an empty one."""
    from zerosearch.asking import ask as put
    from zerosearch.episodes.questions import Question
    from zerosearch.spending.ledger import Ledger

    question = Question.asked(text)
    try:
        asked = parts.runner.run(put(question, parts.make_generator, parts.engine, parts.playing, listener))
    finally:
        if isinstance(listener, Blocks):
            listener.end()
    if parts.charged is not None:
        used = Ledger.total(parts.charged)
        parts.charged.clear()
        asked = replace(asked, policy_tokens=used.completion_tokens, policy_usd=used.usd)
    if isinstance(listener, Blocks):
        if asked.trajectory.answer is None and asked.error is None:
            listener.remark(no_answer(asked, settings), "yellow")
        listener.remark(summary(asked))
    return asked


def _answer_all(questions: list[str], put: Callable[[str], Asked], screen: Console, as_json: bool) -> None:
    """Ask one question after the other. Raises `RunError` at the end where a search failed."""
    from zerosearch.errors import RunError

    failure = None
    for number, text in enumerate(questions):
        if not as_json and len(questions) > 1:
            screen.print(f"{chr(10) if number else ''}{PROMPT}{text}", style="bold", markup=False)
        asked = put(text)
        if as_json:
            print(json_text(asked.as_dict()), flush=True)
        failure = asked.error or failure
    if failure is not None:
        raise RunError(f"the search failed ({failure.kind}): {' '.join(str(failure).split())}")


def _converse(put: Callable[[str], Asked], notes: Console, as_json: bool) -> None:
    """A prompt until the end of input. Ctrl-C gives up a question, not the conversation."""
    from zerosearch.errors import ZeroSearchError

    with _history() as remember, giving_up():
        while True:
            try:
                text = input(PROMPT)
            except EOFError:
                print()
                return
            except KeyboardInterrupt:
                print()
                continue
            except UnicodeDecodeError:
                notes.print("that was not UTF-8: ask again", style="yellow")
                continue
            if text.strip() in ("exit", "quit"):
                return
            if not text.strip():
                continue
            remember(text)
            try:
                asked = put(text)
            except (KeyboardInterrupt, asyncio.CancelledError):
                notes.print("given up", style="yellow")
            except ZeroSearchError as error:
                notes.print(f"error: {error}", style="red", markup=False)
            else:
                if as_json:
                    print(json_text(asked.as_dict()), flush=True)
                if asked.error is not None:
                    message = " ".join(str(asked.error).split())
                    notes.print(f"the search failed ({asked.error.kind}): {message}", style="red", markup=False)


@contextlib.contextmanager
def _history() -> Iterator[Callable[[str], None]]:
    """Line editing, and the questions of earlier times, where Python has readline; what adds one to them."""
    from zerosearch.models.embedded import cache_dir

    try:
        import readline
    except ImportError:  # Windows
        yield lambda text: None
        return
    path = cache_dir() / "ask-history"
    readline.set_history_length(1000)
    readline.set_auto_history(False)
    with contextlib.suppress(OSError):  # none yet, or not readable: then there is none
        readline.read_history_file(path)
    try:
        yield readline.add_history
    finally:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            readline.write_history_file(path)


def _introduce(settings: TrainConfig, engine: SearchEngine, console: Console) -> None:
    where = f" at {clean(settings.model.base_url)}" if settings.model.base_url else ""
    policy = settings.model.name + (f" + {settings.model.adapter}" if settings.model.adapter else "") + where
    console.print(f"{policy}, {engine.name}, top {settings.engine.top_k}", style="dim", markup=False)
    if settings.engine.kind == "simulated":
        console.print(
            "the engine is simulated: a language model makes up the pages, and it does not know the answer either",
            style="yellow",
        )


def no_answer(asked: Asked, settings: TrainConfig) -> str:
    """Why an episode that no search ended has no answer."""
    protocol = settings.protocol
    reasons = {
        "no_answer": "its last turn held none",
        "refused_search": f"it wanted to search more than {protocol.max_searches} times (protocol.max_searches)",
        "context": f"the episode outgrew {protocol.max_context_tokens} tokens (protocol.max_context_tokens)",
    }
    return f"no answer: {reasons[asked.trajectory.stop_reason]}"


def summary(asked: Asked) -> str:
    """`2 searches, 84 tokens, 6.2 s (5.9 s writing, .3 s searching)`."""
    row = asked.as_dict()
    count, seconds = len(row["searches"]), row["seconds"]
    said = [f"{count} search{'es' * (count != 1)}", f"{row['policy_tokens']} tokens"]
    said += [f"{seconds['total']:.1f} s ({seconds['writing']:.1f} s writing, {seconds['searching']:.1f} s searching)"]
    said += [dollars(row["cost_usd"])] if row["cost_usd"] else []
    return ", ".join(said)


class _Silent:
    """A `Listener` that does not listen: for --json."""

    def wrote(self, piece: object) -> None: ...
    def searching(self, query: str) -> None: ...
    def found(self, page: object) -> None: ...
    def failed(self, error: object) -> None: ...
