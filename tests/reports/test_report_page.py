"""The report in a real browser: curves, filters, episodes, hostile text, and how long it all takes."""

from __future__ import annotations

import math
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from episodes.rolled import roll, search_then_answer
from looked import answer_text, apart, broken, episodes_of, search_text, write_evaluation, write_run

from zerosearch.episodes.episode import Codec
from zerosearch.episodes.questions import Question
from zerosearch.episodes.rollout import ErrorRate
from zerosearch.episodes.search import Document, SearchPage
from zerosearch.episodes.trajectory import Trajectory, write_trajectories
from zerosearch.reports.page import html
from zerosearch.reports.report import Report

EVIL = (
    "</script><script>alert(1)</script><img src=x onerror=alert(2)><!--<script>\x1b[31m\x1b]0;t\x07\u202e"
    "<think>no</think>"
)


def page_of(codec: Codec, path: Path, *targets: Path, limit: int = 5000) -> Path:
    report = Report([str(target) for target in targets], lambda folder: codec.decode, limit)
    path.write_text(html(report.summary(), report.episodes()))
    return path


@pytest.fixture(scope="module")
def two_seeds(byte_codec: Codec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs that differ by their seed, one of another learning rate; evaluations, alarms, failed searches."""
    folder = tmp_path_factory.mktemp("runs")
    runs = [
        write_run(folder / "a-seed0", byte_codec, 3, seed=0),
        write_run(folder / "a-seed1", byte_codec, 3, seed=1, reward=0.9, alarms=["answered 1%"]),
        write_run(folder / "other", byte_codec, 2, lr=0.5),
    ]
    for run in runs[:2]:
        wrong = [replace(t, answer="nothing") for t in episodes_of(byte_codec, rollouts=1)]
        write_evaluation(run, 0, wrong)
        write_evaluation(run, 3, episodes_of(byte_codec, rollouts=1, noise=0.0, write=search_then_answer))
    failed = episodes_of(byte_codec, 1, search=broken, errors=ErrorRate(1.0))
    write_trajectories(runs[2] / "trajectories" / "step-000001.jsonl.zst", failed)
    return page_of(byte_codec, folder / "report.html", *runs)


def test_curves_are_drawn_explained_and_overlaid(two_seeds: Path, opened: Any) -> None:
    shown = opened(two_seeds)
    page = shown.ready()
    figures = page.locator("figure")
    titles = [title.removesuffix("?") for title in page.locator("figure .asks").all_inner_texts()]
    assert titles[:4] == ["Reward", "F1", "EM", "Searches per episode"]
    assert "KL to the reference" in titles
    assert figures.count() == page.locator("figure canvas").count() == len(titles)
    reward = page.locator("figure[data-chart=reward]")
    assert not reward.locator(".meaning").is_visible()
    reward.locator(".asks").hover()
    assert "what is learned from" in reward.locator(".meaning").inner_text()
    assert reward.locator(".meaning").is_visible()
    plot = reward.locator(".plot")
    plot.hover()
    told = reward.locator(".tip")
    assert "a (2 seeds)" in told.inner_text()  # the two runs of one family are a band
    assert "other" in told.inner_text()
    page.locator("#bands").uncheck()
    plot.hover(position={"x": 120, "y": 60})
    assert "a-seed0" in told.inner_text()
    assert "a-seed1 0.900" in " ".join(told.inner_text().split())
    page.locator("#runs label", has_text="other").locator("input").uncheck()
    plot.hover(position={"x": 130, "y": 60})
    assert "other" not in told.inner_text()
    assert all(address.startswith(("file://", "data:")) for address in shown.fetched)


@pytest.mark.parametrize(
    ("values", "form", "told"),
    [
        ([60, 80, 100], "number", ["60", "80", "100"]),
        ([0, 0.05, 0.1], "share", ["0 %", "5 %", "10 %"]),
        ([0, 0.25, 0.5], "number", ["0.00", "0.25", "0.50"]),
        ([1e-6, 1.1e-6], "number", ["1.0e-6", "1.1e-6"]),
        ([1.15e-6, 1.2e-6], "number", ["1.15e-6", "1.20e-6"]),
        ([0, 5e-7, 1e-6], "number", ["0", "5.0e-7", "1.0e-6"]),
        ([0], "number", ["0"]),
        ([800, 1000, 1200], "number", ["800", "1,000", "1,200"]),
    ],
)
def test_the_numbers_beside_an_axis_have_equally_many_decimals(
    two_seeds: Path, opened: Any, values: list[float], form: str, told: list[str]
) -> None:
    assert opened(two_seeds).ready().evaluate(f"marks({values}, '{form}')") == told


def test_the_arrow_keys_read_a_curve_and_smoothing_changes_it(two_seeds: Path, opened: Any) -> None:
    page = opened(two_seeds).ready()
    page.locator("#bands").uncheck()
    entropy = page.locator("figure[data-chart=entropy]")
    entropy.locator(".plot").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert "step 3" in entropy.locator(".tip").inner_text()
    assert "0.460" in entropy.locator(".tip").inner_text()
    page.locator("#smoothing").fill("3")
    assert page.locator("#smoothed").inner_text() == "3 steps"
    assert entropy.locator(".last").first.inner_text() == "0.480"  # the mean of .50, .48 and .46


def test_alarms_tables_and_the_bill_are_told(two_seeds: Path, opened: Any) -> None:
    page = opened(two_seeds).ready()
    alarms = page.locator("#alarms").inner_text()
    assert "a-seed1 answered 1% steps 1-3" in alarms
    tables = page.locator("#tables")
    assert "a-seed0" in tables.locator("table").first.inner_text()
    verdicts = tables.locator("summary").all_inner_texts()
    assert any(text.startswith("a-seed0 after 3 steps against before") and "is better" in text for text in verdicts)
    assert any("a-seed0 after 3 steps against a-seed1 after 3 steps" in text for text in verdicts)
    assert "Google by SerpAPI" in page.locator("#bills").inner_text()


def test_filters_leave_what_they_say(two_seeds: Path, opened: Any) -> None:
    shown = opened(two_seeds)
    page = shown.ready()
    everything = shown.count()
    assert everything == 3 * 24 + 3 * 24 + 2 * 24 + 4 * 6
    assert page.locator("#list .row").count() < 40  # only what is in sight exists
    page.locator("#list").evaluate("list => { list.scrollTop = list.scrollHeight; }")
    page.locator(f"#row-{everything - 1}").wait_for()
    assert shown.filter(kind="training") == everything - 24
    assert shown.filter(step_from=2, step_to=2) == 3 * 24
    assert shown.filter(error="with") == 24
    assert shown.filter(stop="engine_error") == 24
    page.locator("#filters [type=reset]").click()
    assert shown.filter(run="other") == 48
    page.locator("#filters [type=reset]").click()
    worst = shown.filter(reward_to=0.5, kind="training")
    assert worst + shown.filter(reward_to="", reward_from=0.5001) == everything - 24
    page.locator("#filters [type=reset]").click()
    noisy, useful = shown.filter(quality="noisy"), shown.filter(quality="useful")
    assert noisy > 0
    assert useful > 0
    page.locator("#filters [type=reset]").click()
    assert shown.filter(searches_from=2) == 0
    assert shown.filter(searches_from=1, text="NUMBER 3") == (3 + 3 + 2) * 4 + 4
    assert shown.filter(text="nowhere to be found") == 0
    page.locator("#filters [type=reset]").click()
    shown.filter(sort="lowest reward")
    rewards = [float(text) for text in page.locator("#list .row .badge").all_inner_texts()]
    assert rewards == sorted(rewards)


def test_an_episode_is_read_with_the_keyboard_token_by_token(two_seeds: Path, opened: Any) -> None:
    shown = opened(two_seeds)
    page = shown.ready()
    page.locator("#list").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert page.locator("#list [aria-selected=true]").count() == 1
    detail = page.locator("#detail")
    assert "a-seed0, step 1, try 2" in detail.inner_text()
    turn = detail.locator(".turn").first
    assert "policy, trained" in turn.inner_text()
    assert "masked" in detail.locator(".page .side").first.inner_text()
    assert turn.locator(".say.think").inner_text().startswith("<think>t</think>")
    assert turn.locator(".say.search").inner_text().startswith("<search>")
    token = turn.locator(".token").nth(4)
    token.hover()
    n = int(token.get_attribute("data-p"))
    assert n > 0
    assert page.locator(".hint").inner_text().startswith(f"probability {100 * math.exp(-n / 100):.0f} % ")
    assert f"(log-prob {-n / 100:.2f})" in page.locator(".hint").inner_text()
    detail.locator("#side-by-side").click()
    assert page.locator("#beside .episode").count() == 4
    page.keyboard.press("Tab")
    page.locator("#list").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "detail"


def test_the_last_values_of_several_runs_stand_beside_or_below_the_title(
    byte_codec: Codec, tmp_path: Path, opened: Any
) -> None:
    runs = [write_run(tmp_path / f"run{number}", byte_codec, 2, lr=number / 10) for number in range(1, 5)]
    for run in runs:
        write_evaluation(run, 2, episodes_of(byte_codec, rollouts=1))
    page = opened(page_of(byte_codec, tmp_path / "report.html", *runs), viewport={"width": 700, "height": 900}).ready()
    for figure in page.locator("figure").all():
        title, lasts, card = (
            part.bounding_box() for part in (figure.locator(".asks"), figure.locator(".lasts"), figure)
        )
        assert lasts["x"] >= title["x"] + title["width"] or lasts["y"] >= title["y"] + title["height"]
        for last in figure.locator(".last").all():
            box = last.bounding_box()
            assert card["x"] <= box["x"] <= box["x"] + box["width"] <= card["x"] + card["width"]


def test_a_phone_has_no_sideways_scrolling(two_seeds: Path, opened: Any) -> None:
    page = opened(two_seeds, viewport={"width": 380, "height": 800}).ready()
    page.locator("#list .row").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 380


def test_dark_and_light_can_be_chosen(two_seeds: Path, opened: Any) -> None:
    page = opened(two_seeds, color_scheme="dark").ready()

    def back() -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    dark = back()
    page.locator("#theme").click()
    assert back() != dark


def test_hostile_text_is_text(byte_codec: Codec, tmp_path: Path, opened: Any) -> None:
    run = write_run(tmp_path / "evil<script>alert(3)</script>".replace("/", "-"), byte_codec, 1)

    def write(prompt: str, sampling: Any) -> str:
        return answer_text(EVIL) if "<information>" in prompt else search_text(EVIL)

    played = episodes_of(byte_codec, write=write, search=lambda r: SearchPage((Document(EVIL, EVIL),), EVIL))
    played = [replace(t, question=Question(EVIL, EVIL, (EVIL,)), stop_reason=EVIL) for t in played]
    write_trajectories(run / "trajectories" / "step-000000.jsonl.zst", played)
    path = page_of(byte_codec, tmp_path / "report.html", run)
    assert path.read_text().count("<script") == path.read_text().count("</script>")
    assert "alert(" not in path.read_text().partition("<title>")[2].partition("</title>")[2].replace("&lt;", "<")[200:]
    shown = opened(path)
    page = shown.ready()
    page.locator("#list .row").first.click()
    page.wait_for_timeout(200)
    for selector in ("#detail", "#list .row >> nth=0", "#told"):
        text = page.locator(selector).text_content()
        assert not set(text) & {"\x1b", "\x07", "\u202e"}
    assert "<img src=x onerror=alert(2)>" in page.locator("#detail").text_content()
    assert page.locator("img").count() == 0
    assert shown.filter(text="ONERROR=alert") == 24


def test_the_pages_policy_forbids_network_and_foreign_scripts(two_seeds: Path, chromium: Any) -> None:
    """What would slip in is refused by the browser itself, not only by how text is inserted."""
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"file://{two_seeds}")
    page.wait_for_selector("html[data-ready]")
    assert page.evaluate("fetch('http://127.0.0.1:9/').then(() => 'went', () => 'refused')") == "refused"
    assert page.evaluate("fetch('data:,x').then(() => 'went', () => 'refused')") == "refused"
    page.evaluate(
        "() => { const s = document.createElement('script'); s.textContent = 'window.slipped = 1'; "
        "document.body.append(s); const d = document.createElement('div'); "
        "d.innerHTML = '<img src=x onerror=\"window.slipped = 2\">'; document.body.append(d); }"
    )
    page.wait_for_timeout(200)
    assert page.evaluate("window.slipped") is None
    context.close()


def many(codec: Codec, folder: Path, steps: int) -> Path:
    """A run of `steps` times 320 episodes, of which no two texts are the same."""
    run = write_run(folder / "many", codec, 1)
    questions = [Question(f"q{n}", f"What is number {n}?", (f"gold{n}",)) for n in range(64)]
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 9))) for _ in range(20_000)]

    def search(request: Any) -> SearchPage:
        documents = tuple(Document(f"Title {n}", " ".join(draw.choices(words, k=50))) for n in range(3))
        return SearchPage(documents, "test", request.quality)

    def write(prompt: str, sampling: Any) -> str:
        thought = f"<think>I wonder about {sampling.seed}, and where to look for it next.</think>"
        done = prompt.count("<information>") >= 2
        return thought + (f"<answer> {sampling.seed} </answer>" if done else f"<search> {sampling.seed} </search>")

    for step in range(steps):
        played: list[Trajectory] = apart(roll, codec, write, search, questions, rollouts=5, step=step, noise=0.5)
        played = [replace(t, logprobs=tuple(-0.01 * (n % 90) * m for n, m in enumerate(t.mask))) for t in played]
        write_trajectories(run / "trajectories" / f"step-{step:06d}.jsonl.zst", played)
    return run


@pytest.mark.slow
def test_five_thousand_episodes_open_in_three_seconds_and_filter_in_a_fifth(
    byte_codec: Codec, tmp_path: Path, opened: Any
) -> None:
    run = many(byte_codec, tmp_path, 16)
    path = page_of(byte_codec, tmp_path / "report.html", run, limit=5120)
    began = time.perf_counter()
    shown = opened(path)
    page = shown.ready()
    took = time.perf_counter() - began
    assert shown.count() == 5120
    filtered = []
    for values in ({"text": "number 3"}, {"text": "no such text"}, {"text": "", "reward_from": 0}, {"step_from": 4}):
        shown.filter(**values)
        filtered.append(float(page.locator("#episodes").get_attribute("data-filtered")))
    print(f"{path.stat().st_size / 1e6:.1f} MB: open and ready in {took:.2f} s, filtered in {max(filtered):.0f} ms")
    assert took < 3
    assert max(filtered) < 200
