"""Proxies and certificates as shells and clusters set them: used where they can be, one clear line where not."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from zerosearch.errors import ConfigError
from zerosearch.models.client import JsonClient
from zerosearch.models.network import certificate_faults, client_options, is_here, proxy_for

NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
PROXY = "http://proxy.example:3128"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*NAMES, *map(str.upper, NAMES), "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "a.localhost",
        "LOCALHOST",
        "[::ffff:127.0.0.1]",
    ],
)
def test_this_machine_is_never_asked_through_a_proxy(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", PROXY)
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:1080")
    assert proxy_for(f"http://{host}:8000/v1") is None
    assert is_here(host)
    assert not any(map(is_here, ("10.0.0.1", "localhost.example")))


@pytest.mark.parametrize(
    ("no_proxy", "host", "direct"),
    [
        ("*", "server.example", True),
        ("server.example", "server.example", True),
        (".example", "server.example", True),
        ("*.example", "server.example", True),
        ("example", "server.example", True),
        ("ample", "server.example", False),
        ("server.example:8000", "server.example", True),
        ("server.example:9", "server.example", False),
        ("localhost,127.0.0.1,[::1],10.0.0.0/8", "10.2.3.4", True),
        ("localhost 127.0.0.1,[::1]:80,10.0.0.0/8", "11.2.3.4", False),
        ("[fd00::1]", "[fd00::1]", True),
        ("[fd00::1]:8000", "[fd00::1]", True),
        ("[fd00::1]:9", "[fd00::1]", False),
        ("fd00::/8", "[fd00::1]", True),
        ("10.2.3.4:8000", "10.2.3.4", True),
        (" , ,:,[,]x,/8", "server.example", False),
        ("", "server.example", False),
    ],
)
def test_no_proxy_names_hosts_domains_addresses_networks_and_ports(
    no_proxy: str, host: str, direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", PROXY)
    monkeypatch.setenv("no_proxy", no_proxy)
    assert (proxy_for(f"http://{host}:8000/v1") is None) == direct


@pytest.mark.parametrize(
    ("name", "value", "url", "proxy"),
    [
        ("http_proxy", PROXY, "http://h/", PROXY),
        ("http_proxy", PROXY, "https://h/", None),
        ("https_proxy", PROXY, "https://h/", PROXY),
        ("all_proxy", PROXY, "https://h/", PROXY),
        ("HTTP_PROXY", "proxy.example:3128", "http://h/", PROXY),
        ("all_proxy", "", "http://h/", None),
    ],
)
def test_the_scheme_says_which_proxy(
    name: str, value: str, url: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert proxy_for(url) == proxy


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("socks5://me:hunter22@127.0.0.1:1080", "httpx[socks]"),
        ("socks://127.0.0.1:1080", "httpx[socks]"),
        ("socks4://me:hunter22@127.0.0.1:1080", "no proxy that can be used"),
        ("ftp://127.0.0.1:1080", "no proxy that can be used"),
        ("http://proxy:port", "no address of a proxy"),
        ("me:hunter22@", "no address of a proxy"),
        ("http://me:hunt/er22@:x", "no address of a proxy"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_one_line_without_its_password(
    value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "httpx[socks]" in said and importlib.util.find_spec("socksio"):
        pytest.skip("SOCKS proxies can be used here")
    monkeypatch.setenv("all_proxy", value)
    with pytest.raises(ConfigError) as caught:
        JsonClient("http://server.example/v1")
    assert said in str(caught.value)
    assert "all_proxy" in str(caught.value)
    assert "er22" not in str(caught.value)


def test_a_proxy_is_asked_with_its_password_and_nothing_shows_it(
    endpoint: Any, reply: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    monkeypatch.setenv("http_proxy", endpoint.url.replace("http://", "http://me:hunter22@").replace("/v1", ""))
    endpoint.script = [reply(body=b"{}")]

    async def main() -> Any:
        client = JsonClient("http://server.example/v1")
        try:
            return await client.post({})
        finally:
            await client.aclose()

    assert asyncio.run(main()) == {}
    assert endpoint.headers[0]["proxy-authorization"] == "Basic bWU6aHVudGVyMjI="
    assert endpoint.headers[0]["host"] == "server.example"
    assert not any(secret in caplog.text for secret in ("hunter22", "bWU6aHVudGVyMjI"))


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_certificates_that_are_not_there_are_one_line_for_https_alone(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, endpoint: Any, reply: Any
) -> None:
    monkeypatch.setenv(name, str(tmp_path / "none.pem"))
    with pytest.raises(ConfigError, match=f"{name} names .*none.pem, and no such file"):
        JsonClient("https://server.example/v1")
    assert certificate_faults()[0].startswith(name)
    assert client_options(endpoint.url)["proxy"] is None  # http needs none
    (tmp_path / "empty.pem").write_text("no certificate")
    monkeypatch.setenv(name, str(tmp_path / "empty.pem"))
    with pytest.raises(ConfigError, match="holds no certificates"):
        JsonClient("https://server.example/v1")
