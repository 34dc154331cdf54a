"""Settings in and out: shipped files parse, TOML gives the same settings back, what is wrong is named in one line."""

from __future__ import annotations

import math
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from zerosearch.config import TrainConfig
from zerosearch.config_file import config_from_dict, config_toml, load_config
from zerosearch.engines.config import KINDS, SimulatedConfig
from zerosearch.errors import ConfigError
from zerosearch.evaluation.benchmarks import SOURCES
from zerosearch.learning.estimate import memory, plan_of
from zerosearch.models.cards import CARDS, GIB
from zerosearch.models.config import Section
from zerosearch.models.shapes import config_named, shape_of

CONFIGS = sorted((Path(__file__).parents[1] / "src" / "zerosearch" / "configs").glob("*.toml"))
FULL = {"full": True, "lora": "none"}


def again(config: TrainConfig) -> TrainConfig:
    return config_from_dict(tomllib.loads(config_toml(config)), "again")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_shipped_config_parses_under_its_own_name(path: Path) -> None:
    config = load_config(path)
    assert config.name == path.stem
    assert again(config) == config


def test_the_paper_config_is_the_papers_setting() -> None:
    """ZeroSearch, arXiv 2505.04588; the REINFORCE row of Qwen2.5-3B."""
    config = load_config(next(path for path in CONFIGS if path.stem == "paper-qwen2.5-3b"))
    training, algorithm, simulator = config.training, config.algorithm, config.engine.simulated
    assert (training.questions_per_step, training.rollouts, training.steps) == (64, 5, 200)
    assert (training.learning_rate, algorithm.critic_learning_rate) == (1e-6, 1e-5)
    assert (training.temperature, training.top_p, training.top_k, training.max_grad_norm) == (1.0, 1.0, 0, 1.0)
    assert (config.protocol.max_searches, config.protocol.max_turn_tokens, config.engine.top_k) == (5, 500, 5)
    assert (algorithm.name, algorithm.clip_low, algorithm.clip_high) == ("reinforce", 0.2, 0.2)
    assert (algorithm.kl_coef, algorithm.entropy_coef) == (0.001, 0.0)
    assert (config.reward.name, config.reward.format) == ("f1", 0.0)
    curriculum = config.curriculum.build()
    assert [curriculum.noise(step, 200) for step in (0, 200)] == [0.0, 0.25]
    assert (curriculum.kind, curriculum.base) == ("exponential", 4.0)
    assert (simulator.base_url, simulator.temperature, simulator.max_tokens) == ("http://localhost:8000/v1", 0.8, 600)
    assert config.model.full
    assert config.model.lora is None


def test_the_paper_config_is_judged_by_google_on_seven_benchmarks() -> None:
    judged = load_config("paper-qwen2.5-3b").evaluation
    assert judged.benchmarks == list(SOURCES)
    assert judged.benchmark_limit == 500
    assert judged.engine is not None
    assert (judged.engine.kind, judged.engine.top_k) == ("serper", 5)


ONE_GPU = {"one-gpu-1.5b": "qwen2.5-1.5b", "one-gpu-3b": "qwen2.5-3b", "one-gpu-7b": "qwen2.5-7b"}


def test_the_configs_of_one_gpu_differ_in_size_alone() -> None:
    first, *others = (load_config(name) for name in ONE_GPU)
    for other in others:
        for section in ("data", "protocol", "evaluation", "reward", "algorithm", "logging"):
            assert getattr(other, section) == getattr(first, section)
        assert other.engine.simulated.model == other.model.name


@pytest.mark.parametrize("name", ONE_GPU)
def test_a_config_of_one_gpu_fits_the_cards_that_its_comment_names(name: str) -> None:
    text = (CONFIGS[0].parent / f"{name}.toml").read_text()
    named = next(line for line in text.splitlines() if line.startswith("# Fits a GPU"))
    claims = {card: [] for card in re.search(r"\((.*?)\)", named)[1].split(", ")}  # type: ignore[index]
    claims |= {line.split()[1]: line.split()[3::2] for line in text.splitlines() if "--set training.micro" in line}
    shape = shape_of(config_named(ONE_GPU[name]), name)

    def needed(room: float, changes: list[str]) -> float:
        plan = plan_of(load_config(name, [*changes, "model.sampler=native"]), gpu=True, parameters=shape.parameters)
        return sum(memory(shape, plan, room).values())

    assert len(claims) >= 4
    for card, changes in claims.items():
        room = next(known.gib for known in CARDS if known.name == card) * GIB
        assert needed(room, changes) <= room, card
        assert not changes or needed(room, []) > room, card
    said = float(re.search(r"(\d+) GiB", named)[1])  # type: ignore[index]
    assert 0 <= said - needed(79 * GIB, []) / GIB < 1


