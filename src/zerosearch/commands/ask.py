"""`zerosearch ask`: ask a trained policy a question with its engine, and watch it think, search and answer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from zerosearch.asking import Answered, Asker
from zerosearch.cleaning import clean
from zerosearch.commands.blocks import Blocks
from zerosearch.commands.screen import Console, json_text, read_input
from zerosearch.config import TrainConfig
from zerosearch.config_file import names
from zerosearch.episodes.questions import Question
from zerosearch.errors import ConfigError, DataError, RunError, ZeroSearchError, nearest
from zerosearch.models.embedded import cache_dir
from zerosearch.parts import Parts
from zerosearch.process.interrupts import giving_up
from zerosearch.process.runtime import prepare
from zerosearch.run_folder import policy_config
from zerosearch.spending.ledger import counted, dollars

PROMPT = "question> "


def ask(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CONFIG] [QUESTION]", help="CONFIG: a .toml file or the name of one that ships."),
    ] = None,
    run: Annotated[
        Path | None, typer.Option(metavar="RUN", help="A run's folder: use its newest checkpoint and its engine.")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting.")] = None,
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy: the same answer every time.")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line for each question.")] = False,
) -> None:
    """Ask a policy a question, and watch it think, search and answer.

    Without CONFIG and --run: the policy that ships with the package, with BM25 over the World Factbook. The engine
    is the configuration's evaluation.engine, or its engine if there is none. Without QUESTION you are prompted for
    questions; input from a pipe has one question a line.

    Each question is a new episode: the policy does not know the earlier ones.
    """
    prepare()
    config_file, question = told_apart(words or [])
    config = policy_config(config_file, run, set_ or ())
    if question is not None:
        Question.asked(question)  # an empty one is told of before any model is loaded
    elif not sys.stdin.isatty():
        questions = [line for line in read_input().splitlines() if line.strip()]
        if not questions:
            raise DataError("no question: give one as the argument, or one a line on standard input")
    screen, notes = Console(), Console(stderr=True)
    if notes.is_terminal and not config.model.base_url:
        notes.print("loading the model ...", style="dim")
    conversing = question is None and sys.stdin.isatty()
    with Parts(config) as parts:
        asker = Asker(parts, temperature=temperature)
        if not as_json:
            given = () if config_file is not None or run is not None else set_ or ()
            _introduce(parts, screen if conversing else notes, given)

        def put(text: str) -> Answered:
            if not as_json:
                return _shown(asker, Question.asked(text), config, screen)
            asked = asker.put(Question.asked(text))
            print(json_text(asked.as_dict()), flush=True)
            return asked

        if conversing:
            _converse(put, notes)
        else:
            titles = question is None and len(questions) > 1 and not as_json
            _answer_all([question] if question is not None else questions, put, screen if titles else None)


def told_apart(words: Sequence[str]) -> tuple[str | None, str | None]:
    """CONFIG and QUESTION. One word alone is a configuration where it ends as one, or names one that ships, a file or a
    folder."""
    if len(words) > 2:
        raise ConfigError(f"{len(words)} arguments: a question of several words goes in quotes")
    if len(words) == 2:
        if not words[0].strip():
            raise ConfigError("CONFIG is empty (is a variable of the shell not set?)")
        if not _configures(words[0]) and len(words[1].split()) == 1:
            near = nearest(words[0], names())
            raise ConfigError(f"{words[0]}: no such configuration{near}; a question of several words goes in quotes")
        return words[0], words[1]
    if words and _configures(words[0]):
        return words[0], None
    return None, words[0] if words else None


def _configures(word: str) -> bool:
    return word.endswith(".toml") or word in names() or os.path.exists(word)


def _shown(asker: Asker, question: Question, config: TrainConfig, screen: Console) -> Answered:
    """Ask one question on the screen, and close its blocks with a line on how it went."""
    blocks = Blocks(screen)
    try:
        asked = asker.put(question, blocks)
    finally:
        blocks.end()
    if asked.trajectory.answer is None and asked.error is None:
        blocks.remark(no_answer(asked, config), "yellow")
    blocks.remark(summary(asked))
    return asked


def _answer_all(questions: list[str], put: Callable[[str], Answered], screen: Console | None) -> None:
    """Ask one question after the other, each shown on `screen`. Raises `RunError` at the end where a search failed."""
    complaint = None
    for number, text in enumerate(questions):
        if screen is not None:
            screen.print(f"{chr(10) if number else ''}{PROMPT}{text}", style="bold")
        complaint = put(text).complaint or complaint
    if complaint is not None:
        raise RunError(complaint)


def _converse(put: Callable[[str], Answered], notes: Console) -> None:
    """A prompt until the end of input. Ctrl-C gives up a question, not the conversation."""
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
                if complaint := put(text).complaint:
                    notes.print(complaint, style="red")
            except (KeyboardInterrupt, asyncio.CancelledError):
                notes.print("given up", style="yellow")
            except ZeroSearchError as error:
                notes.print(f"error: {error}", style="red")


@contextlib.contextmanager
def _history() -> Iterator[Callable[[str], None]]:
    """Line editing, and the questions of earlier times, where Python has readline; what adds one to them."""
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


def _introduce(parts: Parts, console: Console, given: Sequence[str]) -> None:
    """Say what is asked; `given` are the settings that change the policy that ships."""
    model, engine = parts.config.model, parts.engine_config("judge")
    where = f" at {clean(model.base_url)}" if model.base_url else ""
    policy = model.name + (f" + {model.adapter}" if model.adapter else "") + where
    console.print(f"{policy}, {parts.engine('judge').name}, top {engine.top_k}", style="dim")
    if engine.kind == "simulated":
        console.print(
            "the engine is simulated: a language model makes up the pages, and it does not know the answer either",
            style="yellow",
        )
    named = {change.partition("=")[0].strip() for change in given}
    if named & {"model.name", "model.adapter", "model.base_url"} and "protocol.prompt" not in named:
        console.print(
            "the prompt is that of the policy that ships: zerosearch ask CONFIG takes the one of CONFIG, the "
            "configuration that yours was trained with",
            style="yellow",
        )


def no_answer(asked: Answered, config: TrainConfig) -> str:
    """Why an episode that no search ended has no answer."""
    protocol = config.protocol
    most = counted(protocol.max_searches, "search", "searches")
    reasons = {
        "no_answer": "its last turn held none",
        "refused_search": f"it wanted more than {most} (protocol.max_searches)",
        "context": f"the episode outgrew {protocol.max_context_tokens} tokens (protocol.max_context_tokens)",
    }
    return f"no answer: {reasons[asked.trajectory.stop_reason]}"


def summary(asked: Answered) -> str:
    """`2 searches, 84 tokens, 6.2 s (5.9 s writing, .3 s searching)`."""
    row = asked.as_dict()
    count, seconds = len(row["searches"]), row["seconds"]
    said = [f"{count} search{'es' * (count != 1)}", f"{row['policy_tokens']} tokens"]
    said += [f"{seconds['total']:.1f} s ({seconds['writing']:.1f} s writing, {seconds['searching']:.1f} s searching)"]
    said += [dollars(row["cost_usd"])] if row["cost_usd"] else []
    return ", ".join(said)
