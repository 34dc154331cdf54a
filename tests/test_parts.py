"""What a configuration describes is opened once, with every setting, and closed in reverse order."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from engines.conftest import Reply, completion, endpoint  # noqa: F401
from tiny import save_chain

from zerosearch.config import TrainConfig
from zerosearch.engines.config import EngineConfig
from zerosearch.episodes.generation import Sampling
from zerosearch.episodes.protocol import STOP_STRINGS, Message
from zerosearch.episodes.search import Document, SearchEngine, SearchPage, SearchRequest
from zerosearch.errors import BudgetError, ConfigError, DataError
from zerosearch.files.jsonl import write_jsonl
from zerosearch.models.config import ModelRef
from zerosearch.models.endpoint import byte_codec
from zerosearch.parts import Parts, Role
from zerosearch.spending.books import spent
from zerosearch.spending.ledger import Ledger
from zerosearch.usage import Usage

TEXT = "Nepal is a state. Kathmandu is its capital. It has eight of the ten highest mountains of the world."


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZEROSEARCH_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "countries.jsonl"
    path.write_text(json.dumps({"id": "np", "title": "Nepal", "text": TEXT}) + "\n")
    return path


def opened(**values: Any) -> SearchEngine:
    return Parts(TrainConfig()).open_engine(EngineConfig.model_validate(values))


def ask(engine: SearchEngine, query: str) -> SearchPage:
    return asyncio.run(engine.search(SearchRequest(query, 3)))


def test_pages_are_kept_whole_and_snippets_are_cut_from_them(corpus: Path, tmp_path: Path) -> None:
    settings = {"kind": "bm25", "bm25": {"corpus": str(corpus)}, "cache": str(tmp_path / "pages.sqlite")}
    cut = ask(opened(**settings, snippet_words=5), "capital Kathmandu")
    whole = ask(opened(**settings), "capital Kathmandu")
    assert cut.documents[0].text == "Kathmandu is its capital."
    assert whole.documents[0].text == TEXT
    assert (cut.cached, whole.cached) == (False, True)


def test_other_parameters_of_an_engine_do_not_get_its_pages(corpus: Path, tmp_path: Path) -> None:
    settings = {"kind": "bm25", "bm25": {"corpus": str(corpus)}, "cache": str(tmp_path / "pages.sqlite")}
    assert not ask(opened(**settings), "Nepal").cached
    assert not ask(opened(**settings | {"bm25": {"corpus": str(corpus), "k1": 1.2}}), "Nepal").cached
    assert ask(opened(**settings), "Nepal").cached


def test_a_cache_becomes_a_recorded_engine(corpus: Path, tmp_path: Path) -> None:
    path = str(tmp_path / "pages.sqlite")
    page = ask(opened(kind="bm25", bm25={"corpus": str(corpus)}, cache=path), "capital of Nepal")
    recorded: dict[str, Any] = {"kind": "recorded", "recorded": {"file": path}}
    nearest = {"kind": "recorded", "recorded": {"file": path, "match": "nearest"}}
    assert ask(opened(**recorded), "capital of Nepal").documents == page.documents
    assert ask(opened(**recorded), "Nepal's capitals").documents == ()
    assert ask(opened(**nearest), "Nepal's capitals").documents == page.documents


class Echo:
    """An engine of a user's own."""

    name = "echo"

    def __init__(self, loud: bool = False) -> None:
        self.identity, self.loud = f"echo loud={loud}", loud

    async def search(self, request: SearchRequest) -> SearchPage:
        text = request.query.upper() if self.loud else request.query
        return SearchPage((Document("Echo", text),), self.name)


class NoEngine:
    """Has no `search`."""


