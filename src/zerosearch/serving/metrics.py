"""The server's numbers in Prometheus' text format: `GET /metrics`."""

from __future__ import annotations

from collections.abc import Iterator, Sized

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from zerosearch.serving.episodes import OpenEpisodes
from zerosearch.serving.searching import Searching
from zerosearch.spending.meter import Meter

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
"""Seconds."""


class Metrics:
    """Requests as they come, and what the parts of the server count by themselves, each time it is asked."""

    def __init__(self, searching: Searching, episodes: OpenEpisodes, meter: Meter) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._requests = Counter(
            "zerosearch_requests",
            "Requests, by path and status.",
            ("method", "path", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "zerosearch_request_seconds", "Seconds a request took.", ("path",), registry=self._registry, buckets=BUCKETS
        )
        self.requests_under_way = 0
        self.sessions: Sized = ()
        self._registry.register(_Parts(self, searching, episodes, meter))

    def request(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count a request that is over. `path` is a route's, with `{id}` where it has one: few values."""
        self._requests.labels(method, path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def text(self) -> bytes:
        return generate_latest(self._registry)


class _Parts(Collector):
    def __init__(self, metrics: Metrics, searching: Searching, episodes: OpenEpisodes, meter: Meter) -> None:
        self._metrics, self._searching, self._episodes, self._meter = metrics, searching, episodes, meter

    def collect(self) -> Iterator[Metric]:
        searches = CounterMetricFamily("zerosearch_searches", "Searches of the engine, by outcome.", labels=["outcome"])
        for outcome, count in sorted(self._searching.outcomes.items()):
            searches.add_metric([outcome], count)
        yield searches
        yield CounterMetricFamily(
            "zerosearch_spent_usd", "US dollars that searches have cost.", value=self._meter.used.usd
        )
        yield CounterMetricFamily(
            "zerosearch_episodes_ended_early", "Episodes pushed out by newer ones.", value=self._episodes.ended
        )
        for name, said, value in (
            ("zerosearch_requests_under_way", "Requests under way.", self._metrics.requests_under_way),
            ("zerosearch_searches_under_way", "Searches under way.", self._searching.under_way),
            ("zerosearch_episodes_open", "Episodes that were opened and have not ended.", len(self._episodes)),
            ("zerosearch_sessions_open", "OpenEnv sessions.", len(self._metrics.sessions)),
        ):
            yield GaugeMetricFamily(name, said, value=value)
