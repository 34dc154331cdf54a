"""The commands that tune a run's simulator on the queries of its own policy, and which of them are done.

for stage in stages(refresh):
    print(stage.command)
print(going_on(refresh))
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zerosearch.config import TrainConfig
from zerosearch.engines.config import EngineConfig
from zerosearch.errors import ConfigError, DataError, FolderError
from zerosearch.files.folders import check_no_file, listed, owned
from zerosearch.files.identity import sha256_of
from zerosearch.files.jsonl import read_object, write_json
from zerosearch.run_folder import policy_config
from zerosearch.simulator.record import RecordSettings, read_recorded_pages
from zerosearch.spending.ledger import counted

QUESTIONS = 1000
"""Training questions that are played where nobody says how many."""
_FROM_LABELS = ("evidence", "judge", "outcome", "rank")
_STATE = "refresh.json"


@dataclass(frozen=True)
class Stage:
    """A command, `words` without `zerosearch` in front, and the file or folder that it makes."""

    words: list[str]
    made: Path

    @property
    def command(self) -> str:
        return shlex.join(["zerosearch", *self.words])


@dataclass(frozen=True)
class Refresh:
    """What is asked for. `config` is the run's, with its newest policy and the `changes` (`section.key=value`); `ways`
    says what is tuned, as values of `tune.by`; `pages` are older recorded ones; `limit` None: see `QUESTIONS`."""

    run: Path
    config: TrainConfig
    ways: tuple[str, ...]
    out: Path
    pages: tuple[Path, ...] = ()
    changes: tuple[str, ...] = ()
    limit: int | None = None

    @property
    def policy(self) -> list[str]:
        """The setting that names the policy; none where the run's own names it."""
        model = self.config.model
        name, value = ("model.name", model.name) if model.full else ("model.adapter", model.adapter)
        return [] if value is None else [f"{name}={value}"]

    @property
    def start(self) -> list[str]:
        """The setting that lets a new adapter begin at the run's; none where there is none, or the user has set it."""
        adapter = self.config.engine.simulated.adapter
        told = any(_setting(change) == "tune.start" for change in self.changes)
        return [] if adapter is None or told or self.config.tune.full else [f"tune.start={adapter}"]

    @property
    def depth(self) -> int:
        """Documents of a recorded page. Collecting asks for as many, so that its search is the only one."""
        return max(RecordSettings().depth, self.engine.top_k)

    @property
    def cache(self) -> list[str]:
        """The setting that lets recording find what collecting has searched; none where the user has one, or where the
        engine is itself a recording."""
        told = any(_setting(change) == "evaluation.engine.cache" for change in self.changes)
        if told or self.engine.cache is not None or self.engine.kind == "recorded":
            return []
        return [f"evaluation.engine.cache={self.out / 'searches.sqlite'}"]

    @property
    def engine(self) -> EngineConfig:
        """The real engine."""
        assert self.config.evaluation.engine is not None  # `tuned_by` says so
        return self.config.evaluation.engine

    def made(self, way: str) -> Path:
        """What `tune --by` writes."""
        return self.out / ("hits.json" if way == "hits" else "simulator")

    def words(
        self, name: str, *words: str | Path, settings: Sequence[str] = (), but: tuple[str, ...] = ()
    ) -> list[str]:
        """A command on the run's configuration with `settings` and all changes of others, without those whose names
        begin as one of `but`."""
        dropped = {"tune.by", *map(_setting, settings)}
        kept = [c for c in self.changes if _setting(c) not in dropped and not _setting(c).startswith(but)]
        options = [word for change in [*kept, *settings] for word in ("--set", change)]
        return [name, str(self.run / "config.toml"), *map(str, words), *options]


