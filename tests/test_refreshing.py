"""What is refreshed of which run, and what is refused with a word of what to set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from small_run import SIMULATED, write_config

from zerosearch.config_file import config_toml, load_config
from zerosearch.errors import CheckpointError, ConfigError
from zerosearch.refreshing import QUESTIONS, going_on, notes, open_refresh, stages


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with a prompted simulator and policies after 2 and after 10 steps."""
    folder = tmp_path / "runs" / "small"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(config_toml(load_config(write_config(tmp_path / "small.toml", SIMULATED))))
    for step in (2, 10):
        policy = folder / "checkpoints" / f"step-{step:06d}" / "policy"
        policy.mkdir(parents=True)
        (policy / "adapter_model.safetensors").write_bytes(b"x")
        (policy.parent / "state.json").write_text("{}")
    return folder


HITS = ("engine.simulated.hits=default",)
TUNED = ("engine.simulated.style=tuned", "tune.by=evidence")
PASSAGES = ("engine.simulated.style=passages", *HITS)
SERVED = ("engine.simulated.base_url=http://localhost:8000/v1",)


@pytest.mark.parametrize(
    ("changes", "made", "settings"),
    [
        (HITS, ["hits.json"], ["hits=OUT/hits.json"]),
        (TUNED, ["labels.jsonl", "simulator"], ["adapter=OUT/simulator"]),
        ((*TUNED, *HITS), ["labels.jsonl", "hits.json", "simulator"], ["hits=OUT/hits.json", "adapter=OUT/simulator"]),
        (PASSAGES, ["hits.json", "simulator"], ["hits=OUT/hits.json", "adapter=OUT/simulator"]),
        ((*PASSAGES, *SERVED), ["hits.json"], ["hits=OUT/hits.json"]),
        ((*TUNED, "tune.full=true"), ["labels.jsonl", "simulator"], ["model=OUT/simulator"]),
        (
            (*TUNED, "tune.full=true", "engine.simulated.adapter=embedded:simulator"),
            ["labels.jsonl", "simulator"],
            ["model=OUT/simulator", "adapter=none"],
        ),
    ],
)
def test_what_the_simulator_is_made_of_is_tuned_and_trained_with(
    run: Path, changes: Sequence[str], made: list[str], settings: list[str]
) -> None:
    asked = open_refresh(run, changes=changes)
    out, policy = run / "refreshed", run / "checkpoints" / "step-000010" / "policy"
    assert [stage.made.relative_to(out).as_posix() for stage in stages(asked)] == ["episodes", "pages.jsonl", *made]
    last = going_on(asked)
    kept = [change for change in changes if change.startswith("engine.simulated") and "adapter" not in change]
    for setting in [f"engine.simulated.{one}".replace("OUT", str(out)) for one in settings]:
        assert last.count(f" --set {setting}") == 1
        kept = [change for change in kept if not change.startswith(setting.partition("=")[0])]
    assert all(f"--set {change}" in last for change in kept)
    assert "--name small-2 " in last
    assert last.count("model.adapter=") == 1
    assert f"--set model.adapter={policy}" in last
    assert "hits=default" not in last or "hits.json" not in made


def test_each_stage_takes_what_the_one_before_made(run: Path) -> None:
    asked = open_refresh(run, Path("out"), [Path("old.jsonl")], [*TUNED, *HITS, "model.device=cpu"], 7)
    config, sets = (
        run / "config.toml",
        " ".join(f"--set {change}" for change in ("engine.simulated.style=tuned", *HITS)),
    )
    sets += " --set model.device=cpu"
    policy, cache = f"model.adapter={run}/checkpoints/step-000010/policy", "evaluation.engine.cache=out/searches.sqlite"
    played, found = "--limit 7 --temperature 1 --depth 20", f"{sets} --set {cache}"
    assert [stage.command for stage in stages(asked)] == [
        f"zerosearch collect {config} --out out/episodes {played} {sets} --set {policy} --set {cache}",
        f"zerosearch record {config} --queries out/episodes --out out/pages.jsonl --depth 20 {found}",
        f"zerosearch label {config} --recorded old.jsonl --recorded out/pages.jsonl --out out/labels.jsonl {sets}",
        f"zerosearch tune {config} old.jsonl out/pages.jsonl --by hits --out out/hits.json {sets}",
        f"zerosearch tune {config} out/labels.jsonl --by evidence --out out/simulator {sets}",
    ]


def test_a_cache_is_the_users_own_where_there_is_one_and_a_recording_has_none(run: Path) -> None:
    def found(*changes: str) -> list[list[str]]:
        made = stages(open_refresh(run, changes=[*HITS, *changes]))
        return [[word for word in stage.words if ".cache=" in word] for stage in made]

    own, off = "evaluation.engine.cache=own.sqlite", "evaluation.engine.cache=none"
    assert found() == [[f"evaluation.engine.cache={run}/refreshed/searches.sqlite"]] * 2 + [[]]
    assert found(own) == [[own]] * 3
    assert found(off) == [[off]] * 3
    assert found("evaluation.engine.kind=recorded", "evaluation.engine.recorded.file=f.jsonl") == [[]] * 3
    deep = stages(open_refresh(run, changes=[*HITS, "evaluation.engine.top_k=30"]))
    assert [stage.words[stage.words.index("--depth") + 1] for stage in deep[:2]] == ["30", "30"]


