"""`zerosearch train`: teach a policy to search."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from zerosearch.commands.screen import Console, console, heading, table, typed
from zerosearch.commands.train_seeds import SCORES, check_folders, evaluations_of, seeds_of, train_seeds
from zerosearch.config import TrainConfig
from zerosearch.config_file import as_overrides, load_config
from zerosearch.errors import ConfigError
from zerosearch.learning.lines import Lines, clock
from zerosearch.process.runtime import prepare
from zerosearch.spending.ledger import counted

QUIET_SECONDS = 5.0  # after which a terminal shows that something is at work


def train(
    config_file: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG]", help="A TOML file, or the name of one that ships: demo.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting: training.steps=20.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run's folder.")] = None,
    folder: Annotated[str | None, typer.Option(help="The folder that contains run folders.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over. An older run is renamed, not deleted.")] = False,
    seeds: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="Train once for each seed, in folders NAME-seedN: 0,1,2.")
    ] = None,
    on: Annotated[
        str | None, typer.Option(metavar="verl", help="Train on verl: Ray, vLLM, many GPUs (docs/scale.md).")
    ] = None,
    verl: Annotated[
        list[str] | None, typer.Option("--verl", metavar="KEY=VALUE", help="With --on verl: change a setting of verl.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --on verl: print the settings of verl and stop.")
    ] = False,
    simulators: Annotated[
        str | None,
        typer.Option(
            metavar="N[xGPUS]", help="With --on verl: serve the simulator with vLLM, on GPUs that the policy leaves."
        ),
    ] = None,
    serve: Annotated[
        str | None, typer.Option(metavar="WORDS", help="With --simulators: further options of `vllm serve`.")
    ] = None,
) -> None:
    """Teach a policy to search by reinforcement learning, with a simulated (or a real) search engine.

    The same command resumes an interrupted run from its last checkpoint. `zerosearch check CONFIG` shows what a
    configuration means, without loading a model.

    With --seeds, one run is trained for each seed, one after the other or one on each GPU. The command prints mean
    and standard deviation of the last evaluations. None starts if one of the folders holds a run of other settings.
    A run that fails does not stop the others; the exit status is then not 0.
    """
    prepare()
    if config_file is None and not set_:
        raise ConfigError(
            "name a configuration, such as demo (minutes on a CPU); the bare defaults are the paper's "
            "setting, 200 steps of 320 episodes, and begin with a model that has never searched. With --set name=NAME "
            "they are taken all the same"
        )
    config = load_config(config_file, [*(set_ or ()), *as_overrides({"name": name, "folder": folder})])
    if on is not None or verl or dry_run or simulators or serve:
        from zerosearch.commands.train_verl import Words, train_on

        train_on(Words(on, verl or [], dry_run, simulators, serve), config, fresh=fresh, seeds=seeds)
        return
    if seeds is not None:
        _train_seeds(config_file, list(set_ or ()), config, seeds, fresh)
        return
    console.quiet = os.environ.get("RANK", "0") != "0"  # of several processes the first speaks
    console.print("loading models and data ...", style="dim")
    from zerosearch.learning.run import train as train_policy
    from zerosearch.reporting import write_run_report

    console.print(describe(config))
    with Waiting(console) as waiting:
        lines = Lines(
            config.training.steps,
            lambda line, wrong: waiting.say(Text.assemble(line, *((f"  {text}", "red") for text in wrong))),
            lambda: console.width if console.is_terminal else None,
        )
        complete = train_policy(config, fresh=fresh, sinks=[lines], say=waiting.say)
    _conclude(config, complete, write_run_report(config.run_folder) if not console.quiet else "")


def _train_seeds(config_file: Path | None, changes: list[str], config: TrainConfig, seeds: str, fresh: bool) -> None:
    if config.logging.run_id is not None:
        raise ConfigError("logging.run_id is one run's, and --seeds makes several: leave it out, or set logging.group")
    own = {
        seed: load_config(
            config_file,
            [*changes, *as_overrides({"seed": seed, "name": f"{config.name}-seed{seed}", "folder": config.folder})],
        )
        for seed in seeds_of(seeds)
    }
    if not fresh:
        check_folders(own.values())
    options = [str(config_file)] if config_file is not None else []
    options += [word for change in changes for word in ("--set", change)] + ["--fresh"] * fresh
    train_seeds(own, options)


def describe(config: TrainConfig) -> Text:
    """The run in two lines."""
    training, judged = config.training, config.evaluation.engine or config.engine
    episodes = training.questions_per_step * training.rollouts
    return Text.assemble(
        (config.name, "bold"),
        f": {config.algorithm.name} teaches {config.model.name} with a {config.engine.kind} "
        f"engine, {counted(training.steps, 'step')} of {counted(training.questions_per_step, 'question')} x "
        f"{counted(training.rollouts, 'rollout')}\n"
        f"  ({counted(episodes, 'episode')} a step, at most "
        f"{counted(config.protocol.max_searches, 'search', 'searches')} each); "
        f"evaluated with {judged.kind} on {config.evaluation.questions}",
    )


def _conclude(config: TrainConfig, complete: bool, report: str = "") -> None:
    """Print the evaluations side by side, say where everything lies, and what to do with it. `report`: about that."""

    folder = config.run_folder
    if evaluations := evaluations_of(folder):
        alike = [e for e in evaluations if _made_as(e) == _made_as(evaluations[-1])]
        console.print(results_table(alike))
        if others := [e["step"] for e in evaluations if e not in alike]:
            console.print(f"not shown, as made with other settings: after {', '.join(map(str, others))} steps")
    console.print(f"run folder   {folder}/")
    if report:
        console.print(f"  report     {report}")
    board = f" (or: tensorboard --logdir {folder}/tensorboard)" if config.logging.tensorboard else ""
    console.print(f"  metrics    {folder}/metrics.jsonl{board}")
    console.print(f"  episodes   {folder}/trajectories/*.jsonl.zst, evaluations/*.jsonl (see zerosearch compare)")
    console.print(f"  cost       {folder}/cost.json ({typed('cost', '--run', folder)} compares it with Google)")
    console.print(f"  weights    {folder}/checkpoints/step-*/policy")
    if not complete:
        console.print("the run is not complete: the same command resumes it", style="yellow")
        return
    console.print("next:")
    for line in next_steps(config):
        console.print(f"  {line}")


def next_steps(config: TrainConfig) -> list[str]:
    """What can be done with a complete run. One whose noise goes by its length cannot be made longer.

    The commands hold wherever the run came from, also as one of `--seeds`: they name its own `config.toml`.
    """
    folder, steps = config.run_folder, config.training.steps
    again = ("train", folder / "config.toml")
    export = f"{typed('export', folder)}  # for transformers, vLLM or llama.cpp"
    use = [f'{typed("ask", "--run", folder)} "..."', export]
    if config.engine.kind != "simulated" or not config.curriculum.build().follows_length:
        return [*use, f"{typed(*again, '--set', f'training.steps={2 * steps}')}  # trains on"]
    whose = "model.name" if config.model.full else "model.adapter"
    policy = f"{whose}={folder}/checkpoints/step-{steps:06d}/policy"
    return [*use, f"{typed(*again, '--name', f'{config.name}-2', '--set', policy)}  # trains its policy further"]


def _made_as(evaluation: dict[str, Any]) -> tuple[Any, ...]:
    """What evaluations must have in common to stand in one table."""
    return tuple(evaluation.get(key) for key in ("questions_digest", "engine", "top_k", "temperature"))


def results_table(evaluations: list[dict[str, Any]]) -> Table:
    """Before, in between, after: one column an evaluation."""
    first, summaries = evaluations[0], [e["summary"] for e in evaluations]
    made = table(
        heading(
            counted(first["summary"]["questions"], "held-out question"),
            f"{first['engine']}, top {first['top_k']}, greedy",
        ),
        "",
        *(f"after {counted(e['step'], 'step')}" if e["step"] else "before" for e in evaluations),
    )
    for key, label in SCORES.items():
        made.add_row(label, *(f"{s[key]:.3f}" for s in summaries))
    if any(s.get("misses") for s in summaries):
        made.add_row("queries without a recorded page", *(str(s.get("misses", 0)) for s in summaries))
    transfers = [e.get("transfer") for e in evaluations]
    if any(transfers):
        for key, label in (("transfer_gap", "transfer gap (F1)"), ("leak_rate", "leak rate of the simulator")):
            values = [None if t is None else t[key] for t in transfers]
            made.add_row(
                label, *("-" if v is None else f"{v:+.3f}" if key == "transfer_gap" else f"{v:.3f}" for v in values)
            )
    return made


class Waiting:
    """Within this block a terminal shows `... 1:23`, the time since the last line that `say` printed.

    The cursor stays at the beginning of that text: whatever else prints a line writes over it. A file gets nothing.
    """

    def __init__(self, console: Console, quiet: float = QUIET_SECONDS) -> None:
        self._console, self._quiet = console, quiet
        self._since, self._writing = time.monotonic(), threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tick, name="waiting", daemon=True)

    def __enter__(self) -> Waiting:
        if self._console.is_terminal and not self._console.is_dumb_terminal and not self._console.quiet:
            self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
            self._write("")

    def say(self, *objects: Any, **options: Any) -> None:
        """`console.print`; the time begins anew."""
        with self._writing:
            self._since = time.monotonic()
            self._write("")
            self._console.print(*objects, **options)

    def _tick(self) -> None:
        while not self._ended.wait(min(1.0, self._quiet)):
            with self._writing:
                seconds = time.monotonic() - self._since
                if seconds >= self._quiet:
                    self._write(f"... {clock(seconds)}")

    def _write(self, text: str) -> None:
        if self._thread.ident is not None:
            self._console.file.write(f"\r\x1b[2K{text}\r")
            self._console.file.flush()
