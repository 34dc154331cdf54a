"""The model hub: asked once, so that a run without a network ends within seconds; never written over other files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from zerosearch.errors import ConfigError, FolderError, ModelError, RunError, first_line
from zerosearch.files.folders import listed
from zerosearch.models.embedded import EMBEDDED, EMBEDDED_MODELS

CONNECT_SECONDS, ANSWER_SECONDS = 3.0, 10.0
_HUBS_OWN = (".gitattributes",)


def only_here(name: str) -> bool:
    """Whether the model `name`, a folder or a hub id, is to be loaded from this machine without asking the hub.

    Raises `ModelError` where it is a hub id that is not on this machine, and the hub cannot be reached.
    """
    if Path(name).is_dir():
        return True
    from huggingface_hub import constants, try_to_load_from_cache

    cached = isinstance(try_to_load_from_cache(name, "config.json"), str)
    if constants.HF_HUB_OFFLINE or os.environ.get("TRANSFORMERS_OFFLINE", "0").lower() in ("1", "true", "yes", "on"):
        why = "HF_HUB_OFFLINE is set"
    else:
        why = _unreachable(f"{constants.ENDPOINT}/{name}/resolve/main/config.json")
        if not why:
            return False
    if cached:
        return True
    raise ModelError(
        f"model {name}: it is not on this machine, and the model hub cannot be asked ({why}); name the folder of a "
        f"model, or {EMBEDDED}, which comes without the hub"
    )


def _unreachable(url: str) -> str:
    """Why nobody answers there; empty where somebody does, whatever the answer."""
    import httpx

    try:
        with httpx.Client(timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)) as client:
            client.head(url)
    except httpx.HTTPError as error:
        return " ".join(str(error).split())[:200] or type(error).__name__
    except (ImportError, ValueError):  # a proxy or certificate that only the hub's own client may understand
        return ""
    return ""


def base_licence(name: str) -> str | None:
    """The licence that a base model's card names: of the embedded model, a folder, or a hub id; None: not found out."""
    embedded = EMBEDDED_MODELS.get(name.removeprefix("embedded:"))
    if embedded is not None:
        return embedded.licence
    from huggingface_hub import ModelCard, hf_hub_download

    folder = Path(name).expanduser()
    try:
        readme = folder / "README.md"
        if not folder.is_dir():
            readme = Path(hf_hub_download(name, "README.md", local_files_only=only_here(name)))
        found = getattr(ModelCard(readme.read_text(encoding="utf-8")).data, "license", None)
    except Exception:  # no card, no network, or a card that cannot be read: the export says that it is not known
        return None
    return found if isinstance(found, str) else None


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
