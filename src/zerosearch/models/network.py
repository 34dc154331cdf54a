"""Proxies and certificates of this machine's environment, with a clear line for each fault.

    httpx.AsyncClient(**client_options("http://localhost:8000/v1"))

The proxy variables are read here and not by httpx, which takes `[::1]` in `no_proxy` for a port and knows no networks
there. A server on this machine is never asked through a proxy.
"""

from __future__ import annotations

import contextlib
import importlib.util
import ipaddress
import os
import ssl
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import httpx

from zerosearch.cleaning import register_address, shown_address
from zerosearch.errors import ConfigError

CERTIFICATES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables that name a file of certificates, the first one that is set counts; SSL_CERT_DIR names a folder."""
_SOCKS = ("socks", "socks5", "socks5h")  # desktops write socks:// for version 5


def client_options(url: str) -> dict[str, Any]:
    """What an `httpx` client for `url` is opened with. Raises `ConfigError` where the environment cannot be used."""
    secure = url.lower().startswith("https:")
    return {"proxy": proxy_for(url), "verify": certificates() if secure else False, "trust_env": False}


def proxy_for(url: str) -> str | None:
    """The proxy that `url` is asked through, by the environment; None: directly.

    Raises `ConfigError`, naming the variable and not its password, for a proxy that cannot be used.
    """
    parts = urlsplit(url)
    host, port = (parts.hostname or "").rstrip("."), parts.port
    proxies = getproxies()
    name = next((name for name in (parts.scheme, "all") if proxies.get(name)), None)
    if name is None or is_here(host) or _left_out(host, port, proxies.get("no", "")):
        return None
    proxy = proxies[name]
    register_address(proxy)
    scheme, separator, rest = proxy.rpartition("://")
    scheme = scheme.lower() if separator else "http"
    what = f"{name}_proxy ({shown_address(proxy)})"
    instead = f"leave {host} to no_proxy to ask it directly"
    if scheme not in ("http", "https", *_SOCKS):
        raise ConfigError(f"{what} is no proxy that can be used: http, https and socks5 ones can; or {instead}")
    if scheme in _SOCKS and importlib.util.find_spec("socksio") is None:
        raise ConfigError(f"{what} is a SOCKS proxy, which needs a package: pip install 'httpx[socks]'; or {instead}")
    usable = f"{'socks5' if scheme == 'socks' else scheme}://{rest}"
    with contextlib.suppress(httpx.InvalidURL):
        if httpx.URL(usable).host:
            return usable
    raise ConfigError(f"{what} is no address of a proxy; write for example http://proxy.example:3128")


def is_here(host: str) -> bool:
    """Whether `host` is this machine: localhost, a loopback address, or 0.0.0.0, which servers print."""
    if host.lower() == "localhost" or host.lower().endswith(".localhost"):
        return True
    address = _address(host)
    return address is not None and (address.is_loopback or address.is_unspecified)


def proxy_faults() -> list[str]:
    """A line for each proxy of the environment that cannot be used, whatever is asked through it."""
    lines = []
    for url in ("http://server.example", "https://server.example"):
        try:
            proxy_for(url)
        except ConfigError as error:
            lines.append(str(error))
    return list(dict.fromkeys(line.partition(";")[0] for line in lines))


def certificate_faults() -> list[str]:
    """A line for each variable that names a file or folder which is not there."""
    known = [*((name, Path.is_file, "file") for name in CERTIFICATES), ("SSL_CERT_DIR", Path.is_dir, "folder")]
    return [
        f"{name} names {value}, and no such {kind} is there"
        for name, is_there, kind in known
        if (value := os.environ.get(name)) and not is_there(Path(value))
    ]


def certificates() -> ssl.SSLContext:
    """The certificates that servers are held against. Raises `ConfigError` for a variable that names no usable file."""
    name = next((name for name in CERTIFICATES if os.environ.get(name)), None)
    return _context(name, os.environ.get(name or "", ""), os.environ.get("SSL_CERT_DIR", ""))


@cache  # read once: it takes longer than a search does
def _context(name: str | None, file: str, folder: str) -> ssl.SSLContext:
    faults = certificate_faults()
    if faults:
        raise ConfigError(f"{faults[0]}; no https server can be checked without")
    if not name and not folder:
        return httpx.create_ssl_context(trust_env=False)
    try:
        return ssl.create_default_context(cafile=file or None, capath=folder or None)
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(f"{name} names {file}, which holds no certificates ({error})") from None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _left_out(host: str, port: int | None, no_proxy: str) -> bool:
    """Whether `no_proxy` names the host: itself or a domain of its, an address, a network, each with a port if any."""
    address = _address(host)
    for entry in no_proxy.replace(",", " ").lower().split():
        if entry == "*":
            return True
        with contextlib.suppress(ValueError):
            if address is not None and address in ipaddress.ip_network(entry.strip("[]"), strict=False):
                return True
        with contextlib.suppress(ValueError):
            named = urlsplit(f"//{entry}")
            name = (named.hostname or "").removeprefix("*").strip(".")
            same = f".{host.lower()}".endswith(f".{name}") or (address is not None and address == _address(name))
            if name and same and named.port in (None, port):
                return True
    return False
