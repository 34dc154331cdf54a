"""The record of an episode, and its file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from zerosearch.episodes.episode import Codec, Episode, EpisodeLimits, Search
from zerosearch.episodes.generation import Generation
from zerosearch.episodes.protocol import render_prompt
from zerosearch.episodes.questions import Question
from zerosearch.episodes.scoring import Scores
from zerosearch.episodes.search import Document, Quality, SearchPage
from zerosearch.episodes.trajectory import (
    SCHEMA_VERSION,
    SearchRecord,
    Trajectory,
    Try,
    TurnRecord,
    finish,
    from_dict,
    read_trajectories,
    to_dict,
    write_trajectories,
)
from zerosearch.errors import DataError
from zerosearch.usage import Usage

QUESTION = Question("q1", "Which lake lies highest?", ("Lake Titicaca", "Titicaca"))
PAGE = SearchPage(
    (Document("Lake", "a high lake", "d7"),), "simulated", Quality.NOISY, True, 1.5, Usage(140, 60, 0.001), 2, False,
)  # fmt: skip


def play(codec: Codec, *turns: str) -> Episode:
    """An episode over `turns`; every search gets `PAGE`."""
    episode = Episode(QUESTION, codec.encode(render_prompt(QUESTION.text)), codec, EpisodeLimits(max_searches=2))
    for turn in turns:
        ids = codec.encode(turn)
        episode.feed_generation(Generation(ids, [-0.1 * n for n in range(len(ids))], "stop"))
        if isinstance(episode.next(), Search):
            episode.feed_page(PAGE.documents)
    return episode


@pytest.fixture
def trajectory(byte_codec: Codec) -> Trajectory:
    episode = play(
        byte_codec, "<think>t</think><search>high lake</search>", "<think>u</think><answer>Titicaca</answer>"
    )
    records = [SearchRecord.of("high lake", PAGE, 0.25)]
    return finish(Try(QUESTION, step=3, group=1, rollout=4), episode, records, seconds=2.5)


def test_a_finished_episode_is_recorded_whole(byte_codec: Codec, trajectory: Trajectory) -> None:
    assert len(trajectory.ids) == len(trajectory.mask) == len(trajectory.logprobs)
    assert trajectory.policy_tokens == sum(len(byte_codec.encode(turn.text)) for turn in trajectory.turns)
    assert byte_codec.decode(trajectory.ids[: trajectory.prompt_length]) == render_prompt(QUESTION.text)
    for turn in trajectory.turns:
        assert byte_codec.decode(trajectory.ids[turn.start : turn.end]) == turn.text
    assert [(turn.action, turn.well_formed, turn.last) for turn in trajectory.turns] == [
        ("search", True, False),
        ("answer", True, False),
    ]
    (search,) = trajectory.searches
    assert search == SearchRecord(**vars(PAGE), query="high lake", noise=0.25)
    assert (trajectory.answer, trajectory.stop_reason) == ("Titicaca", "answer")
    assert trajectory.scores == Scores(1.0, 1.0, 1.0, 1.0)
    assert (trajectory.step, trajectory.group, trajectory.rollout, trajectory.seconds) == (3, 1, 4, 2.5)
    assert trajectory.valid


def test_the_noise_of_a_real_engine_is_not_made_up() -> None:
    assert SearchRecord.of("q", replace(PAGE, quality=None), 0.25).noise is None


def test_no_answer_earns_nothing_whatever_prompt_and_pages_say(byte_codec: Codec) -> None:
    search = "<think>Lake Titicaca</think><search>Lake Titicaca</search>"
    for stop_reason, turns in (("refused_search", [search] * 3), ("no_answer", ["Lake Titicaca"] * 3)):
        trajectory = finish(Try(QUESTION), play(byte_codec, *turns), [])
        assert (trajectory.stop_reason, trajectory.answer) == (stop_reason, None)
        assert trajectory.scores == Scores(0.0, 0.0, 0.0, 0.0)


def test_a_failed_search_makes_the_trajectory_invalid_and_says_why(byte_codec: Codec) -> None:
    episode = Episode(QUESTION, [65], byte_codec, EpisodeLimits())
    ids = byte_codec.encode("<search>q</search>")
    episode.feed_generation(Generation(ids, [0.0] * len(ids), "stop"))
    with pytest.raises(RuntimeError, match="not finished"):
        finish(Try(QUESTION), episode, [])
    episode.feed_failure()
    trajectory = finish(Try(QUESTION), episode, [SearchRecord((), "serper", query="q", error="deadline", attempts=3)])
    assert not trajectory.valid
    assert (trajectory.stop_reason, trajectory.searches[0].error) == ("engine_error", "deadline")


short = st.text(max_size=6)
number = st.floats(allow_nan=False)
flag = st.booleans()
count = st.integers(0, 9)
a_document = st.builds(Document, short, short, short)
a_usage = st.builds(Usage, count, count, number)
a_search = st.builds(
    SearchRecord, st.lists(a_document, max_size=2).map(tuple), short, st.none() | short, flag, number, a_usage, count,
    flag, query=short, noise=st.none() | number, error=st.none() | short,
)  # fmt: skip


@st.composite
def any_trajectory(draw: st.DrawFn) -> Trajectory:
    length = draw(st.integers(0, 5))

    def column(item: st.SearchStrategy[Any]) -> tuple[Any, ...]:
        return tuple(draw(st.lists(item, min_size=length, max_size=length)))

    return Trajectory(
        Question(draw(short), draw(short), tuple(draw(st.lists(short, min_size=1, max_size=2)))),
        column(st.integers(0, 200_000)), column(st.integers(0, 1)), column(number), draw(count),
        tuple(draw(st.lists(st.builds(TurnRecord, count, count, short, short, flag, short, flag), max_size=2))),
        tuple(draw(st.lists(a_search, max_size=2))), draw(st.none() | short),
        Scores(*draw(st.tuples(number, number, number, number))), draw(number), draw(short),
        draw(count), draw(count), draw(count), draw(number), draw(a_usage),
    )  # fmt: skip


@given(any_trajectory())
def test_json_gives_every_trajectory_back(trajectory: Trajectory) -> None:
    again = from_dict(json.loads(json.dumps(to_dict(trajectory))))
    assert again == trajectory
    assert hash((again.ids, again.searches, again.turns)) == hash(
        (trajectory.ids, trajectory.searches, trajectory.turns)
    )


def test_a_file_gives_its_trajectories_back_in_order(tmp_path: Path, trajectory: Trajectory) -> None:
    odd = replace(trajectory, answer="line\u2028one\r\ntwo\x85\x00é💡", stop_reason="answer")
    path = tmp_path / "trajectories" / "step-000003.jsonl.zst"
    write_trajectories(path, [trajectory, odd, trajectory])
    assert list(read_trajectories(path)) == [trajectory, odd, trajectory]
    write_trajectories(path, [])
    assert list(read_trajectories(path)) == []


def test_half_a_character_in_a_page_does_not_lose_the_file(tmp_path: Path, trajectory: Trajectory) -> None:
    record = replace(trajectory.searches[0], documents=(Document("cut \ud83d", "emoji"),))
    write_trajectories(tmp_path / "t.jsonl.zst", [replace(trajectory, searches=(record,))])
    (read,) = read_trajectories(tmp_path / "t.jsonl.zst")
    assert read.searches[0].documents[0].title == "cut ?"


def test_joined_files_are_read_to_the_end(tmp_path: Path, trajectory: Trajectory) -> None:
    one, both = tmp_path / "1.jsonl.zst", tmp_path / "2.jsonl.zst"
    write_trajectories(one, [trajectory] * 2)
    both.write_bytes(one.read_bytes() * 2)
    assert list(read_trajectories(both)) == [trajectory] * 4


def test_a_file_cut_off_anywhere_is_an_error_never_fewer_rows(tmp_path: Path, trajectory: Trajectory) -> None:
    path = tmp_path / "t.jsonl.zst"
    write_trajectories(path, [replace(trajectory, rollout=n) for n in range(3)])
    whole = path.read_bytes()
    for size in {*range(0, len(whole), 37), *range(12), *range(len(whole) - 12, len(whole))}:
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"t\.jsonl\.zst: cannot be read"):
            list(read_trajectories(path))


def write_lines(path: Path, *lines: str) -> Path:
    path.write_bytes(zstandard.compress("".join(line + "\n" for line in lines).encode()))
    return path


def changed(trajectory: Trajectory, **changes: Any) -> str:
    """A line of the file with fields changed, or taken out where the value is `...`."""
    row = {**to_dict(trajectory), **changes}
    return json.dumps({key: value for key, value in row.items() if value is not ...})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"version": SCHEMA_VERSION + 1}, f"version {SCHEMA_VERSION + 1}; this release reads {SCHEMA_VERSION}"),
        ({"version": ...}, "version null"),
        ({"mask": ...}, "mask"),
        ({"question": ...}, "question"),
        ({"question": {"id": "q1"}}, "question"),
        ({"colour": "red"}, "colour"),
        ({"turns": [{"start": 0}]}, "not a trajectory"),
        ({"searches": [{"query": "q"}]}, "not a trajectory"),
        ({"scores": {"em": 1.0}}, "not a trajectory"),
        ({"ids": 7}, "not a trajectory"),
        ({"mask": [1]}, "differ in length"),
        ({"logprobs": []}, "differ in length"),
        ("[]", "expected an object, found list"),
        ("null", "expected an object"),
        ("{", "not valid JSON"),
        ("nonsense", "not valid JSON"),
    ],
)
def test_a_row_that_does_not_fit_is_named(
    tmp_path: Path, trajectory: Trajectory, changes: dict[str, Any] | str, says: str
) -> None:
    line = changes if isinstance(changes, str) else changed(trajectory, **changes)
    path = write_lines(tmp_path / "t.jsonl.zst", changed(trajectory), line)
    rows = read_trajectories(path)
    assert next(rows) == trajectory
    with pytest.raises(DataError, match=r"t\.jsonl\.zst:2: ") as caught:
        next(rows)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    plain = tmp_path / "plain.jsonl.zst"
    plain.write_text("{}\n")
    latin = tmp_path / "latin.jsonl.zst"
    latin.write_bytes(zstandard.compress(b'"\xe9"\n'))
    for path in (plain, latin, tmp_path, tmp_path / "missing.jsonl.zst"):
        with pytest.raises(DataError, match=path.name):
            list(read_trajectories(path))


def test_an_older_file_survives_a_write_that_fails(tmp_path: Path, trajectory: Trajectory) -> None:
    path = tmp_path / "t.jsonl.zst"
    write_trajectories(path, [trajectory])

    def failing() -> Iterator[Trajectory]:
        yield replace(trajectory, step=9)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_trajectories(path, failing())
    assert list(read_trajectories(path)) == [trajectory]
    assert list(tmp_path.iterdir()) == [path]


def test_older_rows_that_say_what_each_document_was_asked_for_are_read(trajectory: Trajectory) -> None:
    row = to_dict(trajectory)
    for search in row["searches"]:
        search["asked"] = ["plain"]
    assert from_dict(row) == trajectory
