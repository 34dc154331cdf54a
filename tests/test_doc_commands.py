"""Every command that the documentation shows is one that exists, with these options, settings and names."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from doc_checks import problem
from doc_commands import ROOT, configurations, pages, shown_in_configuration, shown_in_page

FILES = [*pages(), *configurations()]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_the_commands_of_a_page_parse(file: Path) -> None:
    shown = shown_in_page(file) if file.suffix == ".md" else shown_in_configuration(file)
    wrong = [f"{one.place}: {one.text}: {said}" for one in shown if (said := problem(one)) is not None]
    assert wrong == []


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_the_extras_that_a_page_installs_exist(page: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = re.findall(r"(?:zerosearch-rl|['\"/ ]\.)\[([\w,-]+)\]", page.read_text(encoding="utf-8"))
    assert {extra for names in named for extra in names.split(",")} <= set(project["optional-dependencies"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("    zerosearch train demo --stepz 3", "No such option: --stepz"),
        ("    zerosearch train demo --set training.stepz=3", "unknown setting training.stepz"),
        ("    zerosearch train demo --set training.steps=many", "training.steps"),
        ("    zerosearch check demos", "no configuration that ships"),
        ("    zerosearch train recipes/none.toml --set training.stepz=3", "unknown setting training.stepz"),
        ("    zerosearch trian demo", "no such command: trian"),
        ("    zerosearch label", "Missing argument 'CONFIG'"),
        ("    zerosearch show runs/demo --worst none", "Invalid value for '--worst'"),
        ("    zerosearch evaluate demo --methods rag,rga", "'rga' is none of direct"),
        ("    zerosearch evaluate demo --benchmarks nq,hotpot-qa-2", "no such benchmark: hotpot-qa-2"),
        ("    zerosearch ask demo What is it?", "a question of several words goes in quotes"),
        ("    zerosearch doctor --config demo --gpu 3090", "--gpu 3090 is not known"),
        ("    zerosearch init mine.toml --from nothing", "no configuration that ships"),
        ("    SET=1 zerosearch train \\\n        demo --fast", "No such option: --fast"),
        ("    cd x && zerosearch train demo --fast > log", "No such option: --fast"),
        ("```\n$ zerosearch train demo --fast\n```", "No such option: --fast"),
        ("The option `zerosearch train --fast` is invented.", "No such option: --fast"),
        ("    make dmeo", "the Makefile has no dmeo"),
        ("    make demo PYTHN=python3", "the Makefile has no PYTHN=python3"),
        ("    python -m recipes.nothing", "no module recipes.nothing"),
        ("    python benchmarks/nothing.py", "no such script: benchmarks/nothing.py"),
        ("    python benchmarks/pages.py --nothing", "benchmarks/pages.py has no option --nothing"),
        ("    accelerate launch --num_gpus_all 2 -m zerosearch train demo", "accelerate"),
        ("    accelerate launch --num_processes 2 -m zerosearch train demo --fast", "No such option: --fast"),
        ("    torchrun --nproc_per_node 2 -m zerosearch train demo --fast", "No such option: --fast"),
    ],
)
def test_what_is_invented_is_found(tmp_path: Path, text: str, said: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# A page\n\n{text}\n\nThe end.\n")
    problems = [problem(one) for one in shown_in_page(page)]
    assert len(problems) == 1
    assert said in str(problems[0])


def test_a_mention_needs_no_arguments_and_output_is_no_command(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "`zerosearch label` and `zerosearch train --seeds`, `zerosearch ask [QUESTION] [--run RUN]`.\n\n"
        "    train     what zerosearch train prints\n    zerosearch-rl 0.2.0\n\n"
        "```python\nzerosearch = 1\n```\n"
    )
    shown = shown_in_page(page)
    assert [one.text for one in shown] == [
        "zerosearch label",
        "zerosearch train --seeds",
        "zerosearch ask QUESTION --run RUN",
    ]
    assert [problem(one) for one in shown] == [None, None, None]
