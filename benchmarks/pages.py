"""What 64,000 simulated pages cost on this GPU, by vLLM: random weights, this package's simulated engine and sampler.

python benchmarks/pages.py --json pages.json
python benchmarks/pages.py --shapes qwen2.5-14b --pages 3000
python benchmarks/pages.py --shapes smollm2-135m --pages 8 --device cpu    # that it runs: needs vLLM's build for CPUs

Each shape in a process of its own. Every page has `--tokens` tokens: random weights end no text. What a page costs does
not depend on which weights and tokens they are, only on how many. The clock starts after a tenth of so many pages.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

PAGES = 64_000
SHAPES = ("qwen2.5-3b", "qwen2.5-7b", "qwen2.5-14b")
PAPER = {"qwen2.5-3b": "3B", "qwen2.5-7b": "7B", "qwen2.5-14b": "14B"}
_PIECES = re.compile(r"\s*(?:\w+|[^\w\s])")


class PieceTokenizer:
    """A token a word or a mark. Any ids read as a page: every 48th begins a document."""

    chat_template = None
    all_special_tokens: tuple[str, ...] = ()
    bos_token_id = eos_token_id = None

    def __init__(self, vocabulary: int) -> None:
        self._vocabulary = vocabulary

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        return [sum(map(ord, piece)) * 31 % self._vocabulary for piece in _PIECES.findall(text)]

    def decode(self, ids: Sequence[int], **_: Any) -> str:
        words = [f"w{i}" for i in ids]
        documents = [words[place : place + 48] for place in range(0, len(words), 48)]
        return "\n".join(f"[{n}] Title: {' '.join(document)}" for n, document in enumerate(documents, start=1))

    def convert_tokens_to_ids(self, token: str) -> None:
        return None

    def build_inputs_with_special_tokens(self, ids: list[int]) -> list[int]:
        return ids


@dataclass(frozen=True)
class Found:
    """A sample of pages of one shape."""

    shape: str
    device: str
    pages: int
    page_tokens: int
    prompt_tokens: float
    seconds: float
    opening_seconds: float
    failed: int

    @property
    def rate(self) -> float:
        return self.pages / self.seconds

    @property
    def gpu_hours(self) -> float:
        return PAGES / self.rate / 3600


def random_weights(base: Any, device: Any) -> Iterator[tuple[str, Any]]:
    """Weights for a model that has none, tensor by tensor."""
    import torch

    for name, parameter in base.named_parameters(remove_duplicate=False):
        yield name, torch.empty(parameter.shape, dtype=torch.bfloat16, device=device).normal_(std=0.02)


def open_simulator(shape: str, device_name: str, args: argparse.Namespace) -> tuple[Any, Any]:
    """The simulated engine over vLLM, and its worker."""
    import torch
    from transformers import AutoModelForCausalLM

    from zerosearch.engines.config import SimulatedConfig
    from zerosearch.models.chat import GeneratorWriter
    from zerosearch.models.devices import pick_device
    from zerosearch.models.local import LocalModel
    from zerosearch.models.retry import Retry
    from zerosearch.models.shapes import config_named
    from zerosearch.models.vllm_worker import VllmWorker
    from zerosearch.models.worker import TransformersGenerator
    from zerosearch.simulator.engine import SimulatedEngine

    device = pick_device(device_name)
    config = config_named(shape)
    make: Any = AutoModelForCausalLM
    with torch.device("meta"):
        base = make.from_config(config, dtype=torch.bfloat16)
    base.generation_config.eos_token_id = None
    tokenizer: Any = PieceTokenizer(config.vocab_size)
    model = LocalModel(base.eval(), tokenizer, shape, device)

    def open_engine(model: LocalModel, rows: int, tokens: int) -> Any:
        from zerosearch.models.vllm_engine import VllmEngine

        weights = partial(random_weights, base, device)
        return VllmEngine.open(model, max_rows=rows, max_tokens=tokens, cache_share=0.85, weights=weights)

    worker = VllmWorker(model, args.rows // 2, args.cache_tokens, open=open_engine)
    writer = GeneratorWriter(TransformersGenerator(worker), tokenizer, model=shape)
    settings = SimulatedConfig(max_tokens=args.tokens)
    return SimulatedEngine(writer, settings, retry=Retry(attempts=1, deadline_seconds=None)), worker


async def write_pages(engine: Any, numbers: range) -> tuple[int, int]:
    """Pages for made-up queries, all asked at once. Returns how many came, and the tokens of their prompts."""
    from zerosearch.episodes.questions import Question
    from zerosearch.episodes.search import Quality, SearchRequest
    from zerosearch.errors import EngineError

    async def one(number: int) -> tuple[int, int]:
        words = " ".join(f"word{number * 7 + place}" for place in range(6 + number % 60))
        question = Question(f"q{number}", f"Which {words}?", (f"answer{number}",))
        quality = Quality.NOISY if number % 4 == 0 else Quality.USEFUL
        request = SearchRequest(f"about {words}", top_k=5, question=question, quality=quality, seed=number)
        try:
            page = await engine.search(request)
        except EngineError as error:
            print(f"page {number}: {error}", file=sys.stderr)
            return 0, 0
        return 1, page.usage.prompt_tokens

    found = await asyncio.gather(*map(one, numbers))
    return sum(came for came, _ in found), sum(tokens for _, tokens in found)


def measure(shape: str, args: argparse.Namespace) -> Found:
    import torch

    engine, worker = open_simulator(shape, args.device, args)
    started = time.perf_counter()
    asyncio.run(write_pages(engine, range(1)))
    opened = time.perf_counter() - started
    asyncio.run(write_pages(engine, range(1, 1 + max(args.pages // 10, 1))))
    before, started = worker.totals[None].tokens, time.perf_counter()
    came, prompts = asyncio.run(write_pages(engine, range(100_000, 100_000 + args.pages)))
    seconds = time.perf_counter() - started
    written = worker.totals[None].tokens - before
    if written != came * args.tokens:
        raise SystemExit(f"{written} tokens were written, not {came * args.tokens}")
    name = torch.cuda.get_device_name(worker.model.device) if worker.model.device.type == "cuda" else "CPU"
    worker.close()
    return Found(shape, name, came, args.tokens, prompts / max(came, 1), seconds, opened, failed=args.pages - came)


def print_table(found: Sequence[Found], gpu_hour: float) -> None:
    from zerosearch.spending.report import paper_lines

    print(f"{PAGES:,} pages of {found[0].page_tokens} tokens, by vLLM on {found[0].device}, ${gpu_hour:g} an hour\n")
    print("| shape | sample | prompt tokens | pages a second | GPU-hours | dollars | the paper |")
    print("|---|---|---|---|---|---|---|")
    lines = {line.engine: line for line in paper_lines(PAGES)}
    for one in found:
        line = lines.get(f"simulator {PAPER.get(one.shape)} (paper)")
        paper = "" if line is None else f"{(line.gpus or 0) * (line.hours or 0):.0f} A100-hours, ${line.usd:.2f}"
        print(
            f"| {one.shape} | {one.pages:,} in {one.seconds:.1f} s | {one.prompt_tokens:.0f} | {one.rate:.1f} | "
            f"{one.gpu_hours:.2f} | {one.gpu_hours * gpu_hour:.2f} | {paper} |"
        )
    google = lines["Google by SerpAPI"]
    print(f"\n{PAGES:,} searches of Google by SerpAPI: ${google.usd:.2f}")


def main() -> None:
    from zerosearch.spending.ledger import PRICES

    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES))
    parser.add_argument("--pages", type=int, default=3000, help="the sample that is timed")
    parser.add_argument("--tokens", type=int, default=250, help="of a page")
    parser.add_argument("--rows", type=int, default=512, help="pages that are written side by side")
    parser.add_argument("--cache-tokens", type=int, default=1_000_000, help="at most; the GPU may have room for fewer")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--gpu-hour", type=float, default=PRICES.gpu_hour, help="dollars; by default one A100's")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if len(args.shapes) > 1:  # an engine's memory is free again for sure once its process has ended
        found = [_in_a_process(shape, args) for shape in args.shapes]
    else:
        found = [measure(args.shapes[0], args)]
    if args.json:
        rows = [asdict(one) | {"pages_a_second": one.rate, "gpu_hours": one.gpu_hours} for one in found]
        args.json.write_text(json.dumps(rows, indent=2) + "\n")
    print_table(found, args.gpu_hour)
    if any(one.failed for one in found):
        raise SystemExit("pages failed: the figures are of the others")


def _in_a_process(shape: str, args: argparse.Namespace) -> Found:
    out = Path(f"{args.json or 'pages.json'}.{shape}")
    options = [f"--{name}={value}" for name, value in (
        ("pages", args.pages), ("tokens", args.tokens), ("rows", args.rows), ("cache-tokens", args.cache_tokens),
        ("device", args.device), ("json", out),
    )]  # fmt: skip
    subprocess.run([sys.executable, __file__, "--shapes", shape, *options], check=True)
    row = json.loads(out.read_text())[0]
    out.unlink()
    return Found(**{key: row[key] for key in Found.__dataclass_fields__})


if __name__ == "__main__":
    main()
