"""What a server costs beside the engine alone: `python benchmarks/serve.py CORPUS [--batch 32] [--clients 64]`.

1. In this process, on one thread: a plain bm25s call (tokenize a batch, retrieve its best documents), and our own
   engine (`BM25Engine.search_many`), which does not sort the documents that share no word with the query.
2. `zerosearch serve` in a process of its own, and clients that each keep one request under way: queries a second, and
   the seconds of a request (p50, p99).
3. With --hour: as many queries as an hour of training asks (320 episodes x 2 searches, every 8.3 s: 277,590), as fast
   as they go; the server's memory (RSS) before and after.

Clients run on the same machine and take CPU time from the server. Where other work shares it, wall time says little:
CPU milliseconds a query are given too, of the engine alone and of the server's whole process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import Stemmer

from zerosearch.engines.bm25 import BM25Engine
from zerosearch.engines.corpus import passage
from zerosearch.engines.lexical import bm25s
from zerosearch.files.formats import read_jsonl

HOUR = 277_590
TOP_K = 3
"""Documents a query, as Search-R1 asks."""


def queries_of(texts: list[str], count: int) -> list[str]:
    """Queries of two to seven words that stand together in a passage."""
    draw = random.Random(0)
    made = []
    while len(made) < count:
        words = draw.choice(texts).split()
        if len(words) > 8:
            at = draw.randrange(len(words) - 7)
            made.append(" ".join(words[at : at + draw.randint(2, 7)]))
    return made


def indexed(texts: list[str], stemmer: Any) -> Any:
    """A plain bm25s index, as its README makes one."""
    index = bm25s.BM25(k1=0.9, b=0.4, method="lucene")
    index.index(bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, show_progress=False), show_progress=False)
    return index


def rate(call: Callable[[list[str]], object], queries: list[str], batch: int, seconds: float) -> tuple[float, float]:
    """Queries a second, and CPU milliseconds a query, of `call` on batches in this process."""
    batches = cycle([queries[i : i + batch] for i in range(0, len(queries) - batch, batch)])
    done, began, used = 0, time.perf_counter(), time.process_time()
    while (spent := time.perf_counter() - began) < seconds:
        call(next(batches))
        done += batch
    return done / spent, 1000 * (time.process_time() - used) / done


def alone(corpus: Path, texts: list[str], queries: list[str], batch: int, seconds: float) -> dict[str, Any]:
    """What a search costs without a server."""
    stemmer = Stemmer.Stemmer("english")
    index, engine = indexed(texts, stemmer), BM25Engine.open(corpus)

    def plain(asked: list[str]) -> list[list[str]]:
        tokens = bm25s.tokenize(asked, stopwords="en", stemmer=stemmer, show_progress=False)
        return [[texts[i] for i in page] for page in index.retrieve(tokens, k=TOP_K, show_progress=False).documents]

    row: dict[str, Any] = {"batch": batch}
    for name, call in (("bm25s", plain), ("engine", lambda asked: engine.search_many(asked, TOP_K))):
        call(queries[:batch])  # warm
        speed, cost = rate(call, queries, batch, seconds)
        row |= {f"{name}_queries_per_second": round(speed, 1), f"{name}_cpu_ms_a_query": round(cost, 3)}
    return row


def start(corpus: Path, folder: Path) -> tuple[subprocess.Popen[str], str]:
    """A server, and its address once it listens."""
    config = folder / "served.toml"
    config.write_text(f'[engine]\nkind = "bm25"\n[engine.bm25]\ncorpus = {json.dumps(str(corpus))}\n')
    command = [sys.executable, "-m", "zerosearch", "serve", str(config), "--port", "0"]
    log = (folder / "log").open("w+")
    process = subprocess.Popen(command, stderr=log, text=True)
    while process.poll() is None:
        for line in (folder / "log").read_text().splitlines():
            if '"url"' in line:
                return process, str(json.loads(line)["url"])
        time.sleep(0.1)
    raise SystemExit((folder / "log").read_text())


async def load(url: str, queries: list[str], batch: int, clients: int, seconds: float, most: int | None) -> list[float]:
    """The seconds of each request, until `seconds` are over or `most` queries are asked."""
    took: list[float] = []
    asked = 0
    bodies = cycle([
        json.dumps({"queries": queries[i : i + batch], "topk": TOP_K, "return_scores": True}).encode()
        for i in range(0, len(queries) - batch, batch)
    ])  # fmt: skip
    end = time.perf_counter() + seconds
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx.AsyncClient(limits=limits, timeout=120, trust_env=False) as http:

        async def client() -> None:
            nonlocal asked
            while time.perf_counter() < end and (most is None or asked < most):
                asked += batch
                began = time.perf_counter()
                headers = {"Content-Type": "application/json"}
                answer = await http.post(f"{url}/retrieve", content=next(bodies), headers=headers)
                answer.raise_for_status()
                took.append(time.perf_counter() - began)

        await asyncio.gather(*(client() for _ in range(clients)))
    return took


def cpu_seconds(process: subprocess.Popen[str]) -> float:
    """CPU time of all threads of the process so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(
    process: subprocess.Popen[str], url: str, queries: list[str], batch: int, clients: int, seconds: float
) -> dict[str, Any]:
    began, used = time.perf_counter(), cpu_seconds(process)
    took = sorted(asyncio.run(load(url, queries, batch, clients, seconds, None)))
    spent = time.perf_counter() - began
    used = cpu_seconds(process) - used
    return {
        "cpu_ms_a_query": round(1000 * used / (len(took) * batch), 3),
        "batch": batch, "clients": clients, "requests": len(took),
        "queries_per_second": round(len(took) * batch / spent, 1),
        "p50_ms": round(1000 * took[len(took) // 2], 1), "p99_ms": round(1000 * took[int(len(took) * 0.99)], 1),
    }  # fmt: skip


def memory_mb(process: subprocess.Popen[str]) -> float:
    """Resident memory, the mapped index included."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def hour(process: subprocess.Popen[str], url: str, queries: list[str], batch: int, clients: int) -> dict[str, Any]:
    """The memory at a tenth of the hour, when all is warm, and at its end."""
    began = time.perf_counter()
    first = len(asyncio.run(load(url, queries, batch, clients, 3600, HOUR // 10)))
    before = memory_mb(process)
    rest = len(asyncio.run(load(url, queries, batch, clients, 3600, HOUR - first * batch)))
    return {
        "queries": (first + rest) * batch, "seconds": round(time.perf_counter() - began),
        "rss_mb_after_a_tenth": round(before, 1), "rss_mb_at_the_end": round(memory_mb(process), 1),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--hour", action="store_true")
    told = parser.parse_args()
    documents = (passage(row, str(told.corpus), line) for line, row in read_jsonl(told.corpus))
    texts = [f"{d.title}\n{d.text}" for d in documents]
    queries = queries_of(texts, 20_000)
    rows = [alone(told.corpus, texts, queries, batch, told.seconds / 2) for batch in (told.batch, 1)]
    print(json.dumps({"passages": len(texts)}), *map(json.dumps, rows), sep="\n", flush=True)
    del texts
    with tempfile.TemporaryDirectory() as folder:
        process, url = start(told.corpus, Path(folder))
        try:
            measure(process, url, queries, told.batch, told.clients, 3)  # warm
            for row in rows:
                served = measure(process, url, queries, row["batch"], told.clients, told.seconds)
                for name in ("bm25s", "engine"):
                    served[f"share_of_{name}"] = round(
                        served["queries_per_second"] / row[f"{name}_queries_per_second"], 2
                    )
                print(json.dumps(served), flush=True)
            if told.hour:
                print(json.dumps(hour(process, url, queries, told.batch, told.clients)), flush=True)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
    print(json.dumps({"cores": os.cpu_count(), "load": os.getloadavg()}))


if __name__ == "__main__":
    main()
