"""What the tests share: settings of hypothesis, and a codec that needs no model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import settings

from zerosearch.episodes.episode import Codec


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults", action="store_true", help="run all of tests/faults, not its short part")


settings.register_profile("zerosearch", derandomize=True, deadline=None, max_examples=80, database=None)
settings.load_profile("zerosearch")


@pytest.fixture(scope="session")
def byte_codec() -> Codec:
    """One id a byte, like a byte-level tokenizer without merges; id 256 is `<|im_end|>`: end, and padding too.

    As with a real one, `encode` turns the text of a special token into its id, and ids that are no UTF-8 do not
    survive decode and encode.
    """

    def encode(text: str) -> list[int]:
        parts = text.split("<|im_end|>")
        return [i for n, part in enumerate(parts) for i in ([256] if n else []) + list(part.encode())]

    def decode(ids: Sequence[int]) -> str:
        raw = b"".join(b"<|im_end|>" if i == 256 else bytes([i]) for i in ids)
        return raw.decode(errors="replace")

    return Codec(encode, decode, ("<|im_end|>",))


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Any:
    """A real byte-level BPE tokenizer of about 400 tokens, trained on the protocol's own texts."""
    from tiny import tiny_tokenizer

    return tiny_tokenizer()


@pytest.fixture
def tiny_model(tiny_tokenizer: Any) -> Any:
    """A `LocalModel` over a random Llama of under 100,000 parameters; new for each test, always the same weights."""
    from tiny import tiny_local_model

    return tiny_local_model(tiny_tokenizer)
