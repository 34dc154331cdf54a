"""`zerosearch export` of an adapter, from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny import give_adapter, tiny_local_model


def test_an_adapter_of_a_folder_is_merged_and_the_command_says_where_it_is(
    zerosearch: Any, tmp_path: Path, tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = tiny_local_model(tiny_tokenizer)
    model.base.save_pretrained(tmp_path / "base")
    tiny_tokenizer.save_pretrained(tmp_path / "base")
    model.name = str(tmp_path / "base")
    give_adapter(model, "policy")
    model.save_adapter("policy", tmp_path / "mine")
    done = zerosearch("export", "mine")
    assert done.code == 0, done.err
    assert "model card exports/mine-merged/README.md" in done.out
    folder = tmp_path / "exports" / "mine-merged"
    assert {path.name for path in folder.iterdir()} >= {"model.safetensors", "tokenizer.json", "README.md"}
    assert json.loads((folder / "card.json").read_text())["form"] == "merged"
    assert "is none of adapter, merged" in zerosearch("export", "mine", "--form", "onnx").line
