"""What is said of a run on verl that ended: which steps are lost, and from where the same command goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from zerosearch.files.jsonl import write_jsonl
from zerosearch.scaleout.verl.checkpoints import what_was_lost

ANEW = "There is no checkpoint yet: the same command begins anew"
RESUMES = "The same command resumes from the checkpoint after step 10"


@pytest.mark.parametrize(
    ("saved", "done", "said"),
    [
        (None, [], f"Lost: what step 1 had begun. {ANEW}"),
        (None, [0, 1, 2], f"Lost: steps 1 to 2 and what step 3 had begun. {ANEW}"),
        (10, [10], f"Lost: what step 11 had begun. {RESUMES}"),
        (10, [9, 10, 11], f"Lost: step 11 and what step 12 had begun. {RESUMES}"),
        (10, [11, 12, 13], f"Lost: steps 11 to 13 and what step 14 had begun. {RESUMES}"),
        (10, [], f"Lost: what step 11 had begun. {RESUMES}"),
    ],
)
def test_lost_steps_are_counted_from_the_checkpoint(
    tmp_path: Path, saved: int | None, done: list[int], said: str
) -> None:
    if saved is not None:
        mark = tmp_path / "checkpoints" / "latest_checkpointed_iteration.txt"
        mark.parent.mkdir()
        mark.write_text(str(saved))
    if done:
        write_jsonl(tmp_path / "metrics-1.jsonl", [{"step": step, "data": {}} for step in done])
    assert what_was_lost(tmp_path, tmp_path / "metrics-1.jsonl") == said
