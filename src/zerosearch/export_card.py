"""The model card of an export: how the policy was trained, its scores, its cost, how to use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zerosearch.config import TrainConfig
from zerosearch.episodes.predictions import PredictionFile, read_predictions
from zerosearch.episodes.protocol import PROMPT, PROMPT_WITHOUT_SEARCH
from zerosearch.episodes.statistics import Interval, average, question_means
from zerosearch.errors import DataError, ZeroSearchError
from zerosearch.files.jsonl import read_metrics, read_object
from zerosearch.models.embedded import EMBEDDED_MODELS
from zerosearch.models.hub import base_licence
from zerosearch.spending.ledger import PRICES, counted, dollars
from zerosearch.spending.report import of_run, read_run
from zerosearch.version import __version__

CONFIG = "zerosearch.toml"
"""The file beside the card that holds a run's whole configuration."""


@dataclass(frozen=True)
class CardFacts:
    """What a card is made of. `made` is the card of an adapter that no run stands behind; `gguf` the file's name."""

    name: str
    source: str
    form: str
    base: str
    hub_base: str | None
    full: bool
    config: TrainConfig | None
    run: Path | None
    step: int | None
    made: Mapping[str, Any]
    gguf: str | None
    push: str | None

    @property
    def simulator(self) -> bool:
        """Whether it writes search results, and does not search."""
        return self.made.get("role") == "simulator"

    @property
    def task(self) -> str:
        return "write the result pages of a search engine" if self.simulator else "use a search engine"

    @property
    def place(self) -> str:
        """What a user of the export loads: its repository, or the folder that it lies in."""
        return self.push or "PATH/TO/THIS/FOLDER"


def model_card(facts: CardFacts, say: Callable[[str], None]) -> str:
    """The text of README.md. What a run's folder does not tell is left out, and said."""
    licence = base_licence(facts.base)
    if licence is None:
        say(f"the licence of {_model(facts.base)} was not found out: the model card says so")
    sections = [
        _head(facts, licence), _use(facts), _training(facts), _scores(facts, say), _cost(facts, say), _commands(facts),
        _licence(licence),
    ]  # fmt: skip
    return "\n\n".join(section for section in sections if section) + "\n"


def _head(facts: CardFacts, licence: str | None) -> str:
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        base_model=facts.hub_base,
        license=licence.lower() if licence else None,
        library_name={"adapter": "peft", "merged": "transformers"}.get(facts.form, "gguf"),
        pipeline_tag="text-generation",
        tags=["zerosearch", "search", "reinforcement-learning"],
    )
    what = "all weights trained" if facts.full else "a LoRA adapter" + " merged in" * (facts.form != "adapter")
    steps = f" after {counted(facts.step, 'step')} of training" if facts.step is not None else ""
    return (
        f"---\n{data.to_yaml()}\n---\n# {facts.name}\n\nA language model that was taught to {facts.task} by "
        f"zerosearch {__version__} (the package zerosearch-rl): {_model(facts.base)}, {what}{steps}."
    )


def _model(name: str) -> str:
    embedded = EMBEDDED_MODELS.get(name.removeprefix("embedded:"))
    if embedded is not None:
        return f"{embedded.name} ({embedded.note}, of the package {embedded.package})"
    return Path(name).name if Path(name).expanduser().is_dir() else name


def _use(facts: CardFacts) -> str:
    if facts.form == "adapter":
        code = [
            "from peft import AutoPeftModelForCausalLM",
            f'model = AutoPeftModelForCausalLM.from_pretrained("{facts.place}")',
        ]
    elif facts.gguf is not None:
        code = [f"llama-server -m {facts.gguf}"]
    else:
        code = [
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            f'model = AutoModelForCausalLM.from_pretrained("{facts.place}")',
            f'tokenizer = AutoTokenizer.from_pretrained("{facts.place}")',
        ]
    language = "sh" if facts.gguf else "python"
    text = [
        "## Use",
        "",
        f"```{language}",
        *code,
        "```",
        "",
        "By zerosearch, from this folder:",
        "",
        f"    {_command(facts)}",
    ]
    if facts.config is not None:
        protocol = facts.config.protocol
        prompt = protocol.prompt or (PROMPT if protocol.max_searches else PROMPT_WITHOUT_SEARCH)
        text += [
            "",
            "It was taught with this prompt. A turn ends at `</search>` or `</answer>`; the page found is put in as "
            "`<information> ... </information>`, and the model goes on.",
            "",
            "```text",
            prompt.rstrip(),
            "```",
        ]
    return "\n".join(text)


def _command(facts: CardFacts) -> str:
    """How zerosearch itself loads it, as a command line in the folder of the export."""
    if facts.simulator:
        changes = {"adapter": "model={base} adapter=.", "merged": "model=. adapter=none"}
        words = changes.get(facts.form, "base_url=http://localhost:8080/v1 adapter=none")
        words += f" style={facts.made['style']}" if facts.made.get("style") else ""
        start, table = "fidelity CONFIG", "engine.simulated"
    else:
        base = "name={base} " if facts.config is None else ""  # else the configuration names it
        changes = {"adapter": f"{base}adapter=.", "merged": "name=. adapter=none"}
        words = changes.get(facts.form, "base_url=http://localhost:8080/v1 adapter=none")
        start, table = "ask" if facts.config is None else f"ask {CONFIG}", "model"
    changed = [f"--set {table}.{word}" for word in words.format(base=facts.base).split()]
    return " ".join(["zerosearch", start, *changed])


