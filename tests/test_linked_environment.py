"""`.venv` may lead to a folder of somebody else, which the installation leaves as it is."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "install.py"


def test_an_environment_that_is_a_link_is_replaced_and_what_it_leads_to_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("install_here", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    theirs, venv = tmp_path / "theirs", tmp_path / ".venv"
    theirs.mkdir()
    (theirs / "kept").write_text("mine")
    venv.symlink_to(theirs)
    places = {"VENV": venv, "PYTHON": venv / "bin/python", "STAMP": venv / "s", "UNFINISHED": venv / "u"}
    for name, place in places.items():
        monkeypatch.setattr(script, name, place)
    really = script.run

    def run(command: list[str], failure: str) -> None:
        if "venv" not in command:
            raise script.InstallError("far enough")
        really([*command, "--without-pip"], failure)

    monkeypatch.setattr(script, "run", run)
    with pytest.raises(script.InstallError, match="far enough"):
        script.install(frozenset({"dev"}), False)
    assert (theirs / "kept").read_text() == "mine"
    assert not venv.is_symlink()
    assert (venv / "bin" / "python").resolve() == Path(sys.executable).resolve()
