"""Write docs/configuration.md from the configuration's own field texts.

python scripts/config_reference.py            # writes the page
python scripts/config_reference.py --check    # exit status 1 where the page is not what the code says
"""

from __future__ import annotations

import enum
import json
import types
import typing
from pathlib import Path

from made_pages import main

from zerosearch.config import TrainConfig
from zerosearch.models.config import Names, Section

PAGE = Path(__file__).parent.parent / "docs" / "configuration.md"
HEAD = """# Configuration

Every setting of `zerosearch train`, made from the code by `python scripts/config_reference.py`. A configuration is a
TOML file, or the name of one that ships (`zerosearch init` lists them); `--set section.key=value` changes a setting on
the command line, and `key = "none"` unsets an optional one. An unknown setting, a value out of range, and settings that
contradict each other are errors that name the setting. `zerosearch check CONFIG` says what a file amounts to.
"""


def render() -> str:
    """The whole page."""
    parts = [HEAD, *_section("", TrainConfig)]
    return "\n".join(parts).rstrip() + "\n"


def _section(name: str, model: type[Section]) -> list[str]:
    lines = ["", f"## `[{name}]`" if name else "## Top level", ""]
    if name.startswith("engine.") and model.__doc__:
        lines += [model.__doc__, ""]
    lines += ["| setting | values | default | |", "|---|---|---|---|"]
    nested: list[tuple[str, type[Section]]] = []
    for key, field in model.own_first().items():
        inner = _nested(field.annotation)
        path = f"{name}.{key}" if name else key
        if inner is not None:
            nested.append((path, inner))
        default, extra = field.get_default(call_default_factory=True), field.json_schema_extra
        shown = "a table, below" if isinstance(default, Section) else f"`{_toml(default)}`"
        if isinstance(extra, dict) and "needed" in extra:
            shown = f"needed: `{extra['needed']}`"
        text = " ".join((field.description or "").split()).replace("|", "\\|")
        names = next((part.known for part in field.metadata if isinstance(part, Names)), None)
        values = f"{', '.join(f'`{n}`' for n in names)}, `package.module:Name`" if names else _values(field.annotation)
        lines.append(f"| `{key}` | {values} | {shown} | {text} |")
    for path, inner in nested:
        if path == "evaluation.engine":  # the same table as [engine]
            continue
        lines += _section(path, inner)
    return lines


def _nested(annotation: object) -> type[Section] | None:
    for kind in (annotation, *typing.get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, Section):
            return kind
    return None


def _values(annotation: object) -> str:
    if _nested(annotation):
        return "table"
    if typing.get_origin(annotation) is typing.Literal:
        return ", ".join(f"`{value}`" for value in typing.get_args(annotation))
    if typing.get_origin(annotation) is list:
        return f"list of {_values(typing.get_args(annotation)[0])}"
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return ", ".join(f"`{member.value}`" for member in annotation)
    if typing.get_origin(annotation) is typing.Annotated:
        return _values(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        kinds = [kind for kind in typing.get_args(annotation) if kind is not types.NoneType]
        return ", ".join(_values(kind) for kind in kinds) + ", `none`"
    return {str: "text", int: "whole number", float: "number", bool: "`true`, `false`"}.get(annotation, str(annotation))  # type: ignore[call-overload]


def _toml(value: object) -> str:
    if value is None:
        return "none"
    if value == "":
        return '""'
    if value == {}:
        return "{}"
    if isinstance(value, list):
        return f"[{', '.join(json.dumps(item) for item in value)}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    main({PAGE: render}, __doc__)