def test_the_gpu_demo_differs_from_the_demo_in_size_only() -> None:
    small, large = (load_config(next(p for p in CONFIGS if p.stem == stem)) for stem in ("demo", "demo-gpu"))
    for section in ("data", "protocol", "engine", "reward", "logging"):
        assert getattr(small, section) == getattr(large, section)
    assert small.evaluation.engine == large.evaluation.engine
    assert small.evaluation.questions == large.evaluation.questions
    assert large.training.steps * large.training.questions_per_step * large.training.rollouts == 16_000


VALID: list[dict[str, Any]] = [
    {},
    {"model": FULL},
    {"model": {"full": True, "lora": "none", "dtype": "bfloat16"}, "algorithm": {"kl": "none"}},
    {"evaluation": {"engine": {"kind": "bm25", "bm25": {"corpus": "a\\b"}, "snippet_words": 15}, "limit": "none"}},
    {"engine": {"kind": "bm25", "bm25": {"corpus": "a.jsonl"}, "cache": "pages.sqlite"}},
    {"engine": {"kind": "recorded", "recorded": {"file": "pages.sqlite", "match": "nearest"}, "snippet_words": 20}},
    {"engine": {"kind": "recorded", "recorded": {"file": "a.jsonl", "match": "nearest", "min_overlap": 0.7}}},
    {"engine": {"kind": "dense", "dense": {"corpus": "a", "encoder": "b", "query_prefix": "query: "}, "cache": "c"}},
    {"algorithm": {"value_clip": "none", "correct_sampler": "none", "dual_clip": 3}, "data": {"limit": 1}},
    {"algorithm": {"kl": "reward", "kl_estimator": "k1"}},
    {"algorithm": {"kl": "loss", "kl_estimator": "k1", "kl_coef": 0}},
    {"algorithm": {"name": "ppo"}, "training": {"rollouts": 1}},
    {"algorithm": {"name": "reinforce", "baseline": "batch"}, "training": {"rollouts": 1}},
    {"algorithm": {"name": "grpo", "scale": "batch"}, "training": {"rollouts": 1}},
    {"engine": {"deadline_seconds": "none", "simulated": {"base_url": "http://h/v1", "api_key_env": "KEY"}}},
    {"engine": {"kind": "serpapi", "serpapi": {"price_usd": 0.015, "requests_per_second": 2.5, "max_connections": 4}}},
    {"engine": {"kind": "serper", "serper": {"api_key_env": "KEY", "url": "http://h/s"}, "deadline_seconds": 9}},
    {"engine": {"kind": "searxng", "searxng": {"url": "http://h"}}},
    {"evaluation": {"engine": {"kind": "remote", "remote": {"url": "http://h"}}}},
    {"engine": {"kind": "remote", "remote": {"url": "http://h/retrieve", "price_usd": 0}, "snippet_words": 20}},
    {"engine": {"kind": "serpapi", "simulated": {"adapter": "a"}}},
    {"engine": {"simulated": {"plan_temperature": "none"}}},
    {"engine": {"simulated": {"plan_temperature": 0.0, "style": "tuned"}}},
    {"protocol": {"prompt": 'Say "{question}"\n\tnow\\ é 😀'}},
    {"curriculum": {"end": 0.9}, "engine": {"kind": "bm25", "bm25": {"corpus": "c"}}},
]


def test_the_tables_of_other_kinds_are_kept_and_not_used() -> None:
    """So that `--set engine.kind=bm25` is enough where a file describes several engines."""
    values = {"simulated": {"model": "m"}, "bm25": {"corpus": "c"}, "serper": {"price_usd": 1.0}}
    for kind in ("simulated", "bm25", "serper"):
        config = config_from_dict({"engine": {"kind": kind, **values}}, "test")
        assert again(config) == config
        assert {name for name in config.engine.used() if name in KINDS} == {kind}
        assert "[engine.dense]" not in config_toml(config)


@pytest.mark.parametrize("values", VALID, ids=str)
def test_what_fits_together_is_taken_and_written_out_again(values: dict[str, Any]) -> None:
    config = config_from_dict(values, "test")
    assert again(config) == config


