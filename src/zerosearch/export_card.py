"""The model card of an export: how the policy was trained, its scores, its cost, how to use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from zerosearch.config import TrainConfig
from zerosearch.episodes.predictions import PredictionFile, read_predictions
from zerosearch.episodes.protocol import PROMPT, PROMPT_WITHOUT_SEARCH
from zerosearch.episodes.statistics import Interval, average, question_means
from zerosearch.errors import DataError, ZeroSearchError
from zerosearch.files.jsonl import read_metrics, read_object
from zerosearch.models.adapters import read_card, shipped_adapters
from zerosearch.models.embedded import EMBEDDED_MODELS
from zerosearch.models.hub import base_licence
from zerosearch.spending.ledger import PRICES, counted, dollars
from zerosearch.spending.report import of_run, read_run
from zerosearch.version import __version__

CONFIG = "zerosearch.toml"
"""The file beside the card that holds a run's whole configuration."""


@dataclass(frozen=True)
class Trained:
    """What is exported: a base model with an adapter on it or, where `adapter` is None, the weights in `weights`.

    `base` is the base model's name as a configuration has it. `run` and `step` are those of a run. `parts` are the
    policies whose mean it is, and `config` is then the first one's.
    """

    name: str
    base: str
    adapter: Path | None
    weights: str
    config: TrainConfig | None = None
    run: Path | None = None
    step: int | None = None
    parts: tuple[Trained, ...] = ()

    @property
    def source(self) -> str:
        """What a command names it by; a folder of somebody's machine is left out."""
        if self.parts:
            return " ".join(part.source for part in self.parts)
        if self.run is not None:
            return f"runs/{self.name}"
        return next((name for name, folder in shipped_adapters().items() if folder == self.adapter), "ADAPTER")

    @property
    def embedded_base(self) -> str | None:
        """The base's name where it is an embedded model, which zerosearch makes on any machine."""
        name = self.base.removeprefix("embedded:")
        return name if name in EMBEDDED_MODELS else None

    @property
    def hub_base(self) -> str | None:
        """The base's id on the hub; None for a folder, and for the embedded model, which no hub has."""
        local = self.embedded_base is not None or Path(self.base).expanduser().is_dir()
        return None if local else self.base

    @cached_property
    def made(self) -> Mapping[str, Any]:
        """The card of an adapter that no run stands behind."""
        if self.parts:
            return self.parts[0].made
        return read_card(self.adapter) if self.adapter is not None and self.run is None else {}

    @property
    def simulator(self) -> bool:
        """Whether it writes search results, and does not search."""
        return self.made.get("role") == "simulator"


def model_card(
    trained: Trained, form: str, say: Callable[[str], None], *, gguf: str | None = None, push: str | None = None
) -> str:
    """The text of README.md. What a run's folder does not tell is left out, and said. `gguf` is the file's name, and
    `push` the repository that the export goes to."""
    licence = base_licence(trained.base)
    if licence is None:
        say(f"the licence of {_model(trained.base)} was not found out: the model card says so")
    sections = [
        _head(trained, form, licence), _use(trained, form, gguf, push or "PATH/TO/THIS/FOLDER"), _training(trained),
        _scores(trained, say), _cost(trained, say), _commands(trained, form), _licence(licence),
    ]  # fmt: skip
    return "\n\n".join(section for section in sections if section) + "\n"


def _head(trained: Trained, form: str, licence: str | None) -> str:
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        base_model=trained.hub_base,
        license=licence.lower() if licence else None,
        library_name={"adapter": "peft", "merged": "transformers"}.get(form, "gguf"),
        pipeline_tag="text-generation",
        tags=["zerosearch", "search", "reinforcement-learning"],
    )
    merged = " merged in" * (form != "adapter")
    what = "all weights trained" if trained.adapter is None else f"a LoRA adapter{merged}"
    steps = f" after {counted(trained.step, 'step')} of training" if trained.step is not None else ""
    if trained.parts:
        steps = f", the mean of the weights of {counted(len(trained.parts), 'policy', 'policies')} (arXiv 2203.05482)"
    task = "write the result pages of a search engine" if trained.simulator else "use a search engine"
    return (
        f"---\n{data.to_yaml()}\n---\n# {trained.name}\n\nA language model that was taught to {task} by "
        f"zerosearch {__version__} (the package zerosearch-rl): {_model(trained.base)}, {what}{steps}."
    )


