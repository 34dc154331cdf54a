"""The commands as one application. A command's module is loaded when the command is called."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from zerosearch.commands.listing import SUMMARIES, front_page, rows, wrapped
from zerosearch.errors import ConfigError
from zerosearch.version import __version__

_OPTIONS = {"help_option_names": ["-h", "--help"]}


def page(command: Any, ctx: Any) -> str:
    """The help of one command: usage, what it does, its arguments and options."""
    arguments, options = shown(command.get_params(ctx))
    lines = [f"Usage: {usage(ctx.command_path, arguments, options)}", "", *(command.help or "").splitlines()]
    if arguments:
        lines += ["", "Arguments", *rows({named(p): p.help or "" for p in arguments})]
    lines += ["", "Options", *rows(dict(map(option_row, options)))]
    return "\n".join(part for line in lines for part in wrapped(line)) + "\n"


def shown(parameters: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """The arguments and the options that are not hidden."""
    known = [p for p in parameters if not getattr(p, "hidden", False)]
    return [p for p in known if p.param_type_name == "argument"], [p for p in known if p.param_type_name == "option"]


def usage(command: str, arguments: Sequence[Any], options: Sequence[Any]) -> str:
    """`zerosearch data [SOURCE] [OPTIONS]`: what is needed, and then the word for all options."""
    words = [named(p) if p.required else f"[{named(p)}]" for p in arguments]
    words += [f"{long_name(p)} {value(p)}" for p in options if p.required]
    return " ".join([command, *words, *["[OPTIONS]"] * bool(options)])


def named(argument: Any) -> str:
    """An argument as the usage shows it."""
    name = re.sub(r"[][{}]", "", argument.metavar or argument.name).upper()
    return f"{name} ..." if argument.nargs == -1 else name


def option_row(option: Any) -> tuple[str, str]:
    """`-h, --help`, `--limit N`, and what each does, with its default."""
    names = ", ".join(sorted(option.opts, key=len))
    names += f"/{option.secondary_opts[0]}" if option.secondary_opts else ""
    default = option.default
    has_default = not option.is_flag and default not in (None, "", ()) and not callable(default) and not option.required
    said = (option.help or "").strip()
    if has_default and option.show_default:
        said = f"{said} (default: {getattr(default, 'value', default)})".strip()
    return f"{names} {value(option)}".strip(), f"{said} (required)" if option.required else said


def long_name(option: Any) -> str:
    return str(max(option.opts, key=len))


def value(option: Any) -> str:
    """What stands for the value of an option; nothing for a flag."""
    return "" if option.is_flag else str(option.metavar or "TEXT")


def kind(hint: Any) -> str:
    """How a value of this type is shown: a number as N or X, one of several words as all of them."""
    types = [inner for inner in get_args(hint) if inner is not type(None)]
    if types:  # a list of them, or None
        return kind(types[0])
    if issubclass(hint, Enum):
        return "|".join(str(member.value) for member in hint)
    return {int: "N", float: "X", Path: "PATH"}.get(hint, "TEXT")


_TEXTS = ("words", "question", "answer", "text")
"""Parameters whose value is said to somebody, and may be empty; all others are a path, a name or a setting."""


class Command(TyperCommand):
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Raises `ConfigError` for an empty path or name: an empty path would mean the current folder."""
        given = {} if ctx.resilient_parsing else self.make_parser(ctx).parse_args(args=list(args))[0]
        for parameter in self.params:
            values = given.get(parameter.name)
            values = values if isinstance(values, list | tuple) else [values]
            if parameter.name not in _TEXTS and any(isinstance(one, str) and not one.strip() for one in values):
                argument = parameter.param_type_name == "argument"
                name = named(parameter).removesuffix(" ...") if argument else long_name(parameter)
                raise ConfigError(f"{name} is empty (is a variable of the shell not set?)")
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(page(self, ctx))


class Front(TyperGroup):
    """All commands. Their names are known without their modules."""

    _naming = False

    def list_commands(self, ctx: Any) -> list[str]:
        return list(SUMMARIES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in SUMMARIES:
            return None
        return Command(cmd_name, help=SUMMARIES[cmd_name]) if self._naming else load(cmd_name)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        self._naming = True
        try:
            return super().shell_complete(ctx, incomplete)
        finally:
            self._naming = False

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(front_page())


def load(name: str) -> Any:
    """The command `name`, from the module of that name in this folder."""
    body = getattr(import_module(f"zerosearch.commands.{name}"), name)
    made = typer.Typer(add_completion=False, rich_markup_mode=None)
    made.command(name, cls=Command, help=paragraphs(body), context_settings=_OPTIONS)(body)
    command = typer.main.get_command(made)
    hints = get_type_hints(body)
    for option in command.params:  # a word for the value of each option that has none
        if option.param_type_name == "option" and option.metavar is None and option.name in hints:
            option.metavar = kind(hints[option.name])
    return command


def paragraphs(body: Any) -> str:
    """A docstring whose paragraphs are a line each, to be broken where the terminal ends; examples stay as they are."""
    parts = inspect.cleandoc(body.__doc__ or "").split("\n\n")
    return "\n\n".join(part if part.startswith("    ") else " ".join(part.split()) for part in parts)


app = typer.Typer(
    name="zerosearch",
    cls=Front,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings=_OPTIONS,
)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        print(f"zerosearch {__version__}")
        raise typer.Exit
