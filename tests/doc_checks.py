"""What is wrong with a command that the documentation shows, found without running it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

from doc_commands import ROOT, Shown

from zerosearch.commands.listing import SUMMARIES
from zerosearch.config_file import load_config, names
from zerosearch.errors import ConfigError, ZeroSearchError

FOREIGN_MODULES = {"verl.trainer.main_ppo": "verl has an environment of its own", "venv": "Python's own"}


def problem(shown: Shown) -> str | None:
    """The error in one line, or None where the command is right."""
    program, *words = shown.words
    if program == "make":
        return _make(words)
    if program == "python":
        return _python(words)
    if program in {"accelerate", "torchrun"}:
        return _launched(program, words, shown.inline)
    if program == "zerosearch":
        return _zerosearch(words, shown.inline)
    file = words[0] if program == "bash" else program
    return None if (ROOT / file).is_file() else f"no such script: {file}"


def _make(targets: Sequence[str]) -> str | None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for word in targets:
        name, is_variable, _ = word.partition("=")
        if not re.search(rf"\$\(?\(?{name}|^{name} :?=" if is_variable else rf"^{name}:", makefile, re.MULTILINE):
            return f"the Makefile has no {word}"
    return None


def _python(words: Sequence[str]) -> str | None:
    if words[:1] == ["-m"] and len(words) > 1:
        if words[1] == "zerosearch":
            return _zerosearch(words[2:], inline=False)
        if words[1] in FOREIGN_MODULES or _module(words[1]):
            return None
        return f"no module {words[1]}"
    if not words or words[0].startswith("-"):
        return None
    return _script(words)


def _module(name: str) -> bool:
    inside = ROOT / name.replace(".", "/")
    return inside.with_suffix(".py").is_file() or (inside / "__main__.py").is_file() or _installed(name)


def _installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _script(words: Sequence[str]) -> str | None:
    """A script of the repository is there, and its text has every option that it is called with."""
    file = ROOT / words[0]
    if not file.is_file():
        return f"no such script: {words[0]}"
    text = file.read_text(encoding="utf-8")
    changes = [value for option, value in pairwise(words) if option == "--set"]
    for option in (word.partition("=")[0] for word in words[1:] if word.startswith("--") and word != "--set"):
        if f'"{option}"' not in text and option != "--help":
            return f"{words[0]} has no option {option}"
    configuration = next((word for word in words[1:] if word.endswith(".toml")), None)
    return loads(configuration, changes) if configuration or changes else None


def _launched(program: str, words: Sequence[str], inline: bool) -> str | None:
    """`accelerate launch OPTIONS -m zerosearch ...`: the options are asked of the launcher's own parser."""
    rest = list(words[1:] if program == "accelerate" else words)
    if program == "accelerate" and words[:1] != ["launch"]:
        return f"accelerate {' '.join(words[:1])} is not used here"
    if "-m" not in rest:
        return None if inline and not rest else "nothing is launched"
    if program == "accelerate":
        from accelerate.commands.launch import launch_command_parser

        parser = launch_command_parser()
    else:
        from torch.distributed.run import get_args_parser

        parser = get_args_parser()
    try:
        known, _ = parser.parse_known_args(rest)
    except SystemExit:
        return f"{program} does not take {' '.join(rest)}"
    if known.training_script != "zerosearch":
        return f"{program} launches {known.training_script}"
    return _zerosearch(known.training_script_args, inline)


def _zerosearch(words: Sequence[str], inline: bool) -> str | None:
    if not words or words[0] in {"-h", "--help", "--version", "--install-completion", "--show-completion", "COMMAND"}:
        return None
    name, *arguments = words
    if name not in SUMMARIES:
        return f"no such command: {name}"
    from zerosearch.commands.app import load

    if inline:  # a mention: N stands for a number, a value may be missing
        arguments = ["3" if re.fullmatch("[A-Z]", word) else word for word in arguments]
    try:
        context = load(name).make_context(name, arguments)
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        mention = inline and type(error).__name__ in {"MissingParameter", "BadOptionUsage"}
        return None if mention else str(error.format_message())
    return _values(name, context.params)


def _values(name: str, given: dict[str, Any]) -> str | None:
    """Values that only the command itself would look at: configuration and settings, methods, benchmarks, GPUs."""
    changes = [change for change in given.get("set_") or () if change != "KEY=VALUE"]
    changes += [f"{option}={given[option]}" for option in ("name", "folder") if given.get(option)]
    configuration = given.get("config_file")
    if name == "ask":
        from zerosearch.commands.ask import told_apart

        try:
            configuration, _ = told_apart(given["words"] or ())
        except ConfigError as error:
            return str(error)
    if name == "init":
        known = given["from_"] in {*names(), "NAME"}
        return None if known else f"--from {given['from_']}: no configuration that ships"
    if configuration or changes:
        found = loads(configuration, changes)
        if found:
            return found
    return _listed(given)


def _listed(given: dict[str, Any]) -> str | None:
    from zerosearch.evaluation.benchmarks import SOURCES, canonical
    from zerosearch.evaluation.methods import EPISODE, find_method
    from zerosearch.models.cards import card_named

    for method in (given.get("methods") or "").split(","):
        if method and method not in {EPISODE, "..."} and "=" not in method and ":" not in method:
            try:
                find_method(method)
            except ConfigError as error:
                return str(error)
    for benchmark in (given.get("benchmarks") or "").split(","):
        if benchmark and not re.search(r"[./:]", benchmark) and canonical(benchmark) not in SOURCES:
            return f"no such benchmark: {benchmark}"
    gpu = given.get("gpu")
    return f"--gpu {gpu} is not known" if gpu and gpu != "NAME" and card_named(gpu) is None else None


def loads(configuration: str | Path | None, changes: Sequence[str]) -> str | None:
    """Why the configuration does not load with `changes`. A file of the reader may be a copy of any that ships."""
    text = str(configuration) if configuration is not None else ""
    own = re.fullmatch(r"[A-Z]+", text) or (text.endswith(".toml") and not (ROOT / text).is_file())
    bases: list[Any] = [None, *names()] if own or not text else [ROOT / text if text.endswith(".toml") else text]
    problems: list[str] = []
    for base in bases:
        try:
            load_config(base, changes)
            return None
        except ZeroSearchError as error:
            problems.append(str(error))
    return problems[0]
