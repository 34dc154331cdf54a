"""`zerosearch check`: the prompt as the model sees it, a run in a few lines, rewards that are never silently 0."""

from __future__ import annotations

import re
import socket
import tomllib
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from zerosearch.commands.check_settings import differences, most_searches
from zerosearch.config import TrainConfig
from zerosearch.config_file import config_from_dict, load_config, names
from zerosearch.engines.corpus import first_passages
from zerosearch.episodes.encoding import encode_prompt
from zerosearch.episodes.protocol import PROMPT, render_prompt
from zerosearch.errors import ModelError
from zerosearch.files.jsonl import write_json, write_jsonl
from zerosearch.parts import Parts
from zerosearch.run_folder import known_settings

EPISODE = (
    "<think>Which city?</think><search> capital of Nepal </search>\n"
    "<information>\n[1] Nepal: The capital is Kathmandu.\n</information>\n"
    "<think>There.</think><answer> Kathmandu </answer>"
)
ASK = ("--question", "Capital of Nepal?", "--answer", "Kathmandu", "--answer", "Katmandu")


@pytest.fixture
def check(zerosearch: Any, tokenizer_folder: Path, questions_file: Path) -> Any:
    """`check(...)` with a tokenizer that has no weights, and two questions."""
    settings = {
        "model.name": tokenizer_folder,
        "data.train": questions_file,
        "evaluation.questions": questions_file,
        "folder": questions_file.parent / "runs",
    }
    given = [argument for key, value in settings.items() for argument in ("--set", f"{key}={value}")]
    return lambda *args, **more: zerosearch("check", *given, *args, **more)


def test_the_prompt_is_what_the_model_is_shown(check: Any, tokenizer_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    ids = encode_prompt(render_prompt("Why [1] :train: is\tit?", template=PROMPT), tokenizer)
    result = check("--question", "Why [1] :train: is\tit?")
    assert result.code == 0
    assert tokenizer.decode(ids) in result.out
    assert f"prompt: {len(ids)} tokens of {tokenizer_folder}, with the chat template" in result.out
    plain = check("--question", "Why?", "--set", "protocol.chat=never")
    assert "without a chat template" in plain.out
    assert "<|im_start|>" not in plain.out


def test_without_a_question_the_first_of_the_data_is_shown(check: Any) -> None:
    assert "Question: Capital of Nepal?\n" in check().out


def test_with_a_question_the_run_is_checked_all_the_same(check: Any, tmp_path: Path) -> None:
    alone, asked = check(), check("--question", "Why?")
    assert [line for line in asked.out.splitlines() if "questions of" in line or "searches at most" in line] == [
        line for line in alone.out.splitlines() if "questions of" in line or "searches at most" in line
    ]
    missing = check("--question", "Why?", "--set", f"data.train={tmp_path / 'none.jsonl'}")
    assert (missing.code, "not here: data.train" in missing.out) == (1, True)


def test_an_episode_is_split_masked_scored_and_rewarded(check: Any) -> None:
    result = check(*ASK, "--text", EPISODE)
    assert result.code == 0
    assert result.err == ""
    found = re.search(r"episode: (\d+) tokens, (\d+) the policy's own \(trained on, mask 1\), (\d+) masked", result.out)
    assert found
    total, own, masked = map(int, found.groups())
    assert own + masked == total
    spans = re.findall(r"^(prompt|turn \d|page \d)  tokens (\d+)-(\d+), (policy|masked)$", result.out, re.M)
    assert [(name, kind) for name, _, _, kind in spans] == [
        ("prompt", "masked"), ("turn 1", "policy"), ("page 1", "masked"), ("turn 2", "policy"),
    ]  # fmt: skip
    assert sum(int(end) - int(start) for _, start, end, kind in spans if kind == "policy") == own
    assert "-> search 'capital of Nepal', well formed" in result.out
    assert "-> answer 'Kathmandu', well formed" in result.out
    assert "EM 1.00   F1 1.00   cover-EM 1.00   format 1.00" in result.out
    assert "reward   1.000 (f1, format 0): the answer is right" in result.out


def test_the_reward_is_the_configs(check: Any) -> None:
    wrong = "<think>x</think><answer>Kathmandu city</answer>"
    assert "reward   0.667 (f1, format 0)" in check(*ASK, "--text", wrong).out
    as_em = check(*ASK, "--text", wrong, "--set", "reward.name=em", "--set", "reward.format=0.1").out
    assert "reward   0.100 (em, format 0.1): not the same" in as_em
    assert "reward   1.000" in check(*ASK, "--text", wrong, "--set", "reward.name=cover_em").out


def test_without_golden_answers_the_reward_is_not_known(check: Any) -> None:
    result = check("--text", EPISODE)
    assert "reward   not known: give the golden answers, with --answer" in result.out
    assert "scores" not in result.out


def test_a_pasted_episode_may_begin_with_its_prompt(check: Any, tokenizer_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    prompt = tokenizer.decode(encode_prompt(render_prompt("Capital of Nepal?"), tokenizer))
    bare, pasted = check(*ASK, "--text", EPISODE), check(*ASK, "--text", prompt + EPISODE)
    assert pasted.out == bare.out


def test_an_episode_comes_from_standard_input_or_a_file(check: Any, tmp_path: Path) -> None:
    (tmp_path / "episode.txt").write_text(EPISODE)
    from_file = check(*ASK, "--file", str(tmp_path / "episode.txt"))
    assert "reward   1.000" in from_file.out
    assert check(*ASK, "--file", "-", stdin=EPISODE).out == from_file.out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--set", "training.stepz=3"), "error: --set: unknown setting training.stepz; did you mean training.steps?"),
        (
            ("--set", "curiculum.end=1"),
            "error: the settings with --set: unknown setting curiculum; did you mean curriculum?",
        ),
        (("--set", "protocol.prompt=Answer!"), "error: protocol.prompt must hold {question} exactly once"),
        (("--text", " "), "error: --text: holds no episode, the text is empty"),
        (("--text", "a", "--file", "b"), "error: --text and --file both give an episode: choose one"),
        (("--file", "no-such.txt"), "error: no-such.txt: cannot be read (No such file or directory)"),
        (("--answer", "x"), "error: --answer says what an episode is scored against"),
        (("--text", "a", "--set", "model.name=no/such/model"), "error: no model 'no/such/model'"),
        (("--text", "a", "--set", "model.name=no-such/model"), "error: model no-such/model: its tokenizer is not on"),
    ],
)
def test_what_is_wrong_is_one_line(check: Any, arguments: tuple[str, ...], line: str) -> None:
    result = check(*arguments)
    assert result.code == 2
    assert result.line.startswith(line)