def test_ones_own_class_is_an_engine_with_settings_and_cache(tmp_path: Path) -> None:
    engine = opened(kind=f"{__name__}:Echo", settings={"loud": True}, cache=str(tmp_path / "pages.sqlite"))
    assert ask(engine, "nepal").documents == (Document("Echo", "NEPAL"),)
    assert ask(engine, "nepal").cached


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"kind": "no.such_module:Echo"}, "engine.kind: no.such_module:Echo: there is no module no (looked for in"),
        ({"kind": f"{__name__}.inside:Echo"}, f"there is no module {__name__}.inside"),
        ({"kind": f"{__name__}:Ecco"}, f"{__name__} has no Ecco; did you mean Echo?"),
        ({"kind": f"{__name__}:TEXT"}, "is str, not a function or a class"),
        ({"kind": f"{__name__}:NoEngine"}, "has no name, which a SearchEngine needs"),
        (
            {"kind": f"{__name__}:Echo", "settings": {"lout": 1}},
            f"engine.settings of {__name__}:Echo: got an unexpected keyword argument 'lout'; it is Echo(loud: 'bool'",
        ),
    ],
    ids=["module", "inner module", "name", "no class", "no engine", "signature"],
)
def test_what_is_wrong_with_ones_own_class_is_one_line(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        opened(**values)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("search", "said"),
    [
        (
            "def search(self, request): return SearchPage((), self.name)",
            "is not asynchronous: write `async def search`",
        ),
        ("async def search(self, request): return [Document('Nepal', '')]", "gave list, not a SearchPage"),
        ("async def search(self, request): return SearchPage(['Nepal'], self.name)", "holds str, not only Documents"),
    ],
)
def test_a_page_that_is_none_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, search: str, said: str
) -> None:
    head = "from zerosearch import Document, SearchPage\nclass Mine:\n    name = identity = 'mine'\n"
    module = f"pageless_{len(said)}"  # each its own: what was imported stays imported
    (tmp_path / f"{module}.py").write_text(f"{head}    {search}\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        ask(opened(kind=f"{module}:Mine"), "nepal")
    assert said in str(caught.value)
    assert f"{module}:Mine" in str(caught.value)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import not_installed_here", "needs the module not_installed_here, which is not installed"),
        ("x = 1 / 0", "cannot be imported (ZeroDivisionError: division by zero)"),
        ("def broken(:", "cannot be imported (SyntaxError: "),
    ],
)
def test_a_module_that_fails_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, said: str
) -> None:
    (tmp_path / "their_engine.py").write_text(source)
    monkeypatch.chdir(tmp_path)  # the current folder is searched
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(ConfigError) as caught:
        opened(kind="their_engine:Engine")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


# ---- one place that opens and closes


class Tracked:
    """An engine of the user's that tells when its connections are closed."""

    closed: ClassVar[list[str]] = []

    def __init__(self, name: str, price: float = 0.0) -> None:
        self.name = self.identity = name
        self.price = price

    async def search(self, request: SearchRequest) -> SearchPage:
        return SearchPage((), self.name, usage=Usage(usd=self.price))

    async def aclose(self) -> None:
        self.closed.append(self.name)


@pytest.fixture(autouse=True)
def closed() -> list[str]:
    Tracked.closed.clear()
    return Tracked.closed


def tracked(name: str, price: float = 0.0, **engine: Any) -> dict[str, Any]:
    return {"kind": f"{__name__}:Tracked", "settings": {"name": name, "price": price}, **engine}


def configured(**values: Any) -> TrainConfig:
    return TrainConfig.model_validate(values)


async def search(parts: Parts, role: Role, times: int = 1) -> None:
    for number in range(times):
        await parts.engine(role).search(SearchRequest(f"query {number}", 1))


@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_closed_in_reverse_order_however_the_work_ends(fails: bool, closed: list[str]) -> None:
    config = configured(engine=tracked("first"), evaluation={"engine": tracked("second")})

    async def work(parts: Parts) -> None:
        await search(parts, "train")
        await search(parts, "judge")
        if fails:
            raise DataError("the work failed")

    with pytest.raises(DataError) if fails else nullcontext(), Parts(config) as parts:
        parts.run(work(parts))
    assert closed == ["second", "first"]

    async def inside() -> None:
        async with Parts(config) as parts:
            await work(parts)

    with pytest.raises(DataError) if fails else nullcontext():
        asyncio.run(inside())
    assert closed == ["second", "first"] * 2


def test_equal_settings_are_one_engine_and_a_real_one_is_never_simulated(closed: list[str]) -> None:
    parts = Parts(configured(engine=tracked("one"), evaluation={"engine": tracked("one")}))
    assert parts.engine("train", metered=False) is parts.engine("judge", metered=False)
    parts = Parts(configured(evaluation={"engine": tracked("real")}))  # `engine` is simulated
    assert parts.engine("real").name == parts.engine("judge").name == "real"
    assert parts.engine_config("train").kind == "simulated"
    with pytest.raises(ConfigError, match="a real engine is needed"):
        Parts(TrainConfig()).engine("real")