def test_outcomes_are_those_of_the_episodes(run: Path) -> None:
    by = ("engine.simulated.style=tuned", "tune.by=outcome")
    label = stages(open_refresh(run, Path("out"), changes=by))[2]
    assert label.words[2:6] == ["out/episodes", "--recorded", "out/pages.jsonl", "--out"]
    with pytest.raises(ConfigError, match=r"outcome, which recorded pages .--pages. do not have.*tune.by=evidence"):
        open_refresh(run, Path("out"), [Path("old.jsonl")], by)


def test_the_policy_plays_as_it_was_trained_and_no_more_questions_than_it_had(run: Path) -> None:
    def played(*changes: str, limit: int | None = None) -> list[str]:
        return stages(open_refresh(run, Path("out"), changes=[*HITS, *changes], limit=limit))[0].words[4:8]

    assert played() == ["--limit", str(QUESTIONS), "--temperature", "1"]
    assert played("data.limit=30", "training.temperature=0.7") == ["--limit", "30", "--temperature", "0.7"]
    assert played("data.limit=3000") == ["--limit", "1000", "--temperature", "1"]
    assert played("data.limit=30", limit=50)[:2] == ["--limit", "50"]


def test_an_older_checkpoint_can_be_named_and_what_refreshing_may_spend_is_not_the_runs(run: Path) -> None:
    older = f"model.adapter={run}/checkpoints/step-000002/policy"
    asked = open_refresh(
        run, changes=[*HITS, older, "engine.budget_searches=9", "engine.budget_usd=2", "tune.epochs=1"]
    )
    collect, last = stages(asked)[0].command, going_on(asked)
    assert collect.count("model.adapter=") == last.count("model.adapter=") == 1
    assert older in collect
    assert older in last
    assert "engine.budget_searches=9" in collect
    assert "budget" not in last
    assert "tune." not in last


def test_a_new_adapter_begins_at_the_runs_unless_it_is_told_otherwise(run: Path) -> None:
    def tuned(*changes: str) -> list[str]:
        every = [*TUNED, *HITS, "engine.simulated.adapter=embedded:simulator", *changes]
        return [stage.command for stage in stages(open_refresh(run, changes=every)) if stage.words[0] == "tune"]

    hits, adapter = tuned()
    assert "tune.start" not in hits
    assert adapter.endswith(" --set tune.start=embedded:simulator")
    assert tuned("tune.start=none")[1].count("tune.start=") == tuned("tune.start=none")[1].count("tune.start=none") == 1
    assert "tune.start" not in tuned("tune.full=true")[1]


def test_what_a_refresh_leaves_out_is_said(run: Path) -> None:
    def said(*changes: str, pages: Sequence[Path] = (Path("old.jsonl"),)) -> str:
        return "; ".join(notes(open_refresh(run, pages=pages, changes=changes)))

    assert said(*HITS) == said(*TUNED) == ""
    assert "of this round alone" in said(*HITS, pages=())
    assert "stays as it is: only its hits are tuned" in said(*PASSAGES, *SERVED)


def test_a_whole_model_is_named_as_one_and_a_run_of_verl_goes_on_there(run: Path) -> None:
    (run / "verl").mkdir()
    asked = open_refresh(run, changes=[*HITS, "model.full=true", "model.lora=none"])
    policy = f"--set model.name={run}/checkpoints/step-000010/policy"
    assert policy in stages(asked)[0].command
    assert going_on(asked).endswith(f"--name small-2 --on verl --set model.full=true --set model.lora=none {policy} "
                                    f"--set engine.simulated.hits={run}/refreshed/hits.json")  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ((), "only told what to write .*nothing to tune.*hits=default.*style=tuned --set tune.by=evidence"),
        (SERVED, "behind a URL and decides no hits.*hits=default"),
        ((*HITS, "evaluation.engine=none"), "names no real engine .*evaluation.engine.kind=bm25"),
        ((*HITS, "evaluation.engine.kind=simulated"), "names no real engine"),
        (("engine.kind=bm25", "engine.bm25.corpus=factbook"), "trained with a real engine .bm25.: no simulator"),
        (("engine.simulated.style=tuned",), "judge, but label.judge.model names none: set it, or --set tune.by=evid"),
        (("engine.simulated.style=tuned", "tune.by=hits"), "tune.by is hits, but .*labels: --set tune.by=evidence or"),
    ],
)
def test_what_cannot_be_refreshed_is_refused_with_what_to_set(run: Path, changes: Sequence[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        open_refresh(run, changes=changes)


def test_the_settings_that_a_refusal_names_are_accepted(run: Path) -> None:
    assert open_refresh(run, changes=["engine.simulated.hits=default"]).ways == ("hits",)
    assert open_refresh(run, changes=["engine.simulated.style=tuned", "tune.by=evidence"]).ways == ("evidence",)
    judged = open_refresh(run, changes=["engine.simulated.style=tuned", "label.judge.model=m"])
    assert judged.ways == ("judge",)


def test_a_folder_that_is_no_run_and_a_run_without_a_checkpoint(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere: no such folder"):
        open_refresh(tmp_path / "nowhere", changes=HITS)
    with pytest.raises(ConfigError, match=r"holds no config\.toml: not the folder of a run"):
        open_refresh(tmp_path, changes=HITS)
    for state in run.rglob("state.json"):
        state.unlink()
    with pytest.raises(CheckpointError, match="has no checkpoint yet"):
        open_refresh(run, changes=HITS)