def _model(name: str) -> str:
    embedded = EMBEDDED_MODELS.get(name.removeprefix("embedded:"))
    if embedded is not None:
        return f"{embedded.name} ({embedded.note}, of the package {embedded.package})"
    return Path(name).name if Path(name).expanduser().is_dir() else name


def _use(trained: Trained, form: str, gguf: str | None, place: str) -> str:
    if form == "adapter" and trained.hub_base is None:
        code = _load_on_base(trained, place)
    elif form == "adapter":
        code = f'from peft import AutoPeftModelForCausalLM\nmodel = AutoPeftModelForCausalLM.from_pretrained("{place}")'
    elif gguf is not None:
        code = f"llama-server -m {gguf}"
    else:
        code = (
            "from transformers import AutoModelForCausalLM, AutoTokenizer\n"
            f'model = AutoModelForCausalLM.from_pretrained("{place}")\n'
            f'tokenizer = AutoTokenizer.from_pretrained("{place}")'
        )
    text = f"## Use\n\n```{'sh' if gguf else 'python'}\n{code}\n```\n\nBy zerosearch, from this folder:\n\n"
    text += f"    {_command(trained, form)}"
    if trained.config is not None:
        protocol = trained.config.protocol
        prompt = protocol.prompt or (PROMPT if protocol.max_searches else PROMPT_WITHOUT_SEARCH)
        text += (
            "\n\nIt was taught with this prompt. A turn ends at `</search>` or `</answer>`; the page found is put in "
            f"as `<information> ... </information>`, and the model goes on.\n\n```text\n{prompt.rstrip()}\n```"
        )
    return text


def _load_on_base(trained: Trained, place: str) -> str:
    """Load an adapter whose base no hub has: it is made by zerosearch, or lies somewhere on the reader's machine."""
    imports = ["from peft import PeftModel", "from transformers import AutoModelForCausalLM"]
    base = f'"PATH/TO/{Path(trained.base).name}"'
    if trained.embedded_base is not None:
        imports.append("from zerosearch.models.embedded import ensure  # pip install 'zerosearch-rl[train]'")
        base = f'ensure("{trained.embedded_base}")'
    load = f'model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), "{place}")'
    return "\n".join([*imports, f"base = {base}", load])


def _command(trained: Trained, form: str) -> str:
    """How zerosearch itself loads it, as a command line in the folder of the export."""
    if trained.simulator:
        start, table, name = "fidelity CONFIG", "engine.simulated", "model"
    else:
        start, table, name = "ask" if trained.config is None else f"ask {CONFIG}", "model", "name"
    if form == "adapter":  # a configuration names its base
        words = [f"{name}={trained.base}"] * (trained.config is None) + ["adapter=."]
    else:
        words = [f"{name}=." if form == "merged" else "base_url=http://localhost:8080/v1", "adapter=none"]
    if trained.simulator and trained.made.get("style"):
        words.append(f"style={trained.made['style']}")
    return " ".join(["zerosearch", start, *(f"--set {table}.{word}" for word in words)])


def _training(trained: Trained) -> str:
    policies = trained.parts or (trained,)
    told = [_training_rows(policy) for policy in policies]
    names = list(dict.fromkeys(name for rows in told for name in rows))
    lines = [f"| {name} | {' | '.join(_cell(rows.get(name, '')) for rows in told)} |" for name in names]
    head = f"| | {' | '.join(policy.name if trained.parts else '' for policy in policies)} |"
    return "\n".join(["## Training", "", head, "|---" * (len(policies) + 1) + "|", *lines]) if lines else ""


