"""SearXNG: its address, the format that most instances forbid, and pages that are empty because engines are down."""

from __future__ import annotations

from typing import Any

import pytest
from engines.services import NEPAL, ONCE, answer, failure, open_service, search

from zerosearch.episodes.search import Document
from zerosearch.models.retry import Retry


@pytest.mark.parametrize("ending", ["", "/", "/search", "/search/"])
def test_the_request_is_the_documented_one(
    endpoint: Any, reply: Any, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    endpoint.script = [reply(body=answer("searxng", [NEPAL]))]
    search(open_service("searxng", endpoint.url + ending, monkeypatch))
    assert endpoint.paths == ["/v1/search"]
    assert endpoint.requests == [{"q": "capital of Nepal", "format": "json"}]


def test_an_instance_that_forbids_json_is_told_how_to_allow_it(
    endpoint: Any, reply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint.script = [reply(403, b"<!doctype html><title>403 Forbidden</title>")]
    error = failure(open_service("searxng", endpoint.url, monkeypatch, retry=Retry(attempts=5)))
    assert (error.kind, error.attempts) == ("refused", 1)
    assert "settings.yml needs search: formats: [html, json]" in str(error)


@pytest.mark.parametrize(
    ("silent", "named"),
    [([["google", "CAPTCHA"], ["brave", "timeout"]], "google (CAPTCHA), brave (timeout)"), (["google"], "google"),
     ({"google": "x"}, "google"), (3, "3")],
)  # fmt: skip
def test_nothing_found_while_engines_are_down_is_no_empty_page(
    endpoint: Any, reply: Any, monkeypatch: pytest.MonkeyPatch, silent: Any, named: str
) -> None:
    endpoint.script = [reply(body=answer("searxng", [], unresponsive_engines=silent))]
    error = failure(open_service("searxng", endpoint.url, monkeypatch, retry=Retry(attempts=2)))
    assert (error.kind, error.attempts) == ("empty", 2)
    assert named in str(error)


def test_results_of_the_engines_that_are_up_are_a_page(
    endpoint: Any, reply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint.script = [reply(body=answer("searxng", [NEPAL], unresponsive_engines=[["google", "CAPTCHA"]]))]
    page = search(open_service("searxng", endpoint.url, monkeypatch, retry=ONCE))
    assert page.documents == (Document(*NEPAL),)
