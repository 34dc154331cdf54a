"""SearXNG: its address, the format that most instances forbid, and pages that are empty because engines are down."""

from __future__ import annotations

from typing import Any

import pytest
from engines.conftest import Reply
from engines.services import NEPAL, Service, answer, failure, search

from zerosearch.episodes.search import Document
from zerosearch.models.retry import Retry


@pytest.mark.parametrize("ending", ["", "/", "/search", "/search/"])
def test_the_request_is_the_documented_one(service: Service, ending: str) -> None:
    search(service.open("searxng", answer("searxng", [NEPAL]), url=service.endpoint.url + ending))
    assert service.endpoint.paths == ["/v1/search"]
    assert service.requests == [{"q": "capital of Nepal", "format": "json"}]


def test_an_instance_that_forbids_json_is_told_how_to_allow_it(service: Service) -> None:
    forbidden = Reply(403, b"<!doctype html><title>403 Forbidden</title>")
    error = failure(service.open("searxng", forbidden, retry=Retry(attempts=5)))
    assert (error.kind, error.attempts) == ("refused", 1)
    assert "settings.yml needs search: formats: [html, json]" in str(error)


@pytest.mark.parametrize(
    ("silent", "named"),
    [([["google", "CAPTCHA"], ["brave", "timeout"]], "google (CAPTCHA), brave (timeout)"), (["google"], "google"),
     ({"google": "x"}, "google"), (3, "3")],
)  # fmt: skip
def test_nothing_found_while_engines_are_down_is_no_empty_page(service: Service, silent: Any, named: str) -> None:
    nothing = answer("searxng", [], unresponsive_engines=silent)
    error = failure(service.open("searxng", nothing, retry=Retry(attempts=2)))
    assert (error.kind, error.attempts) == ("empty", 2)
    assert named in str(error)


def test_results_of_the_engines_that_are_up_are_a_page(service: Service) -> None:
    some = answer("searxng", [NEPAL], unresponsive_engines=[["google", "CAPTCHA"]])
    assert search(service.open("searxng", some)).documents == (Document(*NEPAL),)
