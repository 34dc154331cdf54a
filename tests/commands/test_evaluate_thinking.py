"""`zerosearch evaluate` with a server whose model thinks, and whose stop strings end a thought like any other text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from commands.test_evaluate import METHODS, USAGE, behind_url, data, server
from engines.conftest import Endpoint, Reply, completion

from zerosearch.evaluation.results import find_results

__all__ = ["behind_url", "data", "server"]  # fixtures

THOUGHT = (
    "I must write the answer inside <answer> and </answer>, and queries inside <search> and </search>, as in "
    "<search> x </search>, or\nAction: Search[x]\nIt may be <answer> Quito </answer>. It is Lima."
)


def thinker(opening: str, bare: bool) -> Any:
    """Always right. `opening` is what its template leaves it of its thought's beginning; `bare`: without tags."""

    def reply(request: dict[str, Any]) -> Reply:
        asked = request["messages"][0]["content"]
        said = "<answer> Lima </answer>" if not bare or "<search>" in asked else "Lima"
        if "Action: Search[" in asked:
            said = "Thought: I know it.\nAction: Finish[Lima]"
        elif "How likely" in asked:
            said = "8"
        elif "Next sentence:" in asked:
            said = "So the answer is: Lima."
        text = f"{opening}{THOUGHT}</think>\n\n{said}"
        end = min((text.find(stop) for stop in request.get("stop", ()) if stop in text), default=len(text))
        return Reply(body=completion(text[:end], usage=USAGE))

    return reply


@pytest.mark.parametrize("opening", ["<think>\n", ""])
@pytest.mark.parametrize("bare", [False, True])
def test_a_model_that_thinks_and_is_right_is_right_by_every_method(
    zerosearch: Any, behind_url: list[str], server: Endpoint, data: Path, opening: str, bare: bool
) -> None:
    questions = data / "data" / "nq.jsonl"
    questions.write_text(questions.read_text().replace("Kathmandu", "Lima"))
    server.answer = thinker(opening, bare)
    result = zerosearch(*behind_url, "--methods", METHODS)
    assert result.code == 0, result.err
    rows = {f.header.method: f.rows for f in find_results("out")}
    assert {method: {row.answer for row in found} for method, found in rows.items()} == {
        method: {"Lima"} for method in METHODS.split(",")
    }
    assert {row.em for found in rows.values() for row in found} == {1.0}
    assert {search.query for row in rows["react"] for search in row.searches} == set()


def test_thoughts_without_end_are_counted_and_told(zerosearch: Any, behind_url: list[str], server: Endpoint) -> None:
    server.answer = lambda request: Reply(body=completion("<think>" + THOUGHT, finish_reason="length", usage=USAGE))
    result = zerosearch(*behind_url, "--methods", "direct,tree-search")
    rows = {f.header.method: f.rows for f in find_results("out")}
    assert {row.stop_reason for found in rows.values() for row in found} == {"cut_off"}
    assert "12 predictions have no answer because a thought" in result.out
    assert "--max-tokens" in result.out
