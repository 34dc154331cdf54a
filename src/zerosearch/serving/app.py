"""The server as one ASGI application: its routes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp

from zerosearch.episodes.protocol import one_line
from zerosearch.episodes.questions import Question
from zerosearch.episodes.search import SearchPage
from zerosearch.episodes.seeds import derive_seed
from zerosearch.errors import DataError
from zerosearch.serving.config import ServeConfig
from zerosearch.serving.episodes import OpenEpisode, OpenEpisodes
from zerosearch.serving.faults import Fault, Json, answer
from zerosearch.serving.guard import Guard
from zerosearch.serving.metrics import Metrics
from zerosearch.serving.searching import Searching
from zerosearch.serving.shapes import about, retrieve_rows, serpapi_answer
from zerosearch.spending.meter import Meter
from zerosearch.version import __version__

DESCRIPTION = """A search engine for trainers. `/retrieve` is Search-R1's protocol, `/search.json` SerpAPI's. Without an
episode a simulated engine does not know the question that a query is asked for, nor its answer: every answer says so in
the header `X-Zerosearch-Pages` (`real`, `blind`, `question`). `POST /episodes` opens an episode whose pages know it."""


Lifespan = Callable[[FastAPI], contextlib.AbstractAsyncContextManager[None]]

_FOLDED_AT_ONCE = 1000  # searches whose costs are kept one by one


class RetrieveRequest(BaseModel):
    """Search-R1 and slime send `queries`, SkyRL `query`."""

    queries: list[str] | None = None
    query: str | None = None
    topk: int | None = Field(None, ge=1)
    return_scores: bool = False

    def asked(self) -> list[str]:
        """The queries, each on one line and whole: half a character in one becomes `?`."""
        queries = self.queries if self.queries is not None else [self.query or ""][: self.query is not None]
        return [one_line(query) for query in queries]


class EpisodeRequest(BaseModel):
    """A question whose queries will be asked at `/e/<id>/retrieve`."""

    model_config = ConfigDict(extra="forbid")  # with a misspelt `golden_answers` pages would not know the answer

    question: str = Field(min_length=1, max_length=10_000)
    golden_answers: list[str] = Field(default_factory=list, max_length=1000)
    noise: float = Field(0.0, ge=0, le=1)
    """The chance that a simulated page is noisy; a real engine has none."""
    seed: int = 0
    """Another seed gives other pages for the same question and query."""


class EpisodeAnswer(BaseModel):
    id: str
    retrieve: str
    search: str
    expires_seconds: float
    pages: str


@dataclass
class Service:
    """What the routes use. `top_k` documents where a request does not say how many."""

    searching: Searching
    meter: Meter
    config: ServeConfig
    top_k: int
    key: str = ""

    def __post_init__(self) -> None:
        self.episodes = OpenEpisodes(self.config.max_episodes, self.config.episode_seconds)
        self.metrics = Metrics(self.searching, self.episodes, self.meter)
        self._folded = 0

    def check(self, queries: list[str], top_k: int | None) -> int:
        """How many documents a query gets. Raises `Fault` (422) past a limit."""
        self._keep_books()
        config, count = self.config, self.top_k if top_k is None else top_k
        if not queries:
            raise Fault(422, "invalid", "queries (a list) or query (a text) is needed")
        if len(queries) > config.max_queries:
            raise Fault(422, "invalid", f"{len(queries)} queries; at most {config.max_queries} (serve.max_queries)")
        if max(map(len, queries)) > config.max_query_chars:
            raise Fault(422, "invalid", f"a query has more than {config.max_query_chars} characters")
        if not 1 <= count <= config.max_top_k:
            raise Fault(422, "invalid", f"topk is {count}; it is from 1 to {config.max_top_k} (serve.max_top_k)")
        return count

    def _keep_books(self) -> None:
        searches = self.searching.outcomes.total()
        if searches - self._folded >= _FOLDED_AT_ONCE:
            self._folded = searches
            self.meter.fold()

    async def retrieve(self, asked: RetrieveRequest, episode: OpenEpisode | None = None) -> Response:
        queries = asked.asked()
        pages = await self.searching.find(queries, self.check(queries, asked.topk), episode)
        return self._said({"result": [retrieve_rows(page, scores=asked.return_scores) for page in pages]}, episode)

    async def page(self, query: str, top_k: int | None, episode: OpenEpisode | None) -> SearchPage:
        """The page for one query. Raises `Fault`."""
        [page] = await self.searching.find([query], self.check([query], top_k), episode)
        return page

    async def search(self, query: str, count: int | None, name: str, episode: OpenEpisode | None = None) -> Response:
        query = one_line(query)
        page = await self.page(query, count, episode)
        return self._said(serpapi_answer(query, page, name), episode)

    def _said(self, found: dict[str, Any], episode: OpenEpisode | None) -> Response:
        """`found`, and what its pages know."""
        knowing = self.searching.knowing(episode)
        said = found | {"zerosearch": about(self.searching.name, knowing)}
        return Json(said, headers={"X-Zerosearch-Pages": knowing})


def build_app(service: Service, lifespan: Lifespan | None = None) -> tuple[FastAPI, ASGIApp]:
    """The FastAPI application, to add routes to, and what is served: the same behind its guard.

    `lifespan` is entered with the application while the server runs.
    """
    app = FastAPI(
        title="zerosearch",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    _add_errors(app)
    _add_operations(app, service)
    _add_search(app, service)
    _add_episodes(app, service)
    return app, Guard(app, config=service.config, key=service.key, metrics=service.metrics)


def _add_errors(app: FastAPI) -> None:
    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        what = "unknown field" if first["type"] == "extra_forbidden" else first["msg"]
        said = Fault(422, "invalid", f"{where}: {what}"[:500])
        if first["type"] == "json_invalid":
            said = Fault(400, "invalid_json", "the body is not JSON")
        elif where == "body" and "json" not in request.headers.get("Content-Type", ""):  # so says `curl -d`
            told = "the body has to be JSON and be sent with the header Content-Type: application/json"
            said = Fault(422, "invalid", told)
        return answer(said, _request_id(request))

    async def fault(request: Request, error: Exception) -> Response:
        assert isinstance(error, Fault)
        return answer(error, _request_id(request))

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        kind = {404: "no_such_path", 405: "method"}.get(error.status_code, "http")
        more = "; GET /docs lists what there is" if error.status_code in (404, 405) else ""
        return answer(Fault(error.status_code, kind, f"{error.detail}{more}"), _request_id(request), error.headers)

    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Fault, fault)
    app.add_exception_handler(HTTPException, http)


def _add_operations(app: FastAPI, service: Service) -> None:
    @app.get("/health", tags=["operations"])
    async def health() -> dict[str, str]:
        """Whether the server runs; needs no key. `status` is OpenEnv's word for it."""
        return {"status": "healthy", "engine": service.searching.name, "version": __version__}

    @app.get("/metrics", tags=["operations"])
    async def metrics() -> Response:
        """Prometheus' text format."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return Response(_page(app.openapi()), media_type="text/html")


def _page(schema: dict[str, Any]) -> str:
    """An OpenAPI schema as a page that fetches nothing (FastAPI's own loads its scripts from the internet)."""
    about = schema["info"]
    lines = [
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{about['title']}</title>",
        f"<h1>{about['title']} {about['version']}</h1>\n<p>{escape(about['description'])}",
        "<p>Fields of requests and answers: /openapi.json\n<dl>",
    ]
    for path, methods in schema["paths"].items():
        for method, said in methods.items():
            lines.append(f"<dt><code>{method.upper()} {path}</code><dd>{escape(said.get('description', ''))}")
    return "\n".join([*lines, "</dl>", ""])


def _add_search(app: FastAPI, service: Service) -> None:
    @app.post("/retrieve", tags=["search"])
    async def retrieve(asked: RetrieveRequest) -> Response:
        """Search-R1's protocol: `{"result": [[row, ...] for each query]}`. A simulated engine is blind here."""
        return await service.retrieve(asked)

    @app.get("/search.json", tags=["search"])
    async def search(request: Request, q: Annotated[str, Query(min_length=1)], num: int | None = None) -> Response:
        """SerpAPI's shape. Parameters that this server has no use for are ignored, as theirs are."""
        return await service.search(q, num, _request_id(request))


def _add_episodes(app: FastAPI, service: Service) -> None:
    @app.post("/episodes", status_code=201, tags=["episodes"])
    async def open_episode(asked: EpisodeRequest) -> EpisodeAnswer:
        """Open an episode. It ends once nobody has used it for `expires_seconds`, or by DELETE."""
        name = service.episodes.open(OpenEpisode(_question(asked), asked.noise, asked.seed))
        knowing = service.searching.knowing(service.episodes.get(name))
        seconds = service.config.episode_seconds
        paths = {"retrieve": f"/e/{name}/retrieve", "search": f"/e/{name}/search.json"}
        return EpisodeAnswer(id=name, **paths, expires_seconds=seconds, pages=knowing)

    @app.delete("/episodes/{id}", status_code=204, tags=["episodes"])
    async def close_episode(id: str) -> Response:
        """End an episode before its time."""
        service.episodes.close(id)
        return Response(status_code=204)

    @app.post("/e/{id}/retrieve", tags=["episodes"])
    async def retrieve(id: str, asked: RetrieveRequest) -> Response:
        """`/retrieve` for the question of an episode."""
        return await service.retrieve(asked, service.episodes.get(id))

    @app.get("/e/{id}/search.json", tags=["episodes"])
    async def search(
        request: Request, id: str, q: Annotated[str, Query(min_length=1)], num: int | None = None
    ) -> Response:
        """`/search.json` for the question of an episode."""
        return await service.search(q, num, _request_id(request), service.episodes.get(id))


def _question(asked: EpisodeRequest) -> Question:
    """Raises `Fault` (422) for a question that is none."""
    try:
        bare = Question.asked(asked.question)
    except DataError as error:
        raise Fault(422, "invalid", str(error)) from None
    answers = tuple(text for text in map(one_line, asked.golden_answers) if text)
    name = f"served-{derive_seed(bare.text, *answers):016x}"
    return Question(name, bare.text, answers)


def _request_id(request: Request) -> str:
    return str(request.scope.get("state", {}).get("request_id", ""))
