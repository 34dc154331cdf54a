"""Turn texts into vectors for dense retrieval, with a local model.

    encoder = SentenceTransformerEncoder("intfloat/e5-base-v2", device="cuda", cache=folder)
    encoder.encode(["query: capital of Nepal"])       # float32 (1, 768)

Needs the extra `dense`; nothing of it is imported before a model is opened.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from zerosearch.engines.indexes import folder_digest
from zerosearch.errors import ConfigError, ModelError, install
from zerosearch.models.devices import on_device, pick_device
from zerosearch.process.runtime import quiet_libraries

INSTALL = install("dense")


class Encoder(Protocol):
    """Embeds texts. `name` is shown; `identity` differs wherever the embeddings of a text may."""

    @property
    def name(self) -> str: ...

    @property
    def identity(self) -> str: ...

    def encode(self, texts: list[str]) -> npt.NDArray[np.float32]:
        """Vectors `(len(texts), dimensions)`, float32, of any length: they are made unit vectors later."""
        ...


class SentenceTransformerEncoder:
    """A model of the sentence-transformers library: a folder, or a hub id.

    A folder is recognised by what its files hold (their digests are remembered in `cache`), a hub id by its name.
    `device` is `auto`, or as torch writes it.

    Raises `ConfigError` where the extra is missing, `ModelError` where the model cannot be opened.
    """

    def __init__(self, model: str, *, device: str = "auto", cache: Path) -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise ConfigError(f"embeddings need sentence-transformers: {INSTALL} ({error})") from None
        quiet_libraries()
        folder = Path(model).expanduser()
        is_folder = folder.is_dir()
        if not is_folder and (folder.is_absolute() or model.startswith(".")):
            raise ModelError(f"{model}: no such folder; name one that holds a sentence-transformers model, or a hub id")
        place = None if device == "auto" else str(pick_device(device))
        try:
            self._model: Any = SentenceTransformer(str(folder) if is_folder else model, device=place)
        except Exception as error:  # libraries and hub clients raise many kinds
            said = (str(error).splitlines() or [type(error).__name__])[0]
            raise ModelError(f"{model}: cannot be opened as a sentence-transformers model ({said})") from None
        self.name = folder.resolve().name if is_folder else model
        self.identity = folder_digest(folder, cache) if is_folder else model

    def encode(self, texts: list[str]) -> npt.NDArray[np.float32]:
        # prompt="": a model's default prompt would be put before the prefix that the settings name
        with on_device(self._model.device):  # dense retrieval embeds in a thread of its own
            found = self._model.encode(texts, batch_size=64, prompt="", convert_to_numpy=True, show_progress_bar=False)
        return np.asarray(found, dtype=np.float32)

    def prompts(self) -> dict[str, str]:
        """The prefixes that the model's own files name, such as `{"query": "query: "}`."""
        named = getattr(self._model, "prompts", None) or {}
        return {str(name): str(text) for name, text in named.items() if text}
