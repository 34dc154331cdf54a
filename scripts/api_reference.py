"""Write docs/reference/python.md from the signatures and docstrings in src/: nothing is imported.

python scripts/api_reference.py            # writes the page
python scripts/api_reference.py --check    # exit status 1 where the page is not what the code says
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from made_pages import main

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "zerosearch"
PAGE = ROOT / "docs" / "reference" / "python.md"
HEAD = """# Python

Signatures and docstrings, as they stand in the code: this page is made by `python scripts/api_reference.py`.

- `import zerosearch` loads nothing heavy. Each name is loaded when it is first used, and torch only by what needs it.
- `train`, `ask`, `evaluate`, `collect`, `label`, `tune` and `export` are [commands](commands.md) too.
- These functions, `find` and `play` wait for their result, in scripts and in notebooks. In asynchronous programs they
  block the event loop: use `await engine.search(...)` there.
- A `config` is what `load_config` returns ([Configuration](../configuration.md)).
- Times are seconds, money is US dollars, probabilities and scores are shares from 0 to 1.
- An error that you can act on is a `ZeroSearchError` whose text is one line ([Errors](#errors)).
- A reward, an engine, an algorithm, a benchmark or a method of your own is one file: [your own parts](../extend.md).
"""
DOOR = {
    "Train and use a policy": ["load_config", "TrainConfig", "train", "ask", "Answered", "export"],
    "Search engines": [
        *("open_engine", "Engine", "SearchEngine", "SearchRequest", "Quality", "SearchPage", "Document"),
        *("BM25Engine", "SimulatedEngine"),
    ],
    "Questions and evaluation": [
        *("Question", "load_questions", "score_answer", "Scores", "evaluate", "Trials", "ResultsTable"),
    ],
    "Read a run back": ["read_trajectories", "Trajectory", "read_predictions"],
    "Make a simulator": ["collect", "Collecting", "label", "tune"],
    "In your own trainer": ["play", "ToolEpisode"],
    "All parts of a configuration": ["Parts"],
}
"""The names of `import zerosearch`, by what one wants; the errors have a table of their own."""
RETURNED = {
    "episodes.trajectory": ["TurnRecord", "SearchRecord"],
    "episodes.predictions": ["PredictionFile", "Prediction"],
    "evaluation.tables": ["Row"],
    "simulator.collect": ["Progress"],
    "engines.page_rows": ["RecordedPage"],
    "learning.sft": ["SFTResult"],
    "usage": ["Usage"],
}
FORMULAS = {
    "episodes.curriculum": "Noise of the curriculum",
    "episodes.scoring": "Scores of an answer",
    "learning.advantages": "Advantages",
    "learning.losses": "Losses",
}
"""Modules of pure functions: all that is public in them."""
WIDTH = 84
"""Columns of code that the site shows without scrolling, on a desk."""
OPENED = ("Engine", "BM25Engine")
"""Classes that nobody calls: `open_engine` and `BM25Engine.open` do."""
LETTERS = """
The last letters of a tensor's name are its axes: `B` episodes, `T` tokens of a sequence, `N` any rows or the policy's
own tokens laid end to end, `V` vocabulary. A mask is 1 on the tokens that the policy wrote.
"""

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def render() -> str:
    """The whole page. Raises `SystemExit` where a public name stands in no group, or a name is not found."""
    places = public_names()
    grouped = {name for names in DOOR.values() for name in names}
    if missing := {name for name in places if not name.endswith("Error")} ^ grouped:
        sys.exit(f"api_reference.py: DOOR and zerosearch.__all__ differ in {', '.join(sorted(missing))}")
    parts = [HEAD]
    for title, names in DOOR.items():
        parts += [f"## {title}", *(described(places[name], name) for name in names)]
    parts += ["## What they return", *(described(module, name) for module, names in RETURNED.items() for name in names)]
    parts += ["## Errors", errors()]
    parts += ["## The functions behind the formulas", LETTERS.strip()]
    for module, title in FORMULAS.items():
        parts += [f"### {title}", f"`zerosearch.{module}`", prose(ast.get_docstring(tree(module)) or "")]
        known = {*places, *RETURNED.get(module, ()), "check_choice"}
        shown = [node for node in tree(module).body if is_public(node) and ast.get_docstring(node)]
        parts += [described(module, node.name, "####") for node in shown if node.name not in known]
    return re.sub(r"\n{3,}", "\n\n", "\n\n".join(parts)).rstrip() + "\n"


def public_names() -> dict[str, str]:
    """Name -> module, as `zerosearch/__init__.py` has them."""
    for node in tree("__init__").body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_NAMES":
            return {name: module for module, names in ast.literal_eval(node.value).items() for name in names}
    sys.exit("api_reference.py: no _NAMES in zerosearch/__init__.py")


def tree(module: str) -> ast.Module:
    return ast.parse(source(module))


def source(module: str) -> str:
    return (PACKAGE / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")


def is_public(node: ast.AST) -> bool:
    return isinstance(node, Definition) and not node.name.startswith("_")


def described(module: str, name: str, level: str = "###") -> str:
    """A heading, the signature, the docstring, and for a class its fields and methods."""
    node = next((n for n in tree(module).body if isinstance(n, Definition) and n.name == name), None)
    if node is None:
        sys.exit(f"api_reference.py: {module} has no {name}")
    lines = source(module).splitlines()
    parts = [f"{level} {name}"]
    if isinstance(node, ast.ClassDef):
        parts += [fenced(class_head(node, lines)), prose(ast.get_docstring(node) or "")]
        members = [m for m in node.body if is_public(m) and isinstance(m, ast.FunctionDef | ast.AsyncFunctionDef)]
        parts += [member(m, lines) for m in members if ast.get_docstring(m)]
    else:
        parts += [fenced(signature(node, lines)), prose(ast.get_docstring(node) or "")]
    parts.append(f"Source: [{module.replace('.', '/')}.py](../../src/zerosearch/{module.replace('.', '/')}.py)")
    return "\n\n".join(part for part in parts if part)


def class_head(node: ast.ClassDef, lines: list[str]) -> str:
    """`class Name(Bases)` with its fields, or with what makes an instance."""
    bases = f"({', '.join(map(ast.unparse, node.bases))})" if node.bases else ""
    head = [f"@{ast.unparse(d)}" for d in node.decorator_list] + [f"class {node.name}{bases}:"]
    fields = [m for m in node.body if isinstance(m, ast.AnnAssign | ast.Assign) and ast.unparse(m)[0] != "_"]
    if node.name == "TrainConfig":
        return f"{head[-1]} ...  # every setting: configuration.md"
    body = [line for m in fields for line in lines[m.lineno - 1 : m.end_lineno]]
    made = next((m for m in node.body if isinstance(m, ast.FunctionDef) and m.name == "__init__"), None)
    if made is not None and node.name not in OPENED:
        body += signature(made, lines, indent="    ").splitlines()
    if bases == "(Protocol)":
        body += lines[node.body[1].lineno - 2 : node.end_lineno]
    return "\n".join(head + body) if body else "\n".join(head).rstrip(":")


def signature(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str], indent: str = "") -> str:
    """The `def` as it stands in the source, up to its colon."""
    text = textwrap.dedent("\n".join(lines[node.lineno - 1 : node.body[0].lineno - 1])).strip()
    text = re.sub(r"\s*# noqa.*", "", text)
    if max(map(len, text.splitlines())) > WIDTH:
        text = one_a_line(node)
    return textwrap.indent(text.removesuffix("...").rstrip().removesuffix(":"), indent)


def one_a_line(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """The signature with each parameter on a line of its own."""
    a = node.args
    defaults = [None] * (len(a.args) - len(a.defaults)) + list(a.defaults)
    rows = [parameter(arg, default) for arg, default in zip(a.args, defaults, strict=True)]
    if a.vararg or a.kwonlyargs:
        rows.append(f"*{ast.unparse(a.vararg)}" if a.vararg else "*")
    rows += [parameter(arg, default) for arg, default in zip(a.kwonlyargs, a.kw_defaults, strict=True)]
    rows += [f"**{ast.unparse(a.kwarg)}"] if a.kwarg else []
    head = f"{'async ' * isinstance(node, ast.AsyncFunctionDef)}def {node.name}("
    return "\n".join(
        [head, *(f"    {row}," for row in rows), f") -> {ast.unparse(node.returns) if node.returns else None}:"]
    )


def parameter(arg: ast.arg, default: ast.expr | None) -> str:
    return ast.unparse(arg) + (f" = {ast.unparse(default)}" if default is not None else "")


def member(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> str:
    """One method: its signature, its decorators where they matter, its docstring."""
    marks = [f"@{ast.unparse(d)}" for d in node.decorator_list]
    return fenced("\n".join([*marks, signature(node, lines)])) + "\n\n" + prose(ast.get_docstring(node) or "")


def fenced(code: str) -> str:
    return f"```python\n{code}\n```"


def prose(docstring: str) -> str:
    """A docstring as Markdown: the sections of Google's style become lists, a `<tag>` stays readable."""
    text = re.sub(r"``(.+?)``", r"`\1`", inspect.cleandoc(docstring))
    text = re.sub(r"^(Args|Returns|Raises):\n((?:(?:    .*)?(?:\n|\Z))+)", listed, text, flags=re.MULTILINE)
    return "\n".join(line if line.startswith("    ") else escaped(line) for line in text.splitlines())


def listed(section: re.Match[str]) -> str:
    body = textwrap.dedent(section[2]).strip()
    if section[1] == "Returns":
        return f"Returns: {' '.join(body.split())}\n\n"
    title = {"Args": "Arguments:", "Raises": "Raises:"}[section[1]]
    return f"{title}\n\n" + "\n".join(f"- `{name}`: {said}" for name, said in entries(body)) + "\n\n"


def entries(body: str) -> Iterator[tuple[str, str]]:
    """`name: text`, each with the further lines that belong to it."""
    for entry in re.split(r"\n(?=\S)", body):
        name, _, said = " ".join(entry.split()).partition(": ")
        yield name, said


def escaped(line: str) -> str:
    """`<` outside of code, where Markdown would take it for HTML."""
    parts = re.split(r"(`[^`]*`)", line)
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;") for part in parts)


def errors() -> str:
    """The table of errors, with what the command line exits with."""
    classes = {node.name: node for node in tree("errors").body if isinstance(node, ast.ClassDef)}
    rows = ["| error | is a | command ends with | |", "|---|---|---|---|"]
    for name, node in classes.items():
        base = ast.unparse(node.bases[0])
        said = " ".join(prose(ast.get_docstring(node) or "").split()).replace("|", "\\|")
        rows.append(f"| `{name}` | `{base}` | {exit_code(name, classes)} | {said} |")
    where = "All are in `zerosearch.errors`; `ZeroSearchError` and `EngineError` also in `zerosearch`."
    return f"{where}\n\n" + "\n".join(rows)


def exit_code(name: str, classes: dict[str, ast.ClassDef]) -> str:
    while name in classes:
        for node in classes[name].body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "exit_code":
                return ast.unparse(node.value)
        name = ast.unparse(classes[name].bases[0])
    return "1"


if __name__ == "__main__":
    main({PAGE: render}, __doc__)
