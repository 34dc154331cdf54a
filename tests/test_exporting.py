"""Exports of real runs, loaded by plain transformers and peft, and what an export never does to files of others."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from learning.toy import changed
from peft import AutoPeftModelForCausalLM
from tiny import give_adapter, tiny_local_model
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from zerosearch import export, train
from zerosearch.config_file import load_config
from zerosearch.errors import CheckpointError, ConfigError, FolderError, ModelError
from zerosearch.files.jsonl import write_jsonl
from zerosearch.models.local import LocalModel

ROWS = [{"id": f"q{i}", "question": f"What is number {i}?", "answer": f"gold{i}"} for i in range(4)]
TEXT = "Where is Nepal? <think> I look it up. </think> <search> Nepal </search>"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Any) -> Path:
    """A base model with a licence, and runs of it: `lora` and `other` of an adapter each, `full` of all weights."""
    place = tmp_path_factory.mktemp("place")
    base = tiny_local_model(tiny_tokenizer)
    base.base.save_pretrained(place / "base")
    tiny_tokenizer.save_pretrained(place / "base")
    (place / "base" / "README.md").write_text("---\nlicense: mit\n---\n# base\n")
    write_jsonl(place / "questions.jsonl", ROWS)
    (place / "corpus.jsonl").write_text('{"id": "1", "title": "Nepal", "text": "Kathmandu is its capital."}\n')
    engine = {"kind": "bm25", "top_k": 1, "bm25": {"corpus": str(place / "corpus.jsonl")}}
    values: dict[str, Any] = {
        "folder": str(place / "runs"),
        "data": {"train": str(place / "questions.jsonl")},
        "protocol": {"max_searches": 1, "max_turn_tokens": 8, "max_page_tokens": 16, "max_context_tokens": 400},
        "engine": engine,
        "evaluation": {"questions": str(place / "questions.jsonl")},
        "algorithm": {"name": "reinforce", "baseline": "batch", "kl": "none", "entropy_coef": 0.5},
        "training": {"steps": 2, "questions_per_step": 2, "rollouts": 2, "learning_rate": 0.05},
        "logging": {"tensorboard": False},
    }
    model = {"name": str(place / "base"), "device": "cpu"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZEROSEARCH_CACHE", str(place / "cache"))
        adapter = {"lora": {"rank": 2, "alpha": 4.0}}
        runs = {"lora": (0, adapter), "other": (1, adapter), "full": (0, {"full": True, "lora": "none"})}
        for name, (seed, part) in runs.items():
            own = {"name": name, "seed": seed, "model": model | part}
            assert train(changed(values | own), say=lambda _: None)
    return place


@pytest.fixture
def export_run(place: Path, tmp_path: Path) -> Callable[..., Path]:
    def run(name: str, **options: Any) -> Path:
        options.setdefault("out", tmp_path / "out")
        return export(place / "runs" / name, say=lambda _: None, **options)

    return run


@torch.no_grad()
def logprobs(model: Any, folder: Path) -> Tensor:
    ids = torch.tensor([AutoTokenizer.from_pretrained(folder).encode(TEXT)])
    return torch.log_softmax(model(ids).logits.float(), -1)


def of_policy(place: Path, name: str) -> Tensor:
    """What the newest checkpoint of a run says, as the run itself would load it."""
    policy = place / "runs" / name / "checkpoints" / "step-000002" / "policy"
    if name == "full":
        return logprobs(LocalModel.load(str(policy), device="cpu").base, policy)
    model = LocalModel.load(str(place / "base"), device="cpu")
    model.add_adapter("policy", policy)
    return logprobs(model.base, place / "base")


@pytest.mark.parametrize("name", ["lora", "full"])
def test_merged_weights_are_the_policy_of_the_run(name: str, place: Path, export_run: Callable[..., Path]) -> None:
    folder = export_run(name)
    ours = logprobs(AutoModelForCausalLM.from_pretrained(folder), folder)
    assert (ours - of_policy(place, name)).abs().max() < 1e-4
    base = AutoModelForCausalLM.from_pretrained(place / "base")
    assert (ours - logprobs(base, place / "base")).abs().max() > 1e-2  # the run did change something
    assert (
        AutoTokenizer.from_pretrained(folder).chat_template
        == AutoTokenizer.from_pretrained(place / "base").chat_template
    )


def test_an_adapter_loads_by_the_place_of_its_base(place: Path, export_run: Callable[..., Path]) -> None:
    folder = export_run("lora", form="adapter")
    model = AutoPeftModelForCausalLM.from_pretrained(folder)
    assert (logprobs(model, place / "base") - of_policy(place, "lora")).abs().max() < 1e-4
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == str(place / "base")


def loaded_by_card(folder: Path, base: Path) -> Any:
    """The model that the lines of the model card make, with the reader's places put in."""
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    made: dict[str, Any] = {}
    exec(code.replace("PATH/TO/THIS/FOLDER", str(folder)).replace("PATH/TO/base", str(base)), made)
    return made["model"]