def test_a_broken_tokenizer_is_one_line(zerosearch: Any, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    result = zerosearch("check", "--set", f"model.name={tmp_path}", "--text", "x")
    assert result.code == 2
    assert result.line.startswith(f"error: model {tmp_path}: no tokenizer could be read there (")


def test_a_malformed_data_file_is_an_error_and_a_missing_one_is_listed(check: Any, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"question": "Why?", "answer": "x"}\n{"question": "Why not?"}\n')
    result = check("--set", f"data.train={bad}")
    assert result.code == 2
    assert result.line.startswith(f"error: {bad}:2: the question 'Why not?' has no answer")
    missing = check("--set", "data.train=gone.jsonl")
    assert missing.code == 1
    assert missing.out.endswith("the settings are right, but the run would fail: 1 not here\n")
    assert "not here: data.train: gone.jsonl: no such file" in missing.out


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "c.jsonl",
            '{"id": "1", "text": "x"}\n{"id": "2", "txt": "y"}\n',
            ":2: the passage has neither a field 'text'",
        ),
        ("c.jsonl", '{"id": "1", "text": 5}\n', ":1: the field 'text' must be text, found int"),
        ("c.jsonl", '{"id": "1", "text": "x"}\n{"id"\n', ":2: not valid JSON"),
        ("c.csv", "id,title\n1,x\n", ":2: no column is called text"),
        ("c.json", '[{"id": "1", "title": "x"}]', ":1: the passage has neither a field 'text'"),
        ("c.jsonl", "", ": holds no passages"),
        ("c.jsonl", '{"text": " "}\n', ": holds no passages with any text"),
    ],
)
@pytest.mark.parametrize("place", ["engine", "evaluation.engine"])
def test_a_file_that_is_no_corpus_is_an_error(
    check: Any, tmp_path: Path, place: str, name: str, text: str, said: str
) -> None:
    (tmp_path / name).write_text(text)
    result = check("--set", f"{place}.kind=bm25", "--set", f"{place}.bm25.corpus={tmp_path / name}")
    assert result.code == 2
    assert result.line.startswith(f"error: {tmp_path / name}{said}")