def test_every_setting_of_the_sampler_reaches_every_local_model(tiny_tokenizer: Any, tmp_path: Path) -> None:
    """Those of policy, simulator, judge: they all decode with the worker of their model."""
    save_chain(tiny_tokenizer, "", tmp_path)
    sampler = {"max_batch_rows": 7, "max_batch_tokens": 999, "merge_adapters": True}
    model = {"name": str(tmp_path), "device": "cpu", "dtype": "bfloat16", "sampler": "plain"}
    config = configured(model=model, training=sampler, engine={"simulated": {"model": str(tmp_path)}})
    with Parts(config) as parts:
        generator: Any = parts.policy(temperature=0.0, top_k=1)[0]
        simulator: Any = parts.engine("train", metered=False)
        judge: Any = parts.chat(ModelRef(str(tmp_path)))
        worker = generator.worker
        assert simulator._writer._generator.worker is worker
        assert judge._generator.worker is worker
    assert worker.model.dtype == torch.bfloat16
    assert worker.model.device.type == "cpu"
    assert (worker.max_batch_rows, worker.max_batch_tokens, worker.merge, worker.continuous) == (7, 999, True, False)


def test_the_budget_holds_for_all_calls_with_a_folder_and_is_told_in_one_way(tmp_path: Path) -> None:
    config = configured(engine=tracked("paid", 1.0, budget_searches=3))
    with Parts(config, spending=tmp_path, work="test") as parts:
        parts.run(search(parts, "train", 2))
    with (
        pytest.raises(BudgetError, match=r"^the budget is spent; what is finished is kept, .* engine.budget_usd or"),
        Parts(config, spending=tmp_path, work="test") as parts,
    ):
        parts.run(search(parts, "train", 2))
    assert spent(tmp_path) == Ledger(queries=3, usd=3.0)
    with pytest.raises(BudgetError, match="the budget of this call is spent"), Parts(config) as parts:
        parts.run(search(parts, "train", 4))


def test_what_servers_tell_of_policy_and_chat_is_counted_at_their_price(endpoint: Any) -> None:  # noqa: F811
    body = completion("<answer>Lima</answer>", usage={"prompt_tokens": 1000, "completion_tokens": 100})
    endpoint.script = [Reply(body=body)]
    priced = {"name": "p", "base_url": endpoint.url, "usd_per_million_prompt_tokens": 2.0}
    with Parts(configured(model=priced, engine=tracked("real", budget_usd=0.004))) as parts:
        generator, _ = parts.policy(temperature=0.0, top_k=1)
        parts.run(generator.generate(byte_codec().encode("Q"), Sampling(stop=STOP_STRINGS)))
        assert parts.meter.used == Ledger(prompt_tokens=1000, completion_tokens=100, usd=0.002)
        chat = parts.chat(ModelRef("p", server=parts.config.model.server()))
        asked: list[Message] = [{"role": "user", "content": "Q"}]
        with pytest.raises(BudgetError):
            parts.run(chat.write(asked, Sampling(max_tokens=9)))
        assert parts.meter.used == Ledger(prompt_tokens=2000, completion_tokens=200, usd=0.004)


def test_questions_are_read_with_the_fields_and_the_limit_of_their_source(tmp_path: Path) -> None:
    for name, key in (("train", "asked"), ("judged", "frage")):
        rows = [{key: f"{name} {number}?", "answer": "x"} for number in range(4)]
        write_jsonl(tmp_path / f"{name}.jsonl", rows)
    train, judged = str(tmp_path / "train.jsonl"), str(tmp_path / "judged.jsonl")
    parts = Parts(
        configured(
            data={"train": train, "fields": "question=asked", "limit": 3},
            evaluation={"questions": judged, "fields": "question=frage", "limit": 2},
        )
    )
    assert [q.text for q in parts.questions()] == ["train 0?", "train 1?", "train 2?"]
    assert len(parts.questions(train, 1)) == 1
    assert [q.text for q in parts.evaluation_questions()] == ["judged 0?", "judged 1?"]
    assert len(parts.questions(judged)) == 4
    assert len(parts.questions(judged, fields="question=frage")) == 4