def test_the_lines_of_the_card_load_an_adapter_whose_base_has_moved(
    place: Path, tmp_path: Path, export_run: Callable[..., Path]
) -> None:
    folder, expected = export_run("lora", form="adapter"), of_policy(place, "lora")
    settings = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(settings | {"base_model_name_or_path": "/gone"}))
    moved = tmp_path / "moved"
    shutil.copytree(place / "base", moved)
    assert (logprobs(loaded_by_card(folder, moved), moved) - expected).abs().max() < 1e-4


def test_a_merged_model_has_the_number_format_of_its_base_and_keeps_small_updates(
    tmp_path: Path, tiny_tokenizer: Any
) -> None:
    base = tiny_local_model(tiny_tokenizer)
    base.base.to(torch.bfloat16).save_pretrained(tmp_path / "base")
    tiny_tokenizer.save_pretrained(tmp_path / "base")
    model = LocalModel.load(str(tmp_path / "base"), dtype="float32", device="cpu")
    give_adapter(model, "policy", scale=0.02)  # far below half a step of bfloat16 at most weights
    model.save_adapter("policy", tmp_path / "small")
    config = json.loads((tmp_path / "small" / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = str(tmp_path / "base")
    (tmp_path / "small" / "adapter_config.json").write_text(json.dumps(config))
    folder = export(tmp_path / "small", tmp_path / "out", form="merged", say=lambda _: None)
    merged = AutoModelForCausalLM.from_pretrained(folder)
    assert merged.dtype == torch.bfloat16
    key = "model.layers.0.mlp.up_proj.weight"
    before = model.base.get_submodule("model.layers.0.mlp.up_proj").get_base_layer().weight.detach()
    delta = model.base.get_submodule("model.layers.0.mlp.up_proj").get_delta_weight("policy").detach()
    kept = ((merged.state_dict()[key].float() - before) * delta).sum() / (delta * delta).sum()
    assert 0.8 < kept < 1.2  # rounded to the nearest it would be far from 1


def test_the_card_says_what_the_run_was_and_no_folder_of_this_machine(
    place: Path, tmp_path: Path, export_run: Callable[..., Path]
) -> None:
    for form in ("adapter", "gguf"):
        assert str(place) not in (export_run("lora", form=form, out=tmp_path / form) / "README.md").read_text()
    folder = export_run("lora")
    card = (folder / "README.md").read_text()
    for said in (
        "license: mit",
        "library_name: transformers",
        "questions.jsonl, 4 questions",
        "bm25:",
        "2 of 2 steps",
        "| before training | 0.000 [0.000, ",
        "| after 2 steps | ",
        "Google by SerpAPI",
        "zerosearch train zerosearch.toml",
        "zerosearch export runs/lora --form merged",
        "The weights: mit",
    ):
        assert said in card, said
    assert str(place) not in card
    assert (folder / "zerosearch.toml").is_file()


@pytest.mark.parametrize(("name", "form"), [("lora", "adapter"), ("lora", "merged"), ("full", "merged")])
def test_the_command_that_the_card_tells_asks_the_export(
    name: str, form: str, place: Path, export_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = export_run(name, form=form)
    (told,) = re.findall(r"^    zerosearch (ask .*)$", (folder / "README.md").read_text(), re.MULTILINE)
    monkeypatch.setenv("ZEROSEARCH_CACHE", str(place / "cache"))
    command = [sys.executable, "-m", "zerosearch", *told.split(), "--json", "Where is Nepal?"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert json.loads(done.stdout)["question"] == "Where is Nepal?"


def test_of_several_runs_the_mean_of_their_weights_is_written(place: Path, tmp_path: Path) -> None:
    runs = [place / "runs" / name for name in ("lora", "other")]
    alone = [export(run, tmp_path / run.name, form="merged", say=lambda _: None) for run in runs]
    weights = [AutoModelForCausalLM.from_pretrained(folder).state_dict() for folder in alone]
    key = "model.layers.0.mlp.up_proj.weight"
    assert not torch.equal(weights[0][key], weights[1][key])
    merged = export(runs, tmp_path / "merged", form="merged", say=lambda _: None)
    for key, weight in AutoModelForCausalLM.from_pretrained(merged).state_dict().items():
        torch.testing.assert_close(weight, (weights[0][key] + weights[1][key]) / 2, atol=1e-6, rtol=1e-5)
    folder = export(runs, tmp_path / "adapter", form="adapter", say=lambda _: None)
    model = AutoPeftModelForCausalLM.from_pretrained(folder)
    ours = logprobs(AutoModelForCausalLM.from_pretrained(merged), place / "base")
    torch.testing.assert_close(logprobs(model, place / "base"), ours, atol=1e-4, rtol=0)
    card = (folder / "README.md").read_text()
    for said in (
        "the mean of the weights of 2 policies",
        "| | lora | other |",
        "| seed | 0 | 1 |",
        "`zerosearch.toml` is the configuration of lora.",
        "zerosearch export runs/lora runs/other --form adapter",
        "It was taught with this prompt",
    ):
        assert said in card, said
    assert str(place) not in card
    again = export([folder], tmp_path / "copy", form="adapter", say=lambda _: None)
    assert (again / "adapter_model.safetensors").read_bytes() == (folder / "adapter_model.safetensors").read_bytes()


def test_the_mean_of_exported_adapters_is_asked_as_they_were_taught(place: Path, tmp_path: Path) -> None:
    runs = [place / "runs" / name for name in ("lora", "other")]
    parts = [export(run, tmp_path / run.name, form="adapter", say=lambda _: None) for run in runs]
    mean = export(parts, tmp_path / "mean", form="adapter", say=lambda _: None)
    assert load_config(mean / "zerosearch.toml").protocol == load_config(runs[0] / "config.toml").protocol
    card = (mean / "README.md").read_text()
    assert "It was taught with this prompt" in card
    assert "zerosearch ask zerosearch.toml --set model.adapter=." in card
    (parts[1] / "zerosearch.toml").unlink()  # of this one nobody knows
    bare = export(parts, tmp_path / "bare", form="adapter", say=lambda _: None)
    assert not (bare / "zerosearch.toml").exists()


def test_runs_without_a_mean_are_refused(place: Path, tmp_path: Path) -> None:
    runs = place / "runs"
    for others, said in (
        ([runs / "full"], "full trained all weights: only the mean of adapters is made"),
        ([runs / "lora"], "one of them is named twice"),
        (["embedded:policy"], "the base of lora is .*, of .*policy smollm2-135m"),
    ):
        with pytest.raises(ConfigError, match=said):
            export([runs / "lora", *others], tmp_path / "out", say=lambda _: None)
    assert not (tmp_path / "out").exists()


def test_files_of_others_and_an_edited_card_are_never_overwritten(
    place: Path, tmp_path: Path, export_run: Callable[..., Path]
) -> None:
    shutil.copytree(place / "base", tmp_path / "model")  # nothing but names that an export has too
    with pytest.raises(FolderError, match="holds files that this command did not make"):
        export_run("lora", out=tmp_path / "model")
    folder = export_run("lora")
    export_run("lora")  # its own is replaced
    (folder / "README.md").write_text("mine")
    with pytest.raises(FolderError, match=r"README\.md was edited"):
        export_run("lora")
    assert (folder / "README.md").read_text() == "mine"
    (tmp_path / "mixed").mkdir()
    (tmp_path / "mixed" / "notes.txt").write_text("mine")
    with pytest.raises(FolderError, match=r"holds notes\.txt"):
        export_run("lora", out=tmp_path / "mixed")


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"form": "adapter", "name": "full"}, ConfigError, "has no adapter; use --form merged"),
        ({"form": "onnx"}, ConfigError, "onnx: is none of adapter, merged, gguf, gguf-q8_0"),
        ({"form": "adapter", "push": "me/mine"}, ConfigError, "is on no hub, and peft would not find it"),
        ({"step": 7}, CheckpointError, r"no checkpoint of step 7 to export; it has those of steps .*2"),
        ({"name": "none"}, ConfigError, "neither the folder of a run"),
    ],
)
def test_what_cannot_be_exported_is_one_line_and_nothing_is_written(
    options: dict[str, Any], error: type[Exception], said: str, export_run: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(error, match=said):
        export_run(options.pop("name", "lora"), **options)
    assert not (tmp_path / "out").exists()


def test_a_gguf_that_nobody_could_read_rightly_is_refused_by_name(
    export_run: Callable[..., Path], tmp_path: Path, place: Path
) -> None:
    config = json.loads((place / "base" / "config.json").read_text())
    base = tmp_path / "scaled"
    shutil.copytree(place / "base", base)
    rope = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}
    (base / "config.json").write_text(json.dumps(config | {"rope_parameters": rope}))
    adapter = export_run("lora", form="adapter", out=tmp_path / "adapter")
    settings = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(settings | {"base_model_name_or_path": str(base)}))
    with pytest.raises(ModelError, match="rotary positions of type linear"):
        export(adapter, tmp_path / "out", form="gguf", say=lambda _: None)
    assert not (tmp_path / "out").exists()