def test_a_broken_line_late_in_a_corpus_or_in_a_recording_is_told_with_its_number(check: Any, tmp_path: Path) -> None:
    corpus, pages = tmp_path / "c.jsonl", tmp_path / "p.jsonl"
    corpus.write_text('{"id": "1", "text": "x"}\n' * 1500 + '{"id": "2", "text"\n')
    late = check("--set", "engine.kind=bm25", "--set", f"engine.bm25.corpus={corpus}")
    assert late.code == 2
    assert late.line.startswith(f"error: {corpus}:1501: not valid JSON")
    told = ("--set", "evaluation.engine.kind=recorded", "--set", f"evaluation.engine.recorded.file={pages}")
    page = '{"query": "q", "results": [], "engine": "a"}\n'
    for rest, said in (
        ('{"query": "q"}\n', ":1501: not a recorded page"),
        (page.replace('"a"', '"b"'), ": holds pages of 2 engines (a, b): say which to replay"),
    ):
        pages.write_text(page * 1500 + rest)
        result = check(*told)
        assert result.code == 2
        assert result.line.startswith(f"error: {pages}{said}")
    one = check(*told, "--set", "evaluation.engine.recorded.source=a")
    assert (one.code, one.err) == (0, "")
    assert f"evaluation.engine.recorded.file: 1,500 pages of {pages}\n" in one.out.replace("\n ", " ")


