"""What `--simulators` serves, and the configuration that asks it: without Ray, without vLLM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from zerosearch.config import TrainConfig
from zerosearch.config_file import config_from_dict, config_toml, load_config
from zerosearch.errors import ConfigError
from zerosearch.scaleout.verl.served import Served, asked_at, serve

URLS = ["http://10.0.0.7:40001/v1", "http://10.0.0.8:40002/v1"]


def config(judge: dict[str, Any] | None = None, **simulated: Any) -> TrainConfig:
    values: dict[str, Any] = {"engine": {"kind": "simulated", "simulated": {"model": "Qwen/Sim-14B", **simulated}}}
    return config_from_dict(values | ({"evaluation": {"engine": judge}} if judge else {}), "test")


@pytest.mark.parametrize(("asked", "count", "gpus"), [("1", 1, 1), ("12", 12, 1), ("4x2", 4, 2)])
def test_replicas_and_their_gpus(asked: str, count: int, gpus: int) -> None:
    served = serve(config(), asked, "--max-model-len 4096 --quantization 'fp 8'")
    words = ("--max-model-len", "4096", "--quantization", "fp 8")
    assert served == Served("Qwen/Sim-14B", "Qwen/Sim-14B", count, gpus, words)
    assert served.command("/bin/vllm", "10.0.0.7", 40001) == [
        "/bin/vllm", "serve", "Qwen/Sim-14B", "--served-model-name", "Qwen/Sim-14B", "--host", "10.0.0.7",
        "--port", "40001", "--tensor-parallel-size", str(gpus), *words,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("made", "asked", "words", "said"),
    [
        ({}, "0", "", "write how many"),
        ({}, "2x", "", "write how many"),
        ({}, "2", "'open", "--serve"),
        ({"base_url": URLS}, "2", "", "choose one"),
        ({"adapter": "embedded:simulator", "model": "smollm2-135m"}, "2", "", "merge it"),
    ],
)
def test_what_cannot_be_served_is_said(made: dict[str, Any], asked: str, words: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        serve(config(**made), asked, words)


def test_a_real_engine_has_no_simulator() -> None:
    real = config_from_dict({"engine": {"kind": "bm25", "bm25": {"corpus": "factbook"}}}, "test")
    with pytest.raises(ConfigError, match="is 'bm25'"):
        serve(real, "1")


def test_the_workers_ask_the_replicas_and_nothing_else_differs(tmp_path: Path) -> None:
    """Also where the evaluation is simulated by the same model; another one stays as it is."""
    same = {"kind": "simulated", "simulated": {"model": "Qwen/Sim-14B"}}
    before = config(judge=same)
    (tmp_path / "served.toml").write_text(config_toml(asked_at(before, URLS)))
    after = load_config(tmp_path / "served.toml")
    assert after.engine.simulated.base_url == URLS
    assert after.evaluation.engine is not None
    assert after.evaluation.engine.simulated.base_url == URLS
    simulated = after.engine.simulated.model_copy(update={"base_url": None})
    assert simulated == before.engine.simulated
    assert after.model_copy(update={"engine": before.engine, "evaluation": before.evaluation}) == before
    other = asked_at(config(judge={"kind": "simulated", "simulated": {"model": "Qwen/Other"}}), URLS)
    assert other.evaluation.engine is not None
    assert other.evaluation.engine.simulated.base_url is None
