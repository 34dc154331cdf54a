"""`zerosearch export` and its way to a hub, against a stand-in for the hub on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from standin_hub import TOKEN, StandInHub
from tiny import give_adapter, tiny_local_model


@pytest.fixture
def hub() -> Iterator[StandInHub]:
    hub = StandInHub()
    yield hub
    hub.stop()


@pytest.fixture
def adapter(tmp_path: Path, tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An adapter of a base that is a folder here."""
    monkeypatch.chdir(tmp_path)
    model = tiny_local_model(tiny_tokenizer)
    model.base.save_pretrained(tmp_path / "base")
    tiny_tokenizer.save_pretrained(tmp_path / "base")
    model.name = str(tmp_path / "base")
    give_adapter(model, "policy")
    model.save_adapter("policy", tmp_path / "mine")
    return tmp_path / "mine"


def environment(hub: StandInHub, home: Path, token: str = TOKEN) -> dict[str, str]:
    return {
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": token,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "COLUMNS": "300",
    }


def test_an_export_lies_in_a_private_repository_and_a_new_one_takes_its_place(
    adapter: Path, hub: StandInHub, spawn: Any, tmp_path: Path
) -> None:
    env = environment(hub, tmp_path / "home")
    done = spawn("export", "mine", "--push", "me/model", **env)
    assert done.code == 0, done.err
    assert f"pushed to {hub.url}/me/model" in done.out
    assert hub.private == {"me/model": True}
    folder = tmp_path / "exports" / "mine-merged"
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert files["model.safetensors"]
    assert hub.repos["me/model"] == {".gitattributes": b"", **files}
    assert 'from_pretrained("me/model")' in files["README.md"].decode()
    assert TOKEN not in done.out + done.err

    again = spawn("export", "mine", "--form", "gguf", "--push", "me/model", **env)
    assert again.code == 0, again.err
    assert "model.safetensors" not in hub.repos["me/model"]
    assert hub.repos["me/model"].keys() >= {"mine-f16.gguf", "README.md", "card.json"}


def test_a_repository_of_others_is_left_alone(adapter: Path, hub: StandInHub, spawn: Any, tmp_path: Path) -> None:
    theirs = {"README.md": b"theirs", "model.safetensors": b"theirs", "card.json": b'{"made_by": "them"}'}
    hub.repos["me/model"] = dict(theirs)
    done = spawn("export", "mine", "--push", "me/model", **environment(hub, tmp_path / "home"))
    assert done.code == 2
    assert "holds README.md, card.json, model.safetensors, which this command did not make" in done.line
    assert hub.repos["me/model"] == theirs


def test_a_hub_that_refuses_or_is_gone_is_one_line_and_the_export_stays(
    adapter: Path, hub: StandInHub, spawn: Any, tmp_path: Path
) -> None:
    done = spawn("export", "mine", "--push", "me/model", **environment(hub, tmp_path / "home", "hf_wrong"))
    assert done.code == 3
    assert "the hub refused (401): set HF_TOKEN" in done.line
    assert json.loads((tmp_path / "exports" / "mine-merged" / "card.json").read_text())["form"] == "merged"
    odd = spawn("export", "mine", "--push", "not//a-name", **environment(hub, tmp_path / "home"))
    assert (odd.code, odd.out, "--push not//a-name" in odd.line) == (2, "", True)
    gone = environment(hub, tmp_path / "home")
    hub.stop()
    down = spawn("export", "mine", "--push", "me/model", **gone)
    assert (down.code, "the export itself is kept in exports/mine-merged" in down.line) == (3, True)
