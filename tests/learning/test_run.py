"""From a configuration to a run, with a real model folder: what is shared, what is written, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from learning.toy import changed
from tiny import give_adapter, save_chain
from torch import Tensor

from zerosearch import __version__
from zerosearch.config import TrainConfig
from zerosearch.config_file import load_config
from zerosearch.episodes.questions import load_questions, questions_digest
from zerosearch.episodes.trajectory import read_trajectories
from zerosearch.errors import ConfigError, ZeroSearchError
from zerosearch.files.jsonl import read_rows, write_jsonl
from zerosearch.learning.run import assemble, set_aside
from zerosearch.learning.trainer import Trainer
from zerosearch.models.local import LocalModel
from zerosearch.parts import Parts
from zerosearch.simulator.engine import SimulatedEngine

ROWS = [{"id": f"q{i}", "question": f"What is number {i}?", "answer": f"gold{i}"} for i in range(5)]


@pytest.fixture(scope="module")
def searcher(tiny_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder, as a user has one. The model searches for nepal in every turn, whatever it is asked."""
    return save_chain(tiny_tokenizer, "\n<search>nepal</search>", tmp_path_factory.mktemp("models") / "searcher")


@pytest.fixture(scope="module")
def adapters(searcher: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two adapters for it that change it, each in its way; the first has a card."""
    folders = []
    for seed in (1, 2):
        model = LocalModel.load(str(searcher), device="cpu")
        give_adapter(model, "simulator", seed=seed, scale=1.0)
        folder = tmp_path_factory.mktemp("adapters") / f"a{seed}"
        model.save_adapter("simulator", folder)
        folders.append(folder)
    (folders[0] / "card.json").write_text(json.dumps({"top_k": 3, "style": "tuned"}))
    return folders[0], folders[1]


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    write_jsonl(path, ROWS)
    return path


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZEROSEARCH_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"id": "1", "title": "Nepal", "text": "Kathmandu is the capital of Nepal."}\n')
    return path


@pytest.fixture
def values(tmp_path: Path, searcher: Path, questions: Path) -> dict[str, Any]:
    """The smallest run: one model that is policy and simulator."""
    return {
        "folder": str(tmp_path / "runs"),
        "name": "small",
        "data": {"train": str(questions)},
        "model": {"name": str(searcher), "device": "cpu", "lora": {"rank": 2, "alpha": 4.0}},
        "protocol": {"max_searches": 1, "max_turn_tokens": 12, "max_page_tokens": 16, "max_context_tokens": 400},
        "engine": {"top_k": 1, "simulated": {"model": str(searcher), "max_tokens": 16}},
        "evaluation": {"questions": str(questions), "limit": 2},
        "algorithm": {"name": "reinforce", "baseline": "batch", "kl": "none", "entropy_coef": 0.1},
        "training": {"steps": 2, "questions_per_step": 2, "rollouts": 2, "learning_rate": 1e-2},
        "logging": {"tensorboard": False},
    }


def build(config: TrainConfig, said: list[str] | None = None, **options: Any) -> Trainer:
    starts: list[int] = []

    def sinks(folder: Path, start: int) -> Sequence[Any]:
        starts.append(start)
        return ()

    run = assemble(Parts(config), sinks=sinks, say=(said if said is not None else []).append, **options)
    assert len(starts) == 1
    return run


def weights(model: LocalModel) -> dict[str, Tensor]:
    return {key: value.detach().clone() for key, value in model.base.named_parameters()}


def speaker(run: Trainer, which: str = "engine") -> tuple[LocalModel, str | None]:
    """The model and the adapter that write the pages."""
    engine = getattr(run.inputs, which)
    assert isinstance(engine, SimulatedEngine)
    generator = engine._writer._generator  # type: ignore[attr-defined]
    return generator.worker.model, generator.adapter


# ---- a whole run


def test_a_run_is_built_from_a_model_folder_and_trains(values: dict[str, Any], questions: Path) -> None:
    config = changed(values)
    run = build(config)
    assert run.run()
    folder = config.run_folder
    assert load_config(folder / "config.toml") == config
    manifest = json.loads((folder / "manifest.json").read_text())
    digest = questions_digest(load_questions(str(questions)))
    assert manifest["train_questions"] == {"count": 5, "digest": digest}
    assert manifest["evaluation_questions"]["count"] == 2
    assert manifest["engine"] == manifest["evaluation_engine"] == f"simulated:{values['model']['name']}"
    assert manifest["seed"] == 0
    assert manifest["packages"]["zerosearch"] == __version__
    assert manifest["packages"].keys() >= {"zerosearch", "torch", "transformers", "peft"}
    rows = list(read_rows(folder / "metrics.jsonl"))
    assert len(rows) == 2
    assert all(row["searches"] == 1.0 for row in rows)
    assert all(row["sampler_gap_max"] < 1e-4 for row in rows)
    assert all(row["grad_norm"] > 0 for row in rows)
    played = list(read_trajectories(folder / "trajectories" / "step-000000.jsonl.zst"))
    assert {s.query for t in played for s in t.searches} == {"nepal"}
    assert {t.stop_reason for t in played} == {"refused_search"}


def test_policy_reference_critic_and_simulator_share_one_set_of_weights(
    values: dict[str, Any], adapters: tuple[Path, Path]
) -> None:
    config = changed(
        values, model__adapter=str(adapters[1]), engine__simulated__adapter=str(adapters[0]), algorithm__name="ppo"
    )  # fmt: skip
    run = assemble(parts := Parts(config), sinks=lambda folder, start: ())
    model, adapter = speaker(run)
    assert len(parts.models.loaded) == 1
    assert model is run.inputs.learner.policy.model
    assert sorted(model.adapters) == ["critic", "policy", "reference", "simulator"]
    assert adapter == "simulator"
    before = weights(model)
    assert run.run()
    moved = {key for key, value in weights(model).items() if not torch.equal(value, before[key])}
    assert moved
    assert all(".policy." in key or ".critic." in key for key in moved)


@pytest.mark.parametrize("with_adapter", [False, True])
def test_full_fine_tuning_does_not_train_the_simulator_along(
    values: dict[str, Any], adapters: tuple[Path, Path], with_adapter: bool
) -> None:
    changes = {"engine__simulated__adapter": str(adapters[0])} if with_adapter else {}
    run = build(changed(values, model__full=True, model__lora="none", **changes))
    policy = run.inputs.learner.policy
    simulator, _ = speaker(run)
    assert simulator is not policy.model
    before, policy_before = weights(simulator), weights(policy.model)
    assert run.run()
    assert any(not torch.equal(value, policy_before[key]) for key, value in weights(policy.model).items())
    assert all(torch.equal(value, before[key]) for key, value in weights(simulator).items())


@pytest.mark.parametrize("full", [False, True])
def test_checkpointing_reaches_policy_and_critic(values: dict[str, Any], full: bool) -> None:
    weights = {"model__full": True, "model__lora": "none"} if full else {}
    config = changed(values, **weights, model__gradient_checkpointing=True, algorithm__name="ppo")
    learner = build(config).inputs.learner
    assert learner.critic is not None
    for part in (learner.policy, learner.critic):
        part.train_mode()
        layers = [m for m in part.model.base.modules() if getattr(m, "gradient_checkpointing", False)]
        assert layers
        assert all(layer.training for layer in layers)


def test_positions_that_turn_by_length_bound_the_context(values: dict[str, Any], searcher: Path) -> None:
    """Sampled with a cache, and seen whole by the trainer, they differ by nats from there on."""
    settings = json.loads((searcher / "config.json").read_text())
    settings["rope_parameters"] = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
    folder = Path(values["folder"]).parent / "turning"
    shutil.copytree(searcher, folder)
    (folder / "config.json").write_text(json.dumps(settings | {"max_position_embeddings": 320}))
    config = changed(values, model__name=str(folder))
    with pytest.raises(ConfigError, match=r"max_context_tokens = 400: beyond 320 tokens"):
        build(config)
    assert build(changed(values, model__name=str(folder), protocol__max_context_tokens=320))


def test_full_fine_tuning_keeps_a_second_model_for_the_kl_and_only_then(values: dict[str, Any]) -> None:
    full = {"model__full": True, "model__lora": "none"}
    assert build(changed(values, **full)).inputs.learner.policy._reference_model is None
    run = build(changed(values, **full, algorithm__kl="loss", name="other"))
    policy = run.inputs.learner.policy
    assert policy._reference_model is not None
    assert policy._reference_model is not policy.model


def test_two_simulators_on_one_model_speak_with_their_own_adapters(
    values: dict[str, Any], adapters: tuple[Path, Path]
) -> None:
    judge = {"top_k": 1, "simulated": values["engine"]["simulated"] | {"adapter": str(adapters[1])}}
    run = build(changed(values, engine__simulated__adapter=str(adapters[0]), evaluation__engine=judge))
    (model, ours), (same, theirs) = speaker(run), speaker(run, "evaluation_engine")
    assert model is same
    assert ours is not None
    assert theirs is not None
    for name, folder in ((ours, adapters[0]), (theirs, adapters[1])):
        fresh = LocalModel.load(values["model"]["name"], device="cpu")
        fresh.add_adapter("x", folder)
        expected, found = fresh.adapter_state("x"), model.adapter_state(name)
        assert all(torch.equal(expected[key], found[key]) for key in expected)
    again = build(changed(values, evaluation__engine=judge, engine=judge, name="other"))
    assert speaker(again) == speaker(again, "evaluation_engine")  # one adapter, loaded once


def test_a_bm25_judge_is_opened_beside_the_simulator(values: dict[str, Any], corpus: Path) -> None:
    judge = {"kind": "bm25", "bm25": {"corpus": str(corpus)}, "top_k": 4}
    run = build(changed(values, evaluation__engine=judge, training__steps=1, evaluation__transfer_limit=2))
    assert run.inputs.evaluation_engine.name == "bm25:corpus"
    assert run.run()
    record = json.loads((run.folder / "evaluations" / "step-000001.json").read_text())
    assert (record["engine"], record["top_k"]) == ("bm25:corpus", 4)
    assert record["transfer"]["questions"] == 2


def test_it_is_said_where_an_adapter_was_trained_for_something_else(
    values: dict[str, Any], adapters: tuple[Path, Path]
) -> None:
    said: list[str] = []
    build(changed(values, engine__simulated__adapter=str(adapters[0])), said)
    tuned = f"warning: the simulator {adapters[0]} was tuned with top_k = 3, this run asks for 1"
    seen, *others = said
    assert others == [tuned]
    assert seen.startswith("warning: 2 of 2 questions of evaluation.questions are also in data.train")
    build(changed(values, engine__simulated__adapter=str(adapters[1]), name="other"), said)
    assert said == [seen, tuned, seen]  # without a card there is nothing to compare


# ---- what is refused, before anything is written

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "missing model": ({"model__name": "no/such/folder"}, "no model 'no/such/folder'"),
    "model without weights": ({"model__name": "EMPTY"}, "could not be loaded"),
    "missing simulator": ({"engine__simulated__model": "./nowhere"}, "no model './nowhere'"),
    "missing adapter": ({"model__adapter": "nowhere"}, "adapter nowhere: no such folder"),
    "empty adapter": ({"model__adapter": "EMPTY"}, "no adapter_config.json there"),
    "unknown shipped adapter": ({"model__adapter": "embedded:chef"}, "adapter embedded:chef: this release ships"),
    "missing simulator adapter": ({"engine__simulated__adapter": "nowhere"}, "adapter nowhere: no such folder"),
    "missing corpus": (
        {"engine": {"kind": "bm25", "bm25": {"corpus": "nowhere.jsonl"}}}, "nowhere.jsonl"),
    "missing judge's corpus": (
        {"evaluation__engine": {"kind": "bm25", "bm25": {"corpus": "nowhere.jsonl"}}}, "nowhere.jsonl"),
    "missing questions": ({"data__train": "nowhere.jsonl"}, "nowhere.jsonl: no such file"),
    "missing evaluation questions": ({"evaluation__questions": "nowhere.jsonl"}, "nowhere.jsonl: no such file"),
    "unknown split": ({"data__train": "factbook:best"}, "factbook:best: write factbook:train"),
    "no questions": ({"data__train": "EMPTY.jsonl"}, "EMPTY.jsonl: holds no questions"),
    "no address": ({"engine__simulated__base_url": "localhost"}, "base_url"),
    "no key": (
        {"engine__simulated__base_url": "http://127.0.0.1:9/v1", "engine__simulated__api_key_env": "ZS_UNSET"},
        "the environment variable ZS_UNSET is not set"),
    "no search key": (
        {"engine": {"kind": "serper", "serper": {"api_key_env": "ZS_UNSET"}}},
        "the environment variable ZS_UNSET is not set"),
    "no search address": (
        {"engine": {"kind": "remote", "remote": {"url": "localhost"}}}, "engine.remote.url: 'localhost' is not an"),
    "a prompt without a question": ({"protocol__prompt": "Hello"}, "protocol.prompt must hold {question}"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_missing_is_one_line_and_nothing_is_written(
    case: str, values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZEROSEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ZS_UNSET", raising=False)
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "EMPTY.jsonl").write_text("\n")
    changes, text = REFUSED[case]
    with pytest.raises(ZeroSearchError) as caught:
        build(changed(values, **changes))
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


# ---- starting over


def test_older_runs_are_numbered(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert set_aside(folder) is None
    names = []
    for number in range(3):
        folder.mkdir()
        (folder / "n").write_text(str(number))
        aside = set_aside(folder)
        assert aside is not None
        names.append((aside.name, (aside / "n").read_text()))
    assert names == [("run.old-1", "0"), ("run.old-2", "1"), ("run.old-3", "2")]