def test_a_cache_a_predictor_and_ones_own_class_are_opened_as_a_run_would(check: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.sqlite").write_text("no database")
    (tmp_path / "empty.sqlite").touch()
    (tmp_path / "hits.json").write_text('{"hits": 1}')
    bm25 = ("--set", "engine.kind=bm25", "--set", "engine.bm25.corpus=factbook", "--set")
    for settings, said in (
        (
            (*bm25, f"engine.cache={tmp_path}/mine.sqlite"),
            f"engine.cache: {tmp_path}/mine.sqlite: is no file of recorded",
        ),
        (
            ("--set", f"engine.simulated.hits={tmp_path}/no.json"),
            "no.json: no such file (zerosearch tune --by hits makes",
        ),
        (("--set", f"engine.simulated.hits={tmp_path}/hits.json"), "hits.json: no hit predictor"),
        (("--set", "engine.kind=json:loads"), "engine.settings of json:loads: missing a required argument: 's'"),
        (("--set", "algorithm.name=json:loads"), "algorithm.name: json:loads: too many positional arguments"),
    ):
        result = check(*settings)
        assert (result.code, result.err) == (1, "")
        assert said in " ".join(result.out.split()), result.out
    for settings in ((*bm25, f"engine.cache={tmp_path}/{name}.sqlite") for name in ("empty", "new")):
        assert check(*settings).code == 0
    assert not (tmp_path / "new.sqlite").exists()


def test_a_corpus_that_both_engines_name_is_read_once(
    check: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []

    def counting(path: Path, count: int) -> int | None:
        read.append(path)
        return first_passages(path, count)

    monkeypatch.setattr("zerosearch.commands.check_parts.first_passages", counting)
    corpus = tmp_path / "c.jsonl"
    corpus.write_text('{"id": "1", "text": "x"}\n' * 3)
    settings = ("kind=bm25", f"bm25.corpus={corpus}")
    result = check(*(f"--set={place}.{setting}" for place in ("engine", "evaluation.engine") for setting in settings))
    assert result.out.replace("\n ", " ").count(f"engine.bm25.corpus: 3 passages of {corpus}\n") == 2
    assert read == [corpus]


def test_the_beginning_of_a_large_corpus_is_read_and_no_index_is_built(
    check: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZEROSEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("zerosearch.commands.check_parts._PASSAGES", 1000)
    corpus = tmp_path / "c.jsonl"
    told = ("--set", "engine.kind=bm25", "--set", f"engine.bm25.corpus={corpus}")
    for rows, rest, said in (
        (2, "", f"2 passages of {corpus}"),
        (1000, "no JSON", f"{corpus}, of which the first 1,000 passages were read"),
    ):
        corpus.write_text('{"id": "1", "text": "x"}\n' * rows + rest)
        result = check(*told)
        assert (result.code, result.err) == (0, "")
        assert f"engine.bm25.corpus: {said}\n" in result.out.replace("\n ", " ")
    monkeypatch.setattr("zerosearch.engines.corpus._LARGE", 10)
    corpus.write_text('[{"id": "1", "text": "x"}]')  # it would have to be read whole
    assert "is one large JSON document and is not looked into" in check(*told).out.replace("\n", " ")
    assert not (tmp_path / "cache").exists()


def test_what_is_not_here_is_listed(check: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    result = check(
        *("--set", "model.name=no-such/model"),
        *("--set", "model.adapter=no/such/adapter"),
        *("--set", "engine.simulated.base_url=http://localhost:9/v1"),
        *("--set", "engine.simulated.api_key_env=NO_SUCH_KEY"),
        *("--set", "evaluation.engine.kind=bm25"),
        *("--set", "evaluation.engine.bm25.corpus=gone.jsonl"),
        *("--set", "data.train=hub:someone/something:train"),
    )
    assert result.code == 1
    assert _lines(result.out, "not here") == [
        "model.adapter",
        "engine.simulated.api_key_env",
        "evaluation.engine.bm25.corpus",
    ]
    assert _lines(result.out, "note") == ["data.train", "model no-such/model"]  # a run fetches them
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    offline = check("--set", "model.name=no-such/model")
    assert (offline.code, _lines(offline.out, "not here")) == (1, ["model no-such/model"])
    assert "HF_HUB_OFFLINE is set" in offline.out


def _lines(out: str, mark: str) -> list[str]:
    """What stands behind `mark`, up to its first colon."""
    lines = [line.removeprefix(f"{mark}: ") for line in out.splitlines() if line.startswith(f"{mark}: ")]
    return [line.partition(": ")[0] for line in lines]


def test_a_run_that_would_fail_ends_the_check_with_a_status(check: Any, tmp_path: Path, tokenizer_folder: Path) -> None:
    (tmp_path / "empty").mkdir()
    for setting, named in (
        ("model.adapter=embedded:foo", "model.adapter: adapter embedded:foo: this release ships"),
        (f"model.adapter={tmp_path / 'empty'}", f"model.adapter: {tmp_path / 'empty'}: holds no adapter_config.json"),
        (f"model.name={tmp_path / 'empty'}", f"model: {tmp_path / 'empty'}: holds no config.json"),
        (f"engine.simulated.model={tmp_path / 'empty'}", "engine.simulated: "),
    ):
        failed = check("--set", setting)
        assert failed.code == 1, setting
        assert f"not here: {named}" in failed.out
        assert "the run would fail" in failed.out.splitlines()[-1]
    other = check(
        *("--set", "engine.simulated.adapter=embedded:simulator"),
        *("--set", f"engine.simulated.model={tokenizer_folder}"),
        *("--set", "engine.simulated.style=tuned"),
    )
    assert other.code == 2
    assert "wrong: engine.simulated: embedded:simulator was tuned with base = smollm2-135m" in other.out


def test_the_simulator_that_ships_is_told_from_one_that_knows_the_questions(check: Any, tmp_path: Path) -> None:
    path = tmp_path / "village.jsonl"
    path.write_text('{"id": "v", "question": "Who is the smith of Lower Ploughton?", "golden_answers": ["Old Tom"]}\n')
    own = ("--set", f"data.train={path}")
    shipped = ("--set", "engine.simulated.adapter=embedded:simulator", "--set", "engine.simulated.model=smollm2-135m")
    shipped += ("--set", "engine.simulated.style=tuned")
    unknown = check(*own, *shipped).out
    assert unknown.count("embedded:simulator knows the countries of the Factbook and nothing else") == 1
    assert unknown.count("Factbook") == 1  # said once
    assert "nothing else" in check(*shipped, "--set", "data.train=hub:some/where:part:split").out  # not read here
    assert "nothing else" not in check(*own).out


def test_a_run_folder_that_training_refuses_is_wrong(check: Any, tmp_path: Path) -> None:
    settings = known_settings(config_from_dict(tomllib.loads(check("--toml", "--set", "seed=1").out), "test"))
    other = tmp_path / "runs" / "notes"
    (other / "mine").mkdir(parents=True)
    held = {"run": "checkpoints/step-000002/state.json", "cluster": "verl/settings.json"}
    for name, file in held.items():
        (tmp_path / "runs" / name / file).parent.mkdir(parents=True)
        write_json(tmp_path / "runs" / name / file, {"step": 2, "settings": settings})
        (tmp_path / "runs" / name / file).with_name("learner.pt").write_bytes(b"PK\5\6" + bytes(18))  # an empty archive
        assert check("--set", f"name={name}", "--set", "seed=1").code == 0, name
        refused = check("--set", f"name={name}", "--set", "seed=2")
        assert refused.code == 2
        assert "was made with seed = 1, now it is 2; take the old setting, another --name, or --fresh" in refused.out
    refused = check("--set", "name=notes")
    assert refused.code == 2
    said = f"wrong: train refuses the run folder: {other}: holds mine and no manifest of a run; take another --name"
    assert said in refused.out


def test_an_evaluation_on_what_training_asks_is_told(check: Any, tmp_path: Path) -> None:
    rows = [{"id": str(n), "question": f"Who made {n}?", "golden_answers": ["x"]} for n in range(3)]
    write_jsonl(tmp_path / "train.jsonl", rows[:2])
    write_jsonl(tmp_path / "test.jsonl", [{**rows[1], "id": "other", "question": "who made  1?"}, rows[2]])
    train = ("--set", f"data.train={tmp_path / 'train.jsonl'}")
    both = check(*train, "--set", f"evaluation.questions={tmp_path / 'test.jsonl'}")
    assert "note: 1 of 2 questions of evaluation.questions is also in data.train" in both.out
    write_jsonl(tmp_path / "test.jsonl", rows[2:])
    assert "also in" not in check(*train, "--set", f"evaluation.questions={tmp_path / 'test.jsonl'}").out


def test_questions_that_are_too_long_are_counted(check: Any, tmp_path: Path) -> None:
    rows = [{"id": "s", "question": "Who?", "golden_answers": ["x"]}]
    rows += [{"id": f"l{n}", "question": "lorem ipsum " * 3000, "golden_answers": ["x"]} for n in range(2)]
    path = tmp_path / "mixed.jsonl"
    write_jsonl(path, rows)
    mixed = check("--set", f"data.train={path}")
    assert "note: data.train: 2 of 3 questions are too long" in mixed.out
    write_jsonl(path, rows[1:])
    none = check("--set", f"evaluation.questions={path}")
    assert none.code == 2
    assert "wrong: evaluation.questions: 2 of 2 questions are too long" in none.out


@pytest.mark.parametrize(
    ("variable", "more"), [("SERPER_API_KEY", ()), ("MY_KEY", ("engine.serper.api_key_env=MY_KEY",))]
)
def test_a_key_of_a_search_engine_that_is_not_set_is_listed(
    check: Any, monkeypatch: pytest.MonkeyPatch, variable: str, more: tuple[str, ...]
) -> None:
    arguments = [word for setting in ("engine.kind=serper", *more) for word in ("--set", setting)]
    line = f"not here: engine.serper.api_key_env: the environment variable {variable} is not set"
    for name in ("SERPER_API_KEY", "MY_KEY"):
        monkeypatch.delenv(name, raising=False)
    assert line in check(*arguments).out
    monkeypatch.setenv(variable, "hush")
    out = check(*arguments).out
    assert "is not set" not in out
    assert "hush" not in out


def test_toml_gives_every_setting(check: Any) -> None:
    result = check("--toml", "--set", "training.steps=7")
    config = config_from_dict(tomllib.loads(result.out), "test")
    assert config.training.steps == 7
    assert set(tomllib.loads(result.out)) == set(TrainConfig.model_fields)


def test_sections_without_a_change_are_named_in_one_line(check: Any) -> None:
    out = check("--set", "reward.format=0.1").out
    assert re.search(r"^reward +format = 0\.1", out, re.M)
    (usual,) = re.findall(r"^\(as by default: (.*); --toml prints every setting\)$", out, re.M)
    assert {"curriculum", "logging", "serve"} <= set(usual.split(", "))
    assert "reward" not in usual


def test_the_curriculum_is_shown_at_the_quarters(check: Any) -> None:
    out = check("--set", "curriculum.end=0.25").out
    # b = 4: (4 ** x - 1) / 3 * .25
    assert "(exponential)   0 %: 0.000   25 %: 0.035   50 %: 0.083   75 %: 0.152   100 %: 0.250" in out
    assert "noise: none" in check("--set", "engine.kind=bm25", "--set", "engine.bm25.corpus=factbook").out


def test_searches_and_their_price_are_counted() -> None:
    paper = config_from_dict({"evaluation": {"limit": 100, "every": 50}}, "test")
    # before, after, and after 50, 100, 150 of 200 steps
    assert most_searches(paper) == (200 * 64 * 5 * 5, 5 * 100 * 5)
    real = {"kind": "bm25", "bm25": {"corpus": "factbook"}}
    transfer = {"limit": 100, "transfer_limit": 30, "engine": real}
    assert most_searches(config_from_dict({"evaluation": transfer}, "test"))[1] == 2 * (100 + 30) * 5
    assert most_searches(config_from_dict({"evaluation": transfer, "engine": real}, "test"))[1] == 2 * 100 * 5
    assert most_searches(config_from_dict({"protocol": {"max_searches": 0}}, "test")) == (0, 0)
    assert most_searches(config_from_dict({"evaluation": transfer}, "test"), held_out=12)[1] == 2 * (12 + 12) * 5


def test_the_price_is_printed_with_its_source(check: Any) -> None:
    assert "320,000 in training + 20 in evaluations = 320,020" in check("--set", "evaluation.limit=100").out
    out = check("--set", "evaluation.limit=100", "--set", "evaluation.questions=nowhere.jsonl").out
    assert "320,000 in training + 1,000 in evaluations = 321,000" in out
    assert "with Google by SerpAPI, at $9.167 per 1,000: $2,942.50" in out


def test_only_what_differs_from_the_defaults_is_listed() -> None:
    defaults = TrainConfig.model_validate({})
    assert dict(differences(defaults, defaults)) == {}
    values = {"training": {"steps": 5}, "evaluation": {"engine": {"kind": "bm25", "bm25": {"corpus": "x"}}}, "model": {
        "full": True, "lora": "none"}}  # fmt: skip
    assert dict(differences(config_from_dict(values, "test"), defaults)) == {
        "training.steps": 5,
        "evaluation.engine.kind": "bm25",
        "evaluation.engine.bm25.corpus": "x",
        "model.full": "true",
        "model.lora": "none",
        "training.learning_rate": 1e-6,  # they follow from model.full
        "algorithm.critic_learning_rate": 1e-5,
    }


def test_a_tokenizer_needs_no_weights_and_no_network(tokenizer_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(name: str) -> Any:
        return Parts(load_config(None, [f"model.name={name}"])).tokenizer()

    model = opened(str(tokenizer_folder))
    assert model.codec.decode(model.codec.encode("<answer> Kathmandu")) == "<answer> Kathmandu"
    asked: list[Any] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *host, **_: asked.append(host) or [])
    monkeypatch.setattr(socket.socket, "connect", lambda _, address: asked.append(address))
    with pytest.raises(ModelError, match="its tokenizer is not on this machine"):
        opened("no-such/model")
    assert asked == []


@pytest.mark.model
@pytest.mark.parametrize("config", [name for name in names() if not name.startswith("preset:")])
def test_every_config_that_ships_is_checked(zerosearch: Any, config: str) -> None:
    result = zerosearch("check", config)
    assert f"{config}: the settings are right" in result.out
    missing = re.findall(r"^not here: [\w.]+: data/", result.out, re.M)  # the user's own files
    assert result.code == bool(missing), result.out
    if config.startswith("demo"):
        assert "questions of factbook:train:two-hop" in result.out
        assert re.search(r"prompt: \d+ tokens of smollm2-135m, with the chat template", result.out)
    else:
        model = load_config(config).model.name
        assert f"note: model {model}: its tokenizer is not on this machine" in result.out or (
            f"tokens of {model}" in result.out
        )
