"""Upload a folder to a model hub: to a private repository, never over files of another program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from zerosearch.errors import ConfigError, FolderError, RunError, first_line
from zerosearch.files.folders import listed

_HUBS_OWN = (".gitattributes",)


def check_repository(repo: str) -> None:
    """Raises `ConfigError` for a name that no hub accepts."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise ConfigError(f"--push {repo}: {first_line(error)}") from None


def push_folder(folder: Path, repo: str, *, marker: str, made_by: str, message: str) -> str:
    """Upload `folder` to the model repository `repo` of the hub (HF_ENDPOINT), as its whole content; returns its URL.

    A repository that is not there yet is made, private. One that is there has to be empty or made by us: its file
    `marker` then holds `{"made_by": made_by}`. The token is the hub client's own (HF_TOKEN, or its login). Raises
    `FolderError` for another's repository, `RunError` where the hub cannot be reached or refuses.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        where = str(api.create_repo(repo, repo_type="model", private=True, exist_ok=True))
        there = [name for name in api.list_repo_files(repo) if name not in _HUBS_OWN]
        if there and not _ours(api, repo, marker, made_by):
            raise FolderError(
                f"--push {repo}: holds {listed(sorted(there))}, which this command did not make; name another one"
            )
        ours = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        stale = [name for name in there if name not in ours]
        api.upload_folder(
            repo_id=repo, folder_path=folder, commit_message=message, delete_patterns=stale or None, repo_type="model"
        )
    except FolderError:
        raise
    except Exception as error:  # the hub's client has errors of many libraries
        raise RunError(f"--push {repo}: {_reason(error)}; the export itself is kept in {folder}") from None
    return where


def _ours(api: Any, repo: str, marker: str, made_by: str) -> bool:
    from huggingface_hub.errors import EntryNotFoundError

    try:
        card = json.loads(Path(api.hf_hub_download(repo, marker)).read_text(encoding="utf-8"))
    except (EntryNotFoundError, ValueError):
        return False
    return isinstance(card, dict) and card.get("made_by") == made_by


def _reason(error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return f"the hub refused ({status}): set HF_TOKEN to a token that may write there"
    return first_line(error)