def test_float16_is_for_adapters_and_refused_for_all_weights() -> None:
    config = config_from_dict({"model": {"dtype": "float16"}}, "test")
    config.model.check_trainable()
    assert again(config) == config
    full = config_from_dict({"model": {"dtype": "float16", "full": True, "lora": "none"}}, "test")
    with pytest.raises(ConfigError, match=r"model\.full trains all weights and keeps them in float32") as caught:
        full.model.check_trainable()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "rates"),
    [({}, (1e-4, 1e-4)), ({"full": True, "lora": "none"}, (1e-6, 1e-5))],
    ids=["adapter", "all weights"],
)
def test_learning_rates_follow_what_is_trained_and_stand_in_the_runs_settings(
    model: dict[str, Any], rates: tuple[float, float]
) -> None:
    """The paper's 1e-6 is one for all weights: an adapter learns nothing at it."""
    config = config_from_dict({"model": model, "algorithm": {"name": "ppo"}}, "test")
    assert (config.training.learning_rate, config.algorithm.critic_learning_rate) == rates
    assert f"learning_rate = {rates[0]!r}" in config_toml(config)
    assert again(config) == config
    given = {"model": model, "training": {"learning_rate": 0.5}, "algorithm": {"critic_learning_rate": 0.25}}
    config = config_from_dict(given, "test")
    assert (config.training.learning_rate, config.algorithm.critic_learning_rate) == (0.5, 0.25)


# TOML holds no lone surrogates, and pydantic takes none either
texts = st.text(st.characters(blacklist_categories=("Cs",)), max_size=30).filter(str.strip)
positive = st.floats(min_value=1e-300, max_value=1e300)


# what can be printed, which a run's name must be
letters = st.characters(categories=("L", "M", "N", "P", "S"), include_characters=" ", exclude_characters="/\\")
names = st.text(letters, min_size=1, max_size=30)


@given(names.filter(lambda name: name not in (".", "..")), texts, positive, positive, st.integers(1, 2**63))
def test_any_text_and_number_survives_toml(name: str, prompt: str, rate: float, alpha: float, limit: int) -> None:
    values = {
        "name": name,
        "protocol": {"prompt": prompt},
        "model": {"lora": {"alpha": alpha}},
        "training": {"learning_rate": rate},
        "data": {"limit": limit},
    }
    config = config_from_dict(values, "test")
    assert again(config) == config
    assert again(config).name == name