def open_refresh(
    run: Path,
    out: Path | None = None,
    pages: Sequence[Path] = (),
    changes: Sequence[str] = (),
    limit: int | None = None,
) -> Refresh:
    """The refresh of `run` with its newest policy, into `run/refreshed` where `out` is None.

    Raises `ConfigError` for what is no run or has nothing to refresh, `CheckpointError` for a run without a checkpoint.
    """
    config = policy_config(run=run, overrides=changes)
    ways = tuned_by(config, run, recorded=bool(pages))
    return Refresh(run, config, ways, out or run / "refreshed", tuple(pages), tuple(changes), limit)


def tuned_by(config: TrainConfig, run: Path, *, recorded: bool = False) -> tuple[str, ...]:
    """What of a run's simulator can be tuned, as values of `tune.by`: its hits, and the model that writes.

    `recorded`: there are older pages. Raises `ConfigError`, which says what to set, where nothing is there to tune, no
    real engine is named, or the labels that `tune.by` needs cannot be made.
    """
    simulated, judge, by = config.engine.simulated, config.evaluation.engine, config.tune.by
    if config.engine.kind != "simulated":
        raise ConfigError(f"{run}: was trained with a real engine ({config.engine.kind}): no simulator to refresh")
    if judge is None or judge.kind == "simulated":
        raise ConfigError(
            f"{run}: names no real engine whose pages could be recorded; name one, for example --set "
            "evaluation.engine.kind=bm25 --set evaluation.engine.bm25.corpus=FILE"
        )
    ways = ["hits"] if simulated.hits is not None else []
    if simulated.style != "instruct" and simulated.base_url is None:
        ways.append("passages" if simulated.style == "passages" else by)
        if simulated.style == "tuned":
            _check_labels(config, recorded)
    if ways:
        return tuple(ways)
    if simulated.base_url is not None:
        raise ConfigError(
            f"{run}: its simulator is behind a URL and decides no hits: there is nothing to tune here. Let a predictor "
            "decide them (--set engine.simulated.hits=default), or tune local weights (--set "
            "engine.simulated.base_url=none --set engine.simulated.model=FOLDER)"
        )
    raise ConfigError(
        f"{run}: its simulator is only told what to write (style instruct, no hits): there is nothing to tune. Let a "
        "predictor decide which pages hold the answer (--set engine.simulated.hits=default), or tune the model (--set "
        "engine.simulated.style=tuned --set tune.by=evidence)"
    )


def _check_labels(config: TrainConfig, recorded: bool) -> None:
    by = config.tune.by
    if by not in _FROM_LABELS:
        raise ConfigError(f"tune.by is {by}, but a simulator of style tuned learns from labels: {_others()}")
    if by == "judge" and config.label.judge.model is None:
        raise ConfigError(f"tune.by is judge, but label.judge.model names none: set it, or {_others('judge')}")
    if by == "outcome" and recorded:
        raise ConfigError(f"tune.by is outcome, which recorded pages (--pages) do not have: {_others('outcome')}")


def _others(but: str = "") -> str:
    return " or ".join(f"--set tune.by={way}" for way in _FROM_LABELS if way != but)


def stages(refresh: Refresh) -> list[Stage]:
    """The commands from the policy to what is tuned, in their order."""
    out, config, deep = refresh.out, refresh.config, ("--depth", str(refresh.depth))
    limit = refresh.limit or min(QUESTIONS, config.data.limit or QUESTIONS)
    played = ("--limit", str(limit), "--temperature", f"{config.training.temperature:g}", *deep)
    found = [*refresh.policy, *refresh.cache]
    episodes, recorded, labels = out / "episodes", out / "pages.jsonl", out / "labels.jsonl"
    files = [*refresh.pages, recorded]
    made = [
        Stage(refresh.words("collect", "--out", episodes, *played, settings=found), episodes),
        Stage(
            refresh.words("record", "--queries", episodes, "--out", recorded, *deep, settings=refresh.cache), recorded
        ),
    ]
    if any(way in _FROM_LABELS for way in refresh.ways):
        collection = [episodes] if "outcome" in refresh.ways else []
        of = [word for file in files for word in ("--recorded", file)]
        made.append(Stage(refresh.words("label", *collection, *of, "--out", labels), labels))
    for way in refresh.ways:
        source, target = [labels] if way in _FROM_LABELS else files, refresh.made(way)
        start = [] if way == "hits" else refresh.start
        made.append(Stage(refresh.words("tune", *source, "--by", way, "--out", target, settings=start), target))
    return made


