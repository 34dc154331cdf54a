"""Which policy of a run is used, when a checkpoint lost a part."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from zerosearch.errors import ModelError
from zerosearch.evaluation.entrants import policy_of
from zerosearch.run_folder import newest_policy


def checkpoint(run: Path, step: int, *, state: bool = True, weights: bool = True) -> Path:
    policy = run / "checkpoints" / f"step-{step:06d}" / "policy"
    policy.mkdir(parents=True)
    if state:
        (policy.parent / "state.json").write_text("{}")
    if weights:
        (policy / "adapter_model.safetensors").write_bytes(b"x")
    return policy


def test_an_older_policy_is_used_and_said_where_the_newest_checkpoint_lost_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    older = checkpoint(tmp_path, 9)
    newest = checkpoint(tmp_path, 10)
    checkpoint(tmp_path, 11, state=False)  # half written
    with caplog.at_level(logging.WARNING):
        assert newest_policy(tmp_path) == policy_of(tmp_path) == newest
        assert not caplog.records
        (newest / "adapter_model.safetensors").unlink()
        assert newest_policy(tmp_path) == policy_of(tmp_path) == older
    assert "step-000010 holds no policy; that of step-000009 is used" in caplog.text


def test_a_run_without_a_policy_is_named_and_any_other_folder_is_itself(tmp_path: Path) -> None:
    assert policy_of(tmp_path) == tmp_path
    checkpoint(tmp_path, 3, weights=False)
    assert newest_policy(tmp_path) is None
    with pytest.raises(ModelError, match="without a checkpoint"):
        policy_of(tmp_path)