def test_a_simulator_is_not_called_a_policy(place: Path, tmp_path: Path) -> None:
    simulator = tmp_path / "pages"
    shutil.copytree(place / "runs" / "lora" / "checkpoints" / "step-000002" / "policy", simulator)
    (simulator / "card.json").write_text('{"role": "simulator", "style": "tuned", "command": "zerosearch tune x"}')
    card = (export(simulator, tmp_path / "out", form="adapter", say=lambda _: None) / "README.md").read_text()
    assert "taught to write the result pages of a search engine" in card
    told = [f"model={place / 'base'}", "adapter=.", "style=tuned"]
    command = " ".join(f"--set engine.simulated.{setting}" for setting in told)
    assert f"    zerosearch fidelity CONFIG {command}\n" in card
    assert json.loads((tmp_path / "out" / "card.json").read_text())["role"] == "simulator"


@pytest.mark.model
def test_an_adapter_of_the_embedded_model_loads_on_any_machine(tmp_path: Path) -> None:
    folder = export("embedded:policy", tmp_path / "out", form="adapter", say=lambda _: None)
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "smollm2-135m"
    assert loaded_by_card(folder, tmp_path).peft_config["default"].r == 8


@pytest.mark.model
def test_the_policy_that_ships_is_exported_whole(tmp_path: Path) -> None:
    folder = export("embedded:policy", tmp_path / "out", say=lambda _: None)
    model = LocalModel.load("smollm2-135m", dtype="float32", device="cpu")
    from zerosearch.models.adapters import resolve_adapter

    model.add_adapter("policy", resolve_adapter("embedded:policy"))
    difference = logprobs(AutoModelForCausalLM.from_pretrained(folder), folder) - logprobs(model.base, folder)
    assert difference.abs().max() < 1e-4
    assert "license: apache-2.0" in (folder / "README.md").read_text()