def _training_rows(trained: Trained) -> dict[str, str]:
    if trained.run is None or trained.config is None:
        told = {"data": "data", "texts": "texts", "tokens": "tokens", "command": "made by"}
        return {shown: str(trained.made[key]) for key, shown in told.items() if key in trained.made}
    return dict(_run_rows(trained.run, trained.config, trained.step))


def _run_rows(run: Path, config: TrainConfig, step: int | None) -> Iterator[tuple[str, str]]:
    try:
        manifest = read_object(run / "manifest.json")
    except DataError:
        manifest = {}
    data = manifest.get("train_questions") or {}
    known = (
        f", {counted(data['count'], 'question')}, digest {str(data['digest'])[:16]}"
        if {"count", "digest"} <= data.keys()
        else ""
    )
    yield "data", _data_name(config.data.train) + known
    yield "engine", f"{manifest.get('engine', config.engine.kind)}, top {config.engine.top_k}"
    if config.engine.kind == "simulated":
        plan = config.curriculum
        yield "curriculum", f"{plan.kind}, noise from {plan.start:g} to {plan.end:g}"
    if config.model.adapter is not None:
        yield "start", f"the adapter {_data_name(config.model.adapter)}"
    yield "algorithm", f"{config.algorithm.name}, learning rate {config.training.learning_rate:g}"
    yield "reward", config.reward.name
    size = config.training
    each = f"{counted(size.questions_per_step, 'question')} x {counted(size.rollouts, 'rollout')} a step"
    yield "size", f"{step} of {counted(size.steps, 'step')}, {each}"
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


def _scores(trained: Trained, say: Callable[[str], None]) -> str:
    """The run's own evaluations: the one before training, and the newest one of the policy that is exported."""
    if trained.run is None or trained.step is None:
        return ""
    found: dict[int, PredictionFile] = {}
    for path in sorted((trained.run / "evaluations").glob("step-*.jsonl")):
        step = path.stem.removeprefix("step-")
        if step.isdecimal() and int(step) <= trained.step:
            found[int(step)] = read_predictions(path)
    if not found:
        say("the run has no evaluation: the model card has no scores")
        return ""
    ends = sorted({min(found), max(found)})
    shown = [found[number] for number in ends]
    if max(found) < trained.step:
        say(f"the newest evaluation is of step {max(found)}, not {trained.step}: the model card says so")
    header = shown[-1].header
    how = "greedy" if header.temperature == 0 else f"temperature {header.temperature:g}"
    lines = [
        "## Scores",
        "",
        f"{counted(header.count, 'question')} of {header.benchmark}, engine {header.engine}, top {header.top_k}, "
        f"{how}; in brackets the 95 % interval over questions.",
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
    return f"{found.value:.3f} {found.within('{:.3f}'.format)}"


def _cost(trained: Trained, say: Callable[[str], None]) -> str:
    if trained.run is None:
        return ""
    try:
        report = of_run(trained.name, *read_run(trained.run), None, PRICES)
    except ZeroSearchError as error:
        say(f"the model card has no costs: {error}")
        return ""
    rows = [
        f"| {line.engine} | {line.searches:,} | {_cell(line.basis)} | {dollars(line.usd)} |" for line in report.lines
    ]
    head = ["## What its searches cost", "", "| | searches | how | USD |", "|---|---|---|---|"]
    return "\n".join([*head, *rows, *(line for note in report.notes for line in ("", note))])


def _commands(trained: Trained, form: str) -> str:
    run = f"`{CONFIG}` is the run's whole configuration.\n\n    zerosearch train {CONFIG}\n" if trained.run else ""
    if trained.parts and trained.config is not None:
        run = f"`{CONFIG}` is the configuration of {trained.parts[0].name}.\n\n"
    return f"## The commands that made it\n\n{run}    zerosearch export {trained.source} --form {form}"


def _licence(licence: str | None) -> str:
    unknown = "that of the base model, which was not found out: look there"
    said = f"{licence}, that of the base model" if licence else unknown
    return f"## Licence\n\nThe weights: {said}. zerosearch itself is Apache-2.0."


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
