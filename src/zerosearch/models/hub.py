"""The model hub: asked once, so that a run without a network ends within seconds."""

from __future__ import annotations

import os
from pathlib import Path

from zerosearch.errors import ModelError
from zerosearch.models.embedded import EMBEDDED, EMBEDDED_MODELS

CONNECT_SECONDS, ANSWER_SECONDS = 3.0, 10.0


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
