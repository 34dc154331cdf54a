"""The messages that docs/troubleshooting.md explains are those that the package prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OTHERS = {"does not provide the extra": "pip's own, about a distribution of another project"}


def printed() -> str:
    """All source, texts that go on in the next line put together."""
    files = [*sorted((ROOT / "src").rglob("*.py")), ROOT / "Makefile"]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    return re.sub(r"\s+", " ", re.sub(r"[\"']\s*\n\s*(?:\+ )?f?[\"']", "", text))


def messages() -> list[str]:
    headings = re.findall(
        r"^### (.+)$", (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    return [code for heading in headings for code in re.findall(r"`([^`]+)`", heading)]


def unknown(message: str, source: str) -> list[str]:
    """The parts of `message` between `...` that stand nowhere in the source."""
    parts = [part.strip() for part in message.split("...")]
    return [part for part in parts if len(part) > 3 and part not in source]


@pytest.mark.parametrize("message", messages())
def test_a_message_that_is_explained_is_printed_somewhere(message: str) -> None:
    if any(other in message for other in OTHERS):
        return
    source = printed()
    assert unknown(message, source) == []
    assert unknown(f"{message} and an invented end", source) != []


def test_there_are_messages() -> None:
    assert len(messages()) > 30
