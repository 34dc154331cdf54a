"""A comparison as text: tables for the screen, and Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from rich.table import Table
from rich.text import Text

from zerosearch.evaluation.benchmarks import title
from zerosearch.evaluation.comparison import Comparison, Difference, Disagreement, Side
from zerosearch.evaluation.results import metric_title
from zerosearch.evaluation.text_table import TextTable
from zerosearch.spending.ledger import counted

ALPHA = 0.05


def verdict(found: Comparison) -> str:
    """Who has the higher EM, by how much, and whether it may be chance. Neither is called better where interval and
    test, two methods, disagree. Where all differences are alike the test alone decides."""
    whole = found.macro or found.parts[0].measures
    em, over = whole["em"], "macro average of " if found.macro else ""
    ahead, behind = (found.a, found.b) if em.difference.value >= 0 else (found.b, found.a)
    if not found.wins.a_only and not found.wins.b_only:
        return f"No difference: {found.a} and {found.b} have the same EM on every question ({found.questions})."
    interval = em.difference.within(_points)
    interval = f"95 % interval {interval}" if em.difference.spread else f"{interval} over questions"
    p = p_value(em.p_value) if em.p_value < 0.001 else f"= {p_value(em.p_value)}"
    told = f"{over}EM, A - B: {_points(em.difference.value)} points, {interval}, p {p}"
    apart, significant = em.difference.apart, em.p_value <= ALPHA
    if apart != significant and em.difference.spread:
        differ, chance = ("interval", "test") if apart else ("test", "interval")
        unlike = f"By the {differ} they differ, by the {chance} it may be chance; ask more questions."
        return f"Too close to call: {told}. {unlike}"
    if not significant:
        return f"No significant difference: {told}."
    if found.between_runs is not None and not found.between_runs.apart:
        return f"In these runs {ahead} is better than {behind}: {told}. Other seeds may show no difference."
    return f"{ahead} is better than {behind}: {told}."


def measures(found: Comparison) -> TextTable:
    """Three lines a benchmark (EM, F1, searches), and as many for each average."""
    heads = ["benchmark", "measure", "A", "B", "A - B", "95 % interval", "p"]
    groups = [(f"{title(part.benchmark)} ({part.questions})", part.measures) for part in found.parts]
    if found.macro and found.micro:
        groups += [("macro average", found.macro), (f"micro average ({found.questions})", found.micro)]
    lines = []
    for name, measured in groups:
        for number, (measure, difference) in enumerate(measured.items()):
            lines.append([name if number == 0 else "", metric_title(measure), *_cells(measure, difference)])
    return TextTable(heads, lines, names=2)


def wins(found: Comparison) -> TextTable:
    """Who is right (EM) where."""
    heads = ["benchmark", "only A right", "only B right", "both", "neither"]
    groups = [(title(part.benchmark), part.wins) for part in found.parts]
    if len(groups) > 1:
        groups.append(("all", found.wins))
    return TextTable(heads, [[name, *map(str, (w.a_only, w.b_only, w.both, w.neither))] for name, w in groups])


def p_value(p: float) -> str:
    return "< .001" if p < 0.001 else f"{p:.3f}".lstrip("0") if p < 1 else "1"


def seeds(found: Comparison) -> Iterator[str]:
    """A line for a side that is the mean of several runs, and one for what they say of other runs."""
    for name, runs in (("A", found.a_runs), ("B", found.b_runs)):
        if runs:
            yield f"{name} is the mean of {len(runs)} runs. Their EM: {', '.join(f'{100 * em:.1f}' for em in runs)}."
    if (over := found.between_runs) is not None:
        alone = "" if found.a_runs and found.b_runs else "; the other side is one run, taken as it is"
        yield f"Over runs, A - B: {_points(over.value)} points of EM, 95 % interval {over.within(_points)}{alone}."


def markdown(found: Comparison) -> str:
    """The whole comparison."""
    parts = [f"# A: {found.a}. B: {found.b}", verdict(found), *seeds(found), measures(found).markdown()]
    parts.append(wins(found).markdown())
    if found.notes:
        parts.append("**Unlike runs were compared:**\n\n" + "\n".join(f"- {note}" for note in found.notes))
    for heading, examples in _sides(found):
        parts.append(f"## {heading}")
        for e in examples:
            lines = [f"**{_plain(e.question)}** ({title(e.benchmark)}, {e.id})", ""]
            lines += [f"- golden: {_plain(' | '.join(e.golden_answers))}"]
            lines += [f"- {name}: {_plain(_told(side))}" for name, side in (("A", e.a), ("B", e.b))]
            parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def is_comparison(path: Path) -> bool:
    """Whether a file is what `markdown` makes, by its first line."""
    try:
        with path.open("rb") as file:
            return re.fullmatch(rb"# A: .*\. B: .*\n", file.readline()) is not None
    except OSError:
        return False


def rich_parts(found: Comparison, width: int = 80) -> Iterator[Table | Text]:
    """What goes on a screen of `width` columns, from top to bottom."""
    yield Text(f"A  {found.a}\nB  {found.b}\n")
    yield from measures(found).rich(width)
    yield from wins(found).rich(width)
    yield Text("\n".join([verdict(found), *seeds(found)]), style="bold")
    for note in found.notes:
        yield Text(f"unlike: {note}", style="yellow")
    for heading, examples in _sides(found):
        yield Text(f"\n{heading}", style="bold")
        for e in examples:
            text = Text(f"  {e.question}  ({title(e.benchmark)}, {e.id})\n    golden  ")
            text.append(" | ".join(e.golden_answers), style="green")
            for name, side in (("A", e.a), ("B", e.b)):
                text.append(f"\n    {name}       {_told(side)}")
            yield text


def _sides(found: Comparison) -> list[tuple[str, tuple[Disagreement, ...]]]:
    sides = (
        (f"A wins: {counted(found.wins.a_only, 'question')}", found.a_wins),
        (f"B wins: {counted(found.wins.b_only, 'question')}", found.b_wins),
    )
    return [(heading, examples) for heading, examples in sides if examples]


def _told(side: Side) -> str:
    answer = "no answer" if side.answer is None else side.answer
    queries = "; ".join(side.queries)
    page = {True: "; a page held the answer", False: "; no page held the answer", None: ""}[side.saw_answer]
    return f"{answer}  (searched: {queries}{page})" if queries else f"{answer}  (no search)"


def _cells(measure: str, d: Difference) -> list[str]:
    if measure == "searches":
        numbers = [f"{d.a:.2f}", f"{d.b:.2f}", f"{d.difference.value:+.2f}"]
        interval = d.difference.within("{:+.2f}".format)
    else:
        numbers = [f"{100 * d.a:.1f}", f"{100 * d.b:.1f}", _points(d.difference.value)]
        interval = d.difference.within(_points)
    return [*numbers, interval, p_value(d.p_value)]


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"


def _plain(text: str) -> str:
    """On one line and without Markdown's own marks."""
    return " ".join(text.split()).replace("*", "\\*").replace("_", "\\_").replace("<", "&lt;")
