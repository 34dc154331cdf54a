"""The part of a configuration that says how an engine is served: `[serve]`."""

from __future__ import annotations

import ipaddress

from pydantic import Field

from zerosearch.errors import ConfigError
from zerosearch.models.config import Section, Variable


class ServeConfig(Section):
    """For `zerosearch serve`."""

    host: str = "127.0.0.1"
    """Address to listen on. An address that other machines reach (`0.0.0.0`) needs a key, or --open."""
    port: int = Field(8000, ge=0, le=65535)
    """0: any free port; the first log line says which."""
    key_env: Variable = "ZEROSEARCH_API_KEY"
    """Name of the environment variable that contains the key. If the variable is not set, clients need no key."""
    max_body_kb: int = Field(1024, ge=1)
    """A larger request body is refused (413)."""
    max_queries: int = Field(512, ge=1)
    """Maximal queries in one request; more are refused (422)."""
    max_query_chars: int = Field(2000, ge=1)
    """Maximal characters of one query; longer ones are refused (422)."""
    max_top_k: int = Field(100, ge=1)
    """Maximal documents for a query; more are refused (422)."""
    concurrency: int = Field(256, ge=1)
    """Maximal requests at once; the next one is refused (503, Retry-After)."""
    searches: int = Field(64, ge=1)
    """Maximal searches of the engine at once; others wait."""
    requests_per_second: float | None = Field(None, gt=0)
    """Maximal rate for one client address, with bursts of two seconds' worth; more are refused (429, Retry-After).
    none: no limit."""
    timeout_seconds: float = Field(300.0, gt=0)
    """Time limit for the searches of one request; then 504."""
    shutdown_seconds: float = Field(30.0, gt=0)
    """How long a stopping server waits for open requests."""
    max_episodes: int = Field(10_000, ge=1)
    """Maximal open episodes (POST /episodes). One more closes the least recently used one."""
    episode_seconds: float = Field(3600.0, gt=0)
    """An episode that is not used for this time is closed (404)."""
    max_sessions: int = Field(256, ge=1)
    """Maximal OpenEnv sessions at once, each with one episode."""


def check_reach(host: str, *, key: bool, open_: bool) -> None:
    """Raises `ConfigError` where other machines reach `host` and there is neither a key nor `open_`."""
    if key or open_ or is_loopback(host):
        return
    raise ConfigError(
        f"serve.host {host} can be reached from other machines, and there is no key: export one in ZEROSEARCH_API_KEY "
        "(or the variable that serve.key_env names), or add --open where everybody who reaches it may search"
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