def going_on(refresh: Refresh) -> str:
    """The command that trains the policy further with what was tuned, as a new run beside the old one."""
    config, settings = refresh.config, refresh.policy
    for way in refresh.ways:
        place = "hits" if way == "hits" else "model" if config.tune.full else "adapter"
        settings.append(f"engine.simulated.{place}={refresh.made(way)}")
        if place == "model" and config.engine.simulated.adapter is not None:
            settings.append("engine.simulated.adapter=none")
    on = ("--on", "verl") if (refresh.run / "verl").is_dir() else ()
    refreshing = ("label.", "tune.", "engine.budget_")  # what a refresh may spend is not what a run may
    words = refresh.words("train", "--name", f"{config.name}-2", *on, settings=settings, but=refreshing)
    return shlex.join(["zerosearch", *words])


def perform(refresh: Refresh, call: Callable[[Sequence[str]], Any], say: Callable[[str], None] = print) -> None:
    """Let `call` do every stage that is not done; it gets the words of the command.

    `refresh.json` in the folder says which are: those that ended well with these very words, as long as the run's
    configuration, the older pages and all stages before are the same, and what they made is still there. Raises what
    `call` raises, `FolderError` for a folder that holds other things, `DataError` for pages that cannot be used.
    """
    out, todo = refresh.out, stages(refresh)
    check_pages(refresh.pages, say)
    for note in notes(refresh):
        say(note)
    check_no_file(out)
    with owned(out, "refresh"):
        files = {str(path): sha256_of(path) for path in (refresh.run / "config.toml", *refresh.pages)}
        done = _done(out, files)
        for place, stage in enumerate(todo):
            head = f"{place + 1}/{len(todo)}"
            if done[place : place + 1] == [stage.command] and stage.made.exists():
                say(f"{head} is done: {stage.command}")
                continue
            done = done[:place]
            write_json(out / _STATE, {"files": files, "done": done})
            say(f"{head} {stage.command}")
            call(stage.words)
            done.append(stage.command)
            write_json(out / _STATE, {"files": files, "done": done})


def notes(refresh: Refresh) -> list[str]:
    """What a user may not expect of this refresh, a line each."""
    found = []
    if not refresh.pages:
        found.append("no --pages: what is tuned sees the pages of this round alone")
    if refresh.config.engine.simulated.style != "instruct" and refresh.ways == ("hits",):
        found.append("the simulator's model is behind a URL and stays as it is: only its hits are tuned")
    return found


def check_pages(pages: Sequence[Path], say: Callable[[str], None] = print) -> None:
    """Read older pages before anything else is done. Raises `DataError` for a file of which nothing can be used."""
    for path in pages:
        found, without = read_recorded_pages(path)
        if not found:
            raise DataError(f"--pages {path}: no row has `question` and `golden_answers`, by which pages are used")
        left_out = f", {counted(without, 'row')} without question and answer left out" if without else ""
        say(f"{path}: {counted(len(found), 'page')}{left_out}")


def _done(out: Path, files: dict[str, str]) -> list[str]:
    """The commands that were done with the same `files`. Raises `FolderError` where other things lie in `out`."""
    state = out / _STATE
    if not state.exists():
        if out.is_dir() and (names := sorted(path.name for path in out.iterdir())):
            raise FolderError(f"--out {out}: holds {listed(names)} and no {_STATE}; name another folder")
        return []
    held = read_object(state)
    done = held.get("done")
    if not isinstance(done, list):
        raise DataError(f"{state}: was not written by zerosearch refresh; take another --out")
    return [str(command) for command in done] if held.get("files") == files else []


def _setting(change: str) -> str:
    return change.partition("=")[0].strip()