def _training(facts: CardFacts) -> str:
    if facts.run is None or facts.config is None:
        told = {"data": "data", "texts": "texts", "tokens": "tokens", "command": "made by"}
        rows = [(shown, str(facts.made[key])) for key, shown in told.items() if key in facts.made]
    else:
        rows = list(_run_rows(facts.run, facts.config, facts.step))
    if not rows:
        return ""
    return "\n".join(
        ["## Training", "", "| | |", "|---|---|", *(f"| {name} | {_cell(value)} |" for name, value in rows)]
    )


def _run_rows(run: Path, config: TrainConfig, step: int | None) -> Iterator[tuple[str, str]]:
    try:
        manifest = read_object(run / "manifest.json")
    except DataError:
        manifest = {}
    data = manifest.get("train_questions") or {}
    known = (
        f", {data['count']} questions, digest {str(data['digest'])[:16]}" if {"count", "digest"} <= data.keys() else ""
    )
    yield "data", _data_name(config.data.train) + known
    yield "engine", f"{manifest.get('engine', config.engine.kind)}, top {config.engine.top_k}"
    if config.engine.kind == "simulated":
        plan = config.curriculum
        yield "curriculum", f"{plan.kind}, noise from {plan.start:g} to {plan.end:g}, {plan.pages} pages"
    if config.model.adapter is not None:
        yield "start", f"the adapter {_data_name(config.model.adapter)}"
    yield "algorithm", f"{config.algorithm.name}, learning rate {config.training.learning_rate:g}"
    yield "reward", config.reward.name
    size = config.training
    yield "size", f"{step} of {size.steps} steps, {size.questions_per_step} questions x {size.rollouts} rollouts a step"
    rows = [row for row in read_metrics(run / "metrics.jsonl") if step is None or row["step"] < step]
    if rows and isinstance(rows[-1].get("reward"), float):
        yield "mean reward", f"{rows[0]['reward']:.3f} in the first step, {rows[-1]['reward']:.3f} in the last"
    yield "seed", str(config.seed)
    if "device" in manifest:
        packages = manifest.get("packages", {})
        versions = ", ".join(
            f"{name} {packages[name]}" for name in ("torch", "transformers", "peft") if packages.get(name)
        )
        yield "made on", f"{manifest['device']}, {versions}"


def _data_name(source: str) -> str:
    """A file or folder by its name alone: where it lies is nobody's business."""
    return source if source.startswith(("factbook:", "hub:", "embedded:")) else Path(source).name


def _scores(facts: CardFacts, say: Callable[[str], None]) -> str:
    """The run's own evaluations: the one before training, and the newest one of the policy that is exported."""
    if facts.run is None or facts.step is None:
        return ""
    found: dict[int, PredictionFile] = {}
    for path in sorted((facts.run / "evaluations").glob("step-*.jsonl")):
        step = path.stem.removeprefix("step-")
        if step.isdecimal() and int(step) <= facts.step:
            found[int(step)] = read_predictions(path)
    if not found:
        say("the run has no evaluation: the model card has no scores")
        return ""
    ends = sorted({min(found), max(found)})
    shown = [found[number] for number in ends]
    if max(found) < facts.step:
        say(f"the newest evaluation is of step {max(found)}, not {facts.step}: the model card says so")
    header = shown[-1].header
    how = "greedy" if header.temperature == 0 else f"temperature {header.temperature:g}"
    lines = [
        "## Scores",
        "",
        f"{header.count} questions of {header.benchmark}, engine {header.engine}, top {header.top_k}, {how}; "
        "in brackets the 95 % interval over questions.",
        "",
        "| policy | EM | F1 | searches |",
        "|---|---|---|---|",
    ]
    for number, file in zip(ends, shown, strict=True):
        tries = file.by_question.values()
        em, f1 = (_interval([[getattr(row, key) for row in rows] for rows in tries]) for key in ("em", "f1"))
        searches = sum(len(row.searches) for row in file.rows) / max(len(file.rows), 1)
        label = "before training" if number == 0 else f"after {counted(number, 'step')}"
        lines.append(f"| {label} | {em} | {f1} | {searches:.2f} |")
    return "\n".join(lines)


def _interval(tries: list[list[float]]) -> str:
    found: Interval = average([question_means(tries)])
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _cost(facts: CardFacts, say: Callable[[str], None]) -> str:
    if facts.run is None:
        return ""
    try:
        books, machine = read_run(facts.run)
        report = of_run(facts.name, books, machine, None, PRICES)
    except ZeroSearchError as error:
        say(f"the model card has no costs: {error}")
        return ""
    rows = [
        f"| {line.engine} | {line.searches:,} | {_cell(line.basis)} | {dollars(line.usd)} |" for line in report.lines
    ]
    head = ["## What its searches cost", "", "| | searches | how | USD |", "|---|---|---|---|"]
    return "\n".join([*head, *rows, *(line for note in report.notes for line in ("", note))])


def _commands(facts: CardFacts) -> str:
    lines = []
    if facts.run is not None:
        lines = [f"    zerosearch train {CONFIG}"]
    lines.append(f"    zerosearch export {facts.source} --form {facts.form}")
    note = f"`{CONFIG}` is the run's whole configuration.\n\n" if facts.run is not None else ""
    return f"## The commands that made it\n\n{note}" + "\n".join(lines)


def _licence(licence: str | None) -> str:
    said = (
        f"{licence}, that of the base model"
        if licence
        else "that of the base model, which was not found out: look there"
    )
    return f"## Licence\n\nThe weights: {said}. zerosearch itself is Apache-2.0."


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
