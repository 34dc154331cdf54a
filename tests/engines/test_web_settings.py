"""Keys, addresses, proxies and prices of the engines behind a URL, and the text of their results."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from engines.conftest import Reply
from engines.services import ENGINES, KEY, NEPAL, ONCE, Service, answer, failure, search

from zerosearch.config import TrainConfig
from zerosearch.engines.config import EngineConfig
from zerosearch.engines.results import plain_text
from zerosearch.engines.snippets import Snippets
from zerosearch.engines.web import KEY_VARIABLES, PRICES_USD, HttpOptions
from zerosearch.episodes.questions import Question
from zerosearch.episodes.search import Document, SearchRequest
from zerosearch.errors import ConfigError
from zerosearch.parts import Parts

KINDS = sorted(ENGINES)
every_kind = pytest.mark.parametrize("kind", KINDS)
with_a_key = pytest.mark.parametrize("kind", sorted(KEY_VARIABLES))


@with_a_key
def test_a_key_that_is_echoed_is_shown_nowhere(kind: str, service: Service, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    engine = service.open(
        kind,
        Reply(500, json.dumps({"error": f"bad key {KEY}"}).encode(), {"X-Echo": KEY}),
        Reply(403, json.dumps({"message": f"bad key {KEY}"}).encode()),
        json.dumps({"error": f"bad key {KEY}", "searchParameters": KEY, "organic": KEY}).encode(),
        answer(kind, [(KEY, f"the key {KEY}", f"https://example.org?k={KEY}")]),
        retry=ONCE,
    )
    shown = [str(failure(engine)) for _ in range(3)]
    assert "bad key [key]" in shown[0]
    assert "bad key [key]" in shown[1]
    page = search(engine)
    assert page.documents[0].text == "the key [key]"
    sent = zip(service.requests, service.endpoint.headers, strict=True)
    assert [request.get("api_key", headers.get("x-api-key")) for request, headers in sent] == [KEY] * 4
    for form in (KEY, "0123456789abcdef"):
        assert form not in repr(engine) + repr(page) + "".join(shown) + caplog.text
    assert "HTTP Request" in caplog.text  # httpx did log, with the address


@with_a_key
def test_a_key_that_is_not_set_is_an_error_that_names_the_variable(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLES[kind], raising=False)
    with pytest.raises(ConfigError, match=f"{KEY_VARIABLES[kind]} is not set"):
        ENGINES[kind]()


@pytest.mark.parametrize("kind", ["searxng", "remote"])
def test_engines_of_ones_own_need_an_address_and_take_a_key_where_one_is_named(
    kind: str, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=rf"engine {kind} needs a url, for example http://localhost"):
        ENGINES[kind]()
    monkeypatch.setenv("MY_KEY", KEY)
    service.says(answer(kind, []))
    search(service.open(kind))
    search(service.open(kind, api_key_env="MY_KEY"))
    assert [headers.get("authorization") for headers in service.endpoint.headers] == [None, f"Bearer {KEY}"]


@every_kind
@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://h/x", "http://u:hush@h/x", "http://h/x?key=hush", "http://h:x"]
)
def test_an_address_that_cannot_be_used_is_refused_without_showing_a_password(
    kind: str, url: str, service: Service
) -> None:
    with pytest.raises(ConfigError, match=rf"engine\.{kind}\.url") as caught:
        service.open(kind, url=url)
    assert "hush" not in str(caught.value)


# ---- from the configuration


@every_kind
def test_the_configuration_opens_each_engine(kind: str, service: Service) -> None:
    table = {"url": service.endpoint.url, "api_key_env": "SERPER_API_KEY", "price_usd": 0.5}
    config = EngineConfig.model_validate({"kind": kind, "attempts": 1, kind: table})
    engine: Any = Parts(TrainConfig()).open_engine(config)
    assert type(engine) is ENGINES[kind]
    service.says(answer(kind, [NEPAL]), Reply(500))
    assert search(engine).usage.usd == 0.5
    assert failure(engine).attempts == 1


def test_passages_of_a_retriever_are_cut_to_snippets_and_its_connections_closed(service: Service) -> None:
    text = "Nepal is a country. Kathmandu is the capital of it. It has many mountains of great height."
    told = {"kind": "remote", "remote": {"url": service.endpoint.url}, "snippet_words": 7}
    engine: Any = Parts(TrainConfig()).open_engine(EngineConfig.model_validate(told))
    assert type(engine) is Snippets
    service.says(answer("remote", [("Nepal", text, "7")]))
    assert search(engine).documents == (Document("Nepal", "Kathmandu is the capital of it.", "7"),)
    assert engine.engine._client._session._held is None


def test_public_services_have_their_public_address_and_price(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, address in (
        ("serpapi", "https://serpapi.com/search.json"),
        ("serper", "https://google.serper.dev/search"),
    ):
        monkeypatch.setenv(KEY_VARIABLES[kind], KEY)
        engine = ENGINES[kind]()
        assert (engine.name, engine._client.url) == (kind, address)
    # ZeroSearch, arXiv 2505.04588: $586.70 for 64,000 searches
    assert PRICES_USD["serpapi"] * 64_000 == pytest.approx(586.70, abs=0.1)


def test_settings_out_of_range_are_refused() -> None:
    for options in (HttpOptions("http://h", max_connections=0), HttpOptions("http://h", requests_per_second=-1.0)):
        with pytest.raises(ConfigError, match=r"max_connections|requests_per_second"):
            ENGINES["remote"](options)


# ---- text


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("<b>Kath</b>mandu &amp; valley", "Kathmandu & valley"),
        ("one<br>two<br/>three<p class='x'>four</p>", "one two three four"),
        ('<span class="highlight">Nepal</span>', "Nepal"),
        ("1 < 2 and 3 > 2; x<y", "1 < 2 and 3 > 2; x<y"),
        ("&lt;b&gt; makes text bold", "<b> makes text bold"),
        ("Jan&nbsp;3\n&#8212; ok \ud800", "Jan 3 — ok ?"),
        ("<!-- note -->text<IMG SRC=x>", "text"),
        ("if a<b and c>d, or a<i then n>k; i<n>k", "if a<b and c>d, or a<i then n>k; i<n>k"),
        ("<a href='u' class=x>one</a><br />two", "one two"),
        ("", ""),
    ],
)
def test_snippets_lose_their_html(text: str, plain: str) -> None:
    assert plain_text(text) == plain


@pytest.mark.parametrize("unit", ["<!--", "<a ", "<", "&#", "</", "<b " + "x" * 50])
def test_hostile_html_is_read_in_linear_time(unit: str) -> None:
    """A pattern that looks at the rest of the text from every mark would take hours for this."""
    assert len(plain_text(unit * (1_000_000 // len(unit)))) > 0


def test_the_request_says_nothing_of_the_question(service: Service) -> None:
    request = SearchRequest("capital", 2, Question("1", "Which?", ("Kathmandu",)), seed=3)
    for kind in KINDS:
        search(service.open(kind, answer(kind, [])), request)
    assert len(service.requests) == len(KINDS)
    assert "Kathmandu" not in json.dumps(service.requests)
