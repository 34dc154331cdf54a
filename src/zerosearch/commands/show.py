"""`zerosearch show`: episodes of a run or an evaluation in the terminal, as `ask` shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zerosearch.commands.blocks import Blocks
from zerosearch.commands.screen import Console, console
from zerosearch.episodes.streaming import Piece
from zerosearch.errors import ConfigError
from zerosearch.reports.played import Played, blocks, told_page, why
from zerosearch.reports.reading import episodes, reward_name
from zerosearch.spending.ledger import counted

FIRST = 5  # episodes that are shown where nobody says which


def show(
    target: Annotated[
        str,
        typer.Argument(
            metavar="RUN|EVALUATION",
            help="A run's folder; RUN@STEP, an evaluation of it; a folder or file of predictions, FOLDER:METHOD; a "
            "folder of collect.",
        ),
    ],
    step: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Step of a run, counted from 1. Default: the newest.")
    ] = None,
    worst: Annotated[
        int | None, typer.Option(min=1, metavar="K", help="Show the K episodes with the lowest reward, worst first.")
    ] = None,
    question: Annotated[
        str | None, typer.Option(metavar="ID", help="Show all tries at the question with this id.")
    ] = None,
) -> None:
    """Show episodes: thoughts, queries, pages (what was requested, and whether they contain the answer), the
    answer, and the reward with its reason.

    Without --worst or --question the first five are shown. The reward of an evaluation is its F1.
    """
    if worst is not None and question is not None:
        raise ConfigError("--worst and --question both say which episodes to show: give one of them")
    found = episodes(target, None if step is None else step - 1, question)
    score = reward_name(Path(target))
    chosen = found
    if worst is not None:  # of equal rewards the earlier ones come first
        chosen = sorted(found, key=lambda one: one.reward)[:worst]
    elif question is None:
        chosen = found[:FIRST]
    for number, one in enumerate(chosen):
        if number:
            console.print()
        _show(one, score, console)
    if len(chosen) < len(found):
        more = "--worst K shows those with the lowest reward, --question ID all tries at one question"
        console.print(f"\n{len(chosen)} of {counted(len(found), 'episode')}; {more}", style="dim")


def _show(one: Played, score: str, screen: Console) -> None:
    """Print one episode."""
    screen.print(f"{one.where}, question {one.question.id}, try {one.rollout + 1}", style="bold")
    shown = Blocks(screen)
    shown.label("asks", one.question.text)
    shown.label("golden", " | ".join(one.question.golden_answers), "green")
    for turn in one.turns:
        for kind, text in blocks(turn.text):
            shown.wrote(Piece(kind, text))
            shown.end()
        if turn.search is not None:
            if not turn.text.strip():
                shown.wrote(Piece("search", turn.search.query))
                shown.end()
            if turn.search.error is None:
                shown.found(turn.search)
            shown.remark(told_page(turn.search, one.question), "yellow" if turn.search.error else "dim")
    good = "green" if one.scores.em else "yellow" if one.reward else "red"
    name = score if one.step is not None else "f1"
    shown.label("reward", f"{one.reward:.3f} ({name}), {why(one, name)}", good)
    shown.remark(summary(one))


def summary(one: Played) -> str:
    """`2 searches, 84 tokens, 6.2 s, ended by answer`."""
    count = len(one.searches)
    said = [f"EM {one.scores.em:g}", f"F1 {one.scores.f1:.3f}", f"{count} search{'es' * (count != 1)}"]
    said += [f"{one.policy_tokens} tokens"] if one.policy_tokens is not None else []
    said += [f"{one.seconds:.1f} s"] if one.seconds else []
    return ", ".join([*said, f"ended by {one.stop_reason}", *([f"error: {one.error}"] if one.error else [])])
