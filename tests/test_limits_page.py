"""The page on limits names everything that is shipped or downloaded."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from zerosearch.evaluation.benchmarks import COLLECTION, SOURCES
from zerosearch.models.embedded import EMBEDDED_MODELS

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")


def test_every_package_that_an_extra_installs_has_its_licence_named() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {name: needs for name, needs in project["optional-dependencies"].items() if name != "dev"}
    for extra, needs in {"always": project["dependencies"], **extras}.items():
        (row,) = re.findall(rf"^\| .*{extra}.* \| (.+) \|$", PAGE.partition("### Python packages")[2], re.MULTILINE)
        for need in needs:
            name = re.split(r"[\[><=; ]", need)[0]
            assert name == project["name"] or re.search(rf"\b{re.escape(name)}\b", row), f"{extra}: {name}"


def test_every_model_and_collection_that_is_downloaded_is_named() -> None:
    configs = "\n".join(path.read_text() for path in (ROOT / "src/zerosearch/configs").rglob("*.toml"))
    models = set(re.findall(r'"Qwen/(Qwen2\.5-(?:Coder-)?[\d.]+B)(?:-Instruct)?"', configs))
    assert models
    for model in models:
        size = model.removeprefix("Qwen2.5-")
        assert re.search(rf"(?:Qwen2\.5-|, | and ){re.escape(size)}\b", PAGE), model
    for name in ("intfloat/e5-base-v2", COLLECTION, *EMBEDDED_MODELS["smollm2-135m"].package.split("==")[:1]):
        assert name in PAGE
    for source in SOURCES.values():
        assert source.title in PAGE.partition("own terms")[2], source.title
