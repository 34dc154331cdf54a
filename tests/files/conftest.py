"""The local server that plays a script, for the tests of what talks to servers."""

from engines.conftest import endpoint, service

__all__ = ["endpoint", "service"]
