"""The local server that plays a script, for the generator that talks to one."""

from engines.conftest import complete, endpoint, reply

__all__ = ["complete", "endpoint", "reply"]