def test_the_written_file_names_every_setting() -> None:
    """So that a run's config.toml says everything, whatever later releases have as their defaults."""

    def count(section: Section) -> int:
        """Settings in use that hold something, or that hold nothing where they would by default."""
        total = 0
        for key in section.used():
            field, value = type(section).model_fields[key], getattr(section, key)
            if isinstance(value, Section):
                total += count(value)
            else:
                total += value is not None or field.get_default(call_default_factory=True) is not None
        return total

    engine = {"kind": "bm25", "bm25": {"corpus": "x"}}
    config = config_from_dict({"evaluation": {"engine": engine}, "algorithm": {"value_clip": "none"}}, "test")
    lines = [line for line in config_toml(config).splitlines() if " = " in line]
    assert len(lines) == count(config) > 80
    assert 'value_clip = "none"' in lines


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"stepz": 3}, "unknown setting stepz"),
        ({"training": {"stepz": 3}}, "unknown setting training.stepz"),
        ({"engine": {"simulated": {"modle": "x"}}}, "unknown setting engine.simulated.modle"),
        ({"training": {"steps": 0}}, "training.steps: Input should be greater than or equal to 1 (found 0)"),
        ({"folder": ""}, "folder: must not be empty"),
        ({"engine": {"bm25": {"corpus": " "}}}, "engine.bm25.corpus: must not be empty"),
        ({"training": 3}, "training: Input should be a valid dictionary"),
        ({"training": {"top_p": 0}}, "training.top_p: Input should be greater than 0 (found 0)"),
        ({"algorithm": {"name": "dpo"}}, "algorithm.name: 'dpo' is none of reinforce, grpo, ppo, and no"),
        ({"reward": {"name": "bleu"}}, "reward.name: 'bleu' is none of f1, em, cover_em, and no package.module:Name"),
        ({"curriculum": {"end": 1.5}}, "curriculum.end: Input should be less than or equal to 1 (found 1.5)"),
        ({"curriculum": {"base": math.inf}}, "curriculum.base: Input should be a finite number"),
        ({"curriculum": {"kind": "exponentail"}}, "curriculum.kind: Input should be 'exponential'"),
        ({"engine": {"kind": "bm25"}}, 'engine: kind bm25 needs bm25.corpus, such as "factbook"'),
        ({"evaluation": {"engine": {"kind": "bm25"}}}, "evaluation.engine: kind bm25 needs bm25.corpus"),
        ({"evaluation": {"engine": {"budget_usd": 1}}}, "a run has one budget, its evaluations included"),
        ({"engine": {"budget_usd": 0}}, "engine.budget_usd"),
        ({"engine": {"snippet_words": 9}}, "engine: snippet_words is set, but a simulated engine"),
        ({"engine": {"cache": "c"}}, "engine: cache is set, but a simulated page depends on question, quality and"),
        (
            {"engine": {"kind": "recorded", "recorded": {"file": "r"}, "cache": "c"}},
            "engine: cache is set, but a recorded engine answers from a file already",
        ),
        ({"engine": {"kind": "dense", "dense": {"encoder": "e"}}}, "engine: kind dense needs dense.corpus"),
        ({"engine": {"kind": "dense", "dense": {"corpus": "c"}}}, "engine: kind dense needs dense.encoder, such as"),
        ({"engine": {"kind": "recorded"}}, "engine: kind recorded needs recorded.file"),
        ({"engine": {"kind": "remote"}}, 'kind remote needs remote.url, such as "http://localhost:8000/retrieve"'),
        (
            {"engine": {"kind": "recorded", "recorded": {"file": "r", "min_overlap": 0.9}}},
            "engine.recorded: min_overlap is set, but only match = 'nearest' uses it",
        ),
        ({"engine": {"corpus": "c"}}, "setting engine.corpus; did you mean engine.bm25.corpus or engine.dense.corpus?"),
        ({"engine": {"simulator": {}}}, "unknown setting engine.simulator; did you mean engine.simulated?"),
        ({"evaluation": {"engine": {"k1": 1}}}, "evaluation.engine.k1; did you mean evaluation.engine.bm25.k1?"),
        ({"engine": {"bm25": {"k": 1}}}, "unknown setting engine.bm25.k; did you mean engine.bm25.k1?"),
        ({"engine": {"simulated": {"base_url": "http://h/v1", "adapter": "a"}}}, "engine.simulated: adapter cannot"),
        ({"engine": {"simulated": {"plan_temperature": 0.0}}}, "plan_temperature is set, but only a tuned simulator"),
        ({"engine": {"kind": "google"}}, "engine.kind: 'google' is none of simulated, bm25, dense, recorded, serpapi"),
        ({"engine": {"kind": "bm52"}}, "and no package.module:Name of your own; did you mean bm25?"),
        ({"engine": {"serper": {"requests_per_second": 0}}}, "engine.serper.requests_per_second: Input should be"),
        ({"training": {"rollouts": 1}}, "training.rollouts must be 2 or more"),
        ({"algorithm": {"kl_estimator": "k1"}}, "algorithm.kl = 'loss' with kl_estimator = 'k1' has no gradient"),
        ({"algorithm": {"kl": "reward"}}, "algorithm.kl = 'reward' with 'k3' hardly pulls at all"),
        ({"model": {"api_key_env": "K"}}, "model: api_key_env is set, but only a model behind a base_url uses it"),
        ({"model": {"endpoint": "completions"}}, "model: endpoint is set, but only a model behind a base_url uses it"),
        ({"model": {"base_url": "http://h/v1", "adapter": "a"}}, "model: adapter cannot be used with base_url"),
        ({"engine": {"simulated": {"api_key_env": "KEY"}}}, "engine.simulated: api_key_env is set, but only a model"),
        ({"label": {"judge": {"model": "m", "request": {"drop": ["seed"]}}}}, "label.judge: request is set, but only"),
        ({"model": {"base_url": "http://h/v1"}, "protocol": {"chat": "never"}}, "protocol.chat = 'never' contradicts"),
        (
            {"model": {"base_url": "http://h/v1", "endpoint": "completions"}, "protocol": {"chat": "always"}},
            "protocol.chat = 'always' contradicts model.endpoint = 'completions'",
        ),
        ({"model": {"full": True}}, "choose one: model.full = true with model.lora = 'none'"),
        ({"model": {"lora": "none"}}, "choose one: model.full = true with model.lora = 'none'"),
        ({"model": {**FULL, "adapter": "a"}}, "model.adapter is a LoRA adapter and cannot be trained with model.full"),
        ({"algorithm": {"updates_per_batch": 321}}, "algorithm.updates_per_batch is larger than the number of"),
        ({"protocol": {"max_context_tokens": 64, "answer_reserve_tokens": 64}}, "protocol.answer_reserve_tokens"),
        (
            {"curriculum": {"pages": "whole", "noise_kinds": ["plain"]}, "fidelity": {"reader": {}}},
            "only older versions had curriculum.pages, curriculum.noise_kinds, fidelity.reader: leave them out",
        ),
        (
            {"evaluation": {"engine": {"recorded": {"on_miss": "empty"}}}},
            "only older versions had evaluation.engine.recorded.on_miss: leave it out",
        ),
    ],
    ids=str,
)
def test_what_is_wrong_is_named_in_one_line(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_from_dict(values, "a.toml")
    assert str(caught.value).startswith("a.toml: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_folder_may_be_in_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_config(None, ["folder=~/runs", "name=r"]).run_folder == tmp_path / "runs" / "r"


@pytest.mark.parametrize("folder", ["data", "Users"])
def test_a_path_of_windows_is_told_how_to_be_written(tmp_path: Path, folder: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text('[data]\ntrain = "C:\\' + folder + '\\q.jsonl"\n')
    with pytest.raises(ConfigError, match="write paths with / or in single quotes"):
        load_config(path)


def test_each_wrong_setting_has_a_line_and_five_are_named() -> None:
    wrong = {"stepz": 1, "seed": -1, "training": {"steps": 0}, "model": {"request": {"drop": [3, 4]}}}
    with pytest.raises(ConfigError) as caught:
        config_from_dict({**wrong, "engine": {"simulated": {"base_url": 3}}}, "x", ["seed"])
    assert sorted(str(caught.value).splitlines()) == [
        "--set: seed: Input should be greater than or equal to 0 (found -1)",
        "x: engine.simulated.base_url: Input should be a valid string; put it in quotes",
        "x: model.request.drop.0: Input should be a valid string (found 3); put it in quotes",
        "x: training.steps: Input should be greater than or equal to 1 (found 0)",
        "x: unknown setting stepz; did you mean training.steps?",
    ]
    with pytest.raises(ConfigError) as caught:
        config_from_dict({letter: 1 for letter in "abcdefg"}, "x")
    assert [line[:17] for line in str(caught.value).splitlines()] == ["x: unknown settin"] * 5 + ["and 2 more"]


def test_of_several_types_the_nearest_one_is_asked_for() -> None:
    for address, said in (
        ("h", "base_url: 'h' is not"), (["h"], "base_url.0: 'h' is not"), ([3], "base_url.0: Input"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=f"^x: engine.simulated.{said}"):
            config_from_dict({"engine": {"simulated": {"base_url": address}}}, "x")


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("training.steps=20", ("training", "steps"), 20),
        (" training.learning_rate = 1e-4 ", ("training", "learning_rate"), 1e-4),
        ("name=my run", ("name",), "my run"),
        ('name="quoted"', ("name",), "quoted"),
        ("data.train=factbook:train:two-hop", ("data", "train"), "factbook:train:two-hop"),
        ("protocol.prompt=a=b {question}", ("protocol", "prompt"), "a=b {question}"),
        ("algorithm.whiten=true", ("algorithm", "whiten"), True),
        ("algorithm.value_clip=none", ("algorithm", "value_clip"), None),
        ("name=2026-11-25", ("name",), "2026-11-25"),  # what is text is taken as it stands
        ("name=123456", ("name",), "123456"),
        ("name=1e5", ("name",), "1e5"),
        ("name=true", ("name",), "true"),
        ("engine.simulated.adapter=7", ("engine", "simulated", "adapter"), "7"),
        ("model.device=0", ("model", "device"), "0"),
        ("engine.simulated.max_tokens=32", ("engine", "simulated", "max_tokens"), 32),
    ],
)
def test_an_override_is_toml_or_a_bare_word(override: str, key: tuple[str, ...], value: Any) -> None:
    found: Any = load_config(None, [override])
    for part in key:
        found = getattr(found, part)
    assert found == value
    assert type(found) is type(value)


def test_overrides_win_over_the_file_and_the_last_one_wins(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("name = 'file'\n[training]\nsteps = 3\nrollouts = 4\n")
    config = load_config(path, ["training.steps=5", "training.steps=6"])
    assert (config.name, config.training.steps, config.training.rollouts) == ("file", 6, 4)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("steps", "--set steps: write section.key=value"),
        ("=3", "--set =3: write section.key=value"),
        ("training.=3", "--set training.=3: write section.key=value"),
        ("name.first=x", "--set name.first: name is a value, not a section"),
        ("training.stepz=1", "--set: unknown setting training.stepz; did you mean training.steps?"),
        ("rollouts=2", "--set: unknown setting rollouts; did you mean training.rollouts?"),
        ("train.learning_rate=1", "--set: unknown setting train; did you mean"),
        ("model.extra_body={}", "unknown setting model.extra_body; did you mean model.request.extra?"),
        ("zzz=1", "--set: unknown setting zzz"),
        ("training.steps=many", "--set: training.steps: Input should be a valid integer"),
        ("training.steps=" + "7" * 6000, "--set: training.steps: "),
        ("model.adapter=x", "a.toml with --set: "),
    ],
)
def test_a_wrong_override_is_named(tmp_path: Path, override: str, said: str) -> None:
    path = tmp_path / "a.toml"
    path.write_text("name = 'file'\nmodel.full = true\nmodel.lora = 'none'\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path, [override])
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"name = \n", "is not valid TOML ("),
        (b"name = mine\n", "is not valid TOML (Invalid value (at line 1, column 8)); text stands in quotes"),
        (b"name = 1\nname = 2\n", "is not valid TOML ("),
        (b"\xff\xfe", "is not valid TOML (it is UTF-16 text): save it as UTF-8"),
        ("name = 'é'".encode("utf-16-le"), "is not valid TOML (it is UTF-16-LE text): save it as UTF-8"),
        ("a = 1\nname = 'é'".encode("latin-1"), "is not valid TOML (line 2 is not UTF-8 text)"),
        (b"name = 3\n", "name: Input should be a valid string (found 3); put it in quotes"),
        (b"name = 2026-11-25\n", "name: Input should be a valid string (found 2026-11-25); put it in quotes"),
        (b"", "holds no settings"),
        (b"\xef\xbb\xbf# only a remark\r\n", "holds no settings"),
        (b"x = " + b"[" * 100_000, "is not valid TOML ("),
        (b"seed = " + b"7" * 6000, "is not valid TOML ("),
        (b"[training]\nstepz = 1\n", "unknown setting training.stepz; did you mean training.steps?"),
    ],
)
def test_a_file_that_is_wrong_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}: {said}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_file_of_any_editor_is_read(tmp_path: Path, mark: bytes, end: bytes) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(mark + "name = 'é'\n[training]\nsteps = 3\n".encode().replace(b"\n", end))
    config = load_config(path)
    assert (config.name, config.training.steps) == ("é", 3)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.toml: no such configuration file"):
        load_config(tmp_path / "gone.toml")
    with pytest.raises(ConfigError, match=r"is a folder, not a configuration$"):
        load_config(tmp_path)
    (tmp_path / "zerosearch.toml").touch()
    with pytest.raises(ConfigError, match=r"it is an export, and its README\.md has the command that asks it$"):
        load_config(tmp_path)
    (tmp_path / "config.toml").touch()
    with pytest.raises(ConfigError, match=r"its settings are .*/config\.toml, its policy is what ask --run"):
        load_config(tmp_path)


@pytest.mark.parametrize("name", ["..", "../other", "a/b", "a\\b"])
def test_a_name_that_leads_out_of_the_runs_folder_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="plain folder name"):
        TrainConfig(name=name)


def test_a_simulator_is_asked_in_the_style_that_its_adapter_was_tuned_in(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text('{"style": "tuned"}')
    adapter = {"adapter": str(tmp_path)}
    assert SimulatedConfig.model_validate(adapter).style == "tuned"
    assert SimulatedConfig.model_validate({**adapter, "plan_temperature": 0.0}).style == "tuned"
    assert SimulatedConfig.model_validate({"adapter": "embedded:simulator"}).style == "tuned"
    assert SimulatedConfig.model_validate({"adapter": "none"}).style == "instruct"
    with pytest.raises(ValueError, match=r"style is 'instruct', but .* was tuned with 'tuned'"):
        SimulatedConfig.model_validate({**adapter, "style": "instruct"})
    for card in ("", "[]", '{"style": 3}', "{}"):  # no card that could tell
        (tmp_path / "card.json").write_text(card)
        assert SimulatedConfig.model_validate(adapter).style == "instruct"
        assert SimulatedConfig.model_validate({**adapter, "style": "tuned"}).style == "tuned"
