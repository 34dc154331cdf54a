"""The local server that plays a script, for the tests of what talks to servers."""

from engines.conftest import complete, endpoint, reply

__all__ = ["complete", "endpoint", "reply"]
