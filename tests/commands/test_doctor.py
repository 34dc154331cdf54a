"""`zerosearch doctor`: the ranges it checks, the server it asks, and the secrets it keeps."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from engines.conftest import Endpoint, Reply

from zerosearch.commands import doctor
from zerosearch.commands.doctor import Finding, disk, search_keys, server, variables, version_numbers, version_text
from zerosearch.models.adapters import shipped_adapters

ROOT = Path(__file__).parents[2]
MODELS = json.dumps({"object": "list", "data": [{"id": "qwen"}, {"id": "odd\x1b[31m"}]}).encode()


@pytest.fixture
def models_server(endpoint: Endpoint) -> Endpoint:
    endpoint.script = [Reply(body=MODELS)]
    return endpoint


def ask(url: str, key: str | None = None, timeout: float = 30.0) -> Finding:
    finding = server(url, key, timeout)
    assert "\n" not in finding.said
    assert finding.said.isprintable()
    return finding


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/"])
def test_a_server_is_asked_for_its_models(models_server: Endpoint, ending: str) -> None:
    finding = ask(models_server.url.removesuffix("/v1") + ending)
    assert finding.level == "ok"
    assert models_server.paths == ["/v1/models"]
    assert f'{models_server.url} serves qwen, odd: base_url = "{models_server.url}"' in finding.said


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, b"no", "answers HTTP 401, it wants a key: --key-env"),
        (404, b"", "answers HTTP 404"),
        (307, b"", "answers HTTP 307"),
        (503, b"busy", "answers HTTP 503"),
        (200, b"<html>", "not with a list of models"),
        (200, b'{"data": 3}', "not with a list of models"),
        (200, b"[]", "not with a list of models"),
        (200, b'{"data": []}', "serves no model"),
    ],
)
def test_a_server_that_is_not_usable_is_one_line(models_server: Endpoint, status: int, body: bytes, said: str) -> None:
    models_server.script = [Reply(status, body)]
    finding = ask(models_server.url)
    assert finding.level == "missing"
    assert finding.said.startswith(f"{models_server.url}/models answers")
    assert said in finding.said


def test_a_silent_server_is_not_waited_for(models_server: Endpoint) -> None:
    models_server.script = [Reply(hold=True)]
    assert "does not answer within 0.2 s" in ask(models_server.url, timeout=0.2).said


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host/v1", "", "http://"])
def test_what_is_no_address_is_said(url: str) -> None:
    assert "is not an http address" in ask(url).said


def test_the_key_goes_to_the_server_and_nowhere_else(models_server: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "hush")
    assert "hush" not in ask(models_server.url, "MY_KEY").said
    assert [headers["authorization"] for headers in models_server.headers] == ["Bearer hush"]
    monkeypatch.delenv("MY_KEY")
    assert "MY_KEY is not set" in ask(models_server.url, "MY_KEY").said
    assert len(models_server.headers) == 1


def test_variables_show_no_secrets() -> None:
    environment = {
        "HF_TOKEN": "hush",
        "WANDB_API_KEY": "hush",
        "MY_PASSWORD": "hush",
        "HF_ENDPOINT": "https://me:hush@mirror.example/hf?token=hush",
        "OMP_NUM_THREADS": "4",
        "HF_HUB_OFFLINE": "1",
    }
    said = {finding.name: finding.said for finding in variables(environment)}
    assert "hush" not in " ".join(said.values())
    assert said["HF_TOKEN"] == "set (not shown)"
    assert said["HF_ENDPOINT"] == "https://mirror.example/hf"
    assert said["OMP_NUM_THREADS"] == "4"
    assert "MY_PASSWORD" not in said


def test_search_engines_say_whether_their_key_is_set_and_never_the_key() -> None:
    environment = {"SERPAPI_API_KEY": "hush", "SERPER_API_KEY": " ", "SEARXNG_KEY": "hush"}
    found = [(finding.level, finding.name, finding.said) for finding in search_keys(environment)]
    assert found == [
        ("ok", "serpapi", "SERPAPI_API_KEY is set (not shown)"),
        ("info", "serper", 'SERPER_API_KEY is not set; engine.kind = "serper" needs it'),
    ]


@pytest.mark.parametrize(("value", "level"), [("ACTIVE", "warning"), ("passive", "info")])
def test_spinning_threads_are_warned_of(value: str, level: str) -> None:
    (finding,) = variables({"OMP_WAIT_POLICY": value})
    assert finding.level == level


def test_the_ranges_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ranges = {}
    for requirement in project["dependencies"] + project["optional-dependencies"]["train"]:
        name, low, high = re.fullmatch(r"([\w-]+)>=([\d.]+),<([\d.]+)(?:,!=[\d.*]+)?", requirement).groups()  # type: ignore[union-attr]
        ranges[name] = (version_numbers(low), version_numbers(high))
    assert doctor.PACKAGES.items() <= ranges.items()
    assert set(project["optional-dependencies"]["train"]) <= {
        f"{name}>={version_text(low)},<{version_text(high)}" for name, (low, high) in doctor.PACKAGES.items()
    }
    low, high = map(version_text, doctor.PYTHON)
    assert project["requires-python"] == f">={low},<{high}"
    assert set(doctor.EXTRAS) <= set(project["optional-dependencies"])


def test_a_package_out_of_range_is_a_warning_and_one_not_there_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PACKAGES", {"numpy": ((1,), (1, 1)), "no-such-package": ((1,), (2,))})
    monkeypatch.setattr(doctor, "EXTRAS", {"none": ("no_such_module",)})
    findings = list(doctor.packages())
    assert [finding.level for finding in findings] == ["warning", "missing", "info"]
    assert "is outside of the supported range: 1 or newer, below 1.1" in findings[0].said
    assert "pip install 'zerosearch-rl[none]'" in findings[2].said


@pytest.mark.parametrize(
    ("text", "numbers"), [("2.13.0+cpu", (2, 13, 0)), ("5.18.0.dev0", (5, 18, 0)), ("4", (4,)), ("dev", ())]
)
def test_versions_are_read(text: str, numbers: tuple[int, ...]) -> None:
    assert version_numbers(text) == numbers


def test_a_folder_that_cannot_be_written_to_is_missing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (finding,) = disk("cache", tmp_path / "file" / "below")
    assert finding.level == "missing"
    assert "cannot be written to" in finding.said
    (finding,) = disk("cache", tmp_path / "not" / "yet")
    assert finding.level != "missing"
    assert not (tmp_path / "not").exists()


def test_the_report_ends_with_1_only_where_something_is_missing(spawn: Any) -> None:
    result = spawn("doctor", HF_TOKEN="hush-token", OMP_WAIT_POLICY="ACTIVE", SERPER_API_KEY="hush-key")
    lacking = {"embedded:policy", "embedded:simulator"} - set(shipped_adapters())
    last = result.out.splitlines()[-1]
    assert result.err == ""
    if lacking:
        assert (result.code, last) == (1, f"missing: {', '.join(sorted(lacking))}")
    else:
        assert result.code == 0
        assert last.startswith("nothing is missing")
    assert "hush" not in result.out
    for name in ("python", "cores", "memory", "transformers", "peft", "bm25s", "smollm2-135m"):
        assert re.search(rf"^  \S+ +{name} ", result.out, re.M), name
    assert re.search(r"^  ok +serper +SERPER_API_KEY is set \(not shown\)", result.out, re.M)
    assert re.search(r"^  warning +OMP_WAIT_POLICY +ACTIVE", result.out, re.M)


def test_a_dead_server_makes_the_report_fail(zerosearch: Any) -> None:
    result = zerosearch("doctor", "--url", "http://127.0.0.1:9")
    assert result.code == 1
    assert "cannot be reached" in result.out
    assert "url" in result.out.splitlines()[-1]
