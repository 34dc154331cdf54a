"""The command line and real browsers, for the tests of what looks at runs."""

from __future__ import annotations

from commands.conftest import zerosearch

__all__ = ["zerosearch"]
