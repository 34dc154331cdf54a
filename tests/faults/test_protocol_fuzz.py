"""Whatever a model writes and a page holds: an episode keeps its promises, over every kind of tokenizer.

`make test-faults` plays 10^6 outputs and pages: over byte-level BPE without a normaliser, with NFC (Qwen) and with NFKC
(T5's kind), over SentencePiece's kind, and over SmolLM2's own tokenizer where it lies in the cache.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from tiny import CHAT, END, LINES, START, TEXT_END, tiny_local_model, tiny_tokenizer
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from zerosearch.episodes.episode import Codec, Done, Episode, EpisodeLimits, Generate
from zerosearch.episodes.generation import Generation
from zerosearch.episodes.protocol import LAST_TURN_NOTE, STOP_STRINGS, TAGS, render_prompt
from zerosearch.episodes.questions import Question
from zerosearch.episodes.replies import visible
from zerosearch.episodes.search import Document

QUESTION = Question("q", "Capital of Nepal?", ("Kathmandu",))
LIMITS = EpisodeLimits(
    max_searches=3, max_turn_tokens=160, max_page_tokens=160, max_context_tokens=1200, answer_reserve_tokens=8
)
TAG = re.compile(r"<\s*/?\s*(?:" + "|".join(TAGS) + r")\s*/?\s*>", re.IGNORECASE)
OWN_TAGS = ["<information>", "</information>"]

_TAG_TEXTS = [f"<{slash}{tag}>" for tag in TAGS for slash in ("", "/")]
OUTPUTS = [
    *_TAG_TEXTS, "<think>so</think>", "<search> a </search>", "<answer> Lima </answer>", "<search> and </search>",
    "< answer >", "</ANSWER>", "[THINK]", "[/THINK]", "<thinking>", "</thinking>", "for example ", " and ", "...",
    "<", ">", "</", "answer", "Kathmandu", " ", "\n", "é", "中", "🏔", "\u0301", "\u202e", END, START, "<|im_", "end|>",
]  # fmt: skip
PAGES = [
    *_TAG_TEXTS, "< answer >", "</ANSWER\t>", "<\n/ search>", "<think/>", "＜answer＞", "＜/information＞",
    "﹤search﹥", "<ａnswer>", "<ſearch>", "<thin\u212a>", "<\xa0/search>", "⟨answer⟩", "<ans\u00adwer>",
    "<\u200banswer>", "<\u2044answer>",
    "<", ">", "＜", "＞", "﹤", "﹥", "/", "／", "answer",
    "ａｎｓｗｅｒ", "information", "search", "ｓearch", "ﬁ", "é", "e\u0301",
    "\u0338", "<\u0338", "＜|im_end|＞", "<｜im_end｜>", END, START, TEXT_END, "<|im_", "end|>", "</s>", "<s>", "<unk>",
    "Nepal: ", " ", "\n", "\u2028", "\x00", "\x1b[2J", "💡", "\ud83d", "中文", "word ", "[1] ",
    "▁", "Ġ", "<0x3C>", "<0x3E>",
]  # fmt: skip


def byte_level(normalizer: Any = None) -> Any:
    tokenizer = tiny_tokenizer()
    if normalizer is not None:
        tokenizer.backend_tokenizer.normalizer = normalizer
    return tokenizer


def metaspace() -> Any:
    """As Llama's and Mistral's SentencePiece models: blanks are letters, what is not known is bytes."""
    core = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    core.normalizer = normalizers.Replace(Regex(" {2,}"), " ")
    core.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first")
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=["<unk>", START, END], show_progress=False)
    core.train_from_iterator(LINES * 3, trainer)
    plan = json.loads(core.to_str())  # bytes are words of the vocabulary that no text spells, as there
    vocabulary = plan["model"]["vocab"]
    vocabulary |= {f"<0x{byte:02X}>": len(vocabulary) + byte for byte in range(256)}
    core = Tokenizer.from_str(json.dumps(plan))
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=core, eos_token=END, pad_token=END, bos_token=START, unk_token="<unk>", chat_template=CHAT
    )


def smollm2() -> Any:
    from zerosearch.models.embedded import cache_dir

    folders = sorted(cache_dir().glob("models/*/tokenizer.json"))
    if not folders:
        pytest.skip("SmolLM2's tokenizer is not in the cache")
    return AutoTokenizer.from_pretrained(folders[0].parent)


KINDS: dict[str, Callable[[], Any]] = {
    "byte-level": byte_level,
    "NFC": lambda: byte_level(normalizers.NFC()),
    "NFKC": lambda: byte_level(normalizers.Sequence([normalizers.NFKC(), normalizers.StripAccents()])),
    "metaspace": metaspace,
    "SmolLM2": smollm2,
}


@cache
def codec_of(kind: str) -> tuple[Codec, frozenset[int]]:
    tokenizer = KINDS[kind]()
    return tiny_local_model(tokenizer).codec, frozenset(tokenizer.all_special_ids)


def play(codec: Codec, control: frozenset[int], draw: random.Random, pieces: list[list[int]], prompt: list[int]) -> int:
    """One episode with its promises checked at every step; how many outputs and pages it took."""
    episode = Episode(QUESTION, prompt, codec, LIMITS)
    count, sampled = 0, 0
    while not isinstance(step := episode.next(), Done):
        count += 1
        before = len(episode.ids)
        if isinstance(step, Generate):
            ids = [i for _ in range(draw.randrange(9)) for i in draw.choice(pieces)][: step.max_tokens]
            stopped = any(stop in codec.decode(ids) for stop in STOP_STRINGS)
            episode.feed_generation(
                Generation(ids, [-1.0] * len(ids), "stop" if stopped else draw.choice(("eos", "length")))
            )
            assert episode.ids[before : before + len(ids)] == ids
            sampled += len(ids)
        else:
            episode.feed_page([Document(text_of(draw), text_of(draw), "d") for _ in range(draw.randrange(4))])
            shown = episode.ids[before:]
            text = codec.decode(shown).replace(LAST_TURN_NOTE, "")
            assert [tag.strip() for tag in TAG.findall(text)] == (OWN_TAGS if shown else []), text
            assert control.isdisjoint(shown), text
        assert len(episode.ids) == len(episode.mask) == len(episode.logprobs)
        assert sum(episode.mask) == sampled == -sum(episode.logprobs)
        assert len(episode.ids) <= max(LIMITS.max_context_tokens, len(prompt))
    spans = [place for turn in episode.turns for place in range(turn.start, turn.end)]
    assert [place for place, mask in enumerate(episode.mask) if mask] == spans
    assert (episode.answer is not None) == (step.stop_reason == "answer")
    if episode.answer is not None:
        last = episode.turns[-1]
        assert " ".join(episode.answer.split()) in " ".join(visible(last.text, opened=last.opened).split())
    return count


def text_of(draw: random.Random) -> str:
    return "".join(draw.choice(PAGES) for _ in range(draw.randrange(7)))


@pytest.mark.parametrize("kind", KINDS)
def test_no_output_and_no_page_breaks_an_episode(kind: str, tally: Any, tries: Callable[[int, int], int]) -> None:
    codec, control = codec_of(kind)
    pieces = [codec.encode(text) for text in OUTPUTS] + [[i] for i in range(300)]
    prompts = [codec.encode(render_prompt(QUESTION.text) + end) for end in ("", "<think>\n")]
    left, number = tries(200_000, 400), 0
    while left > 0:
        draw, number = random.Random(f"{kind} {number}"), number + 1
        count, failure = 1, None
        try:
            count = play(codec, control, draw, pieces, prompts[draw.random() < 0.2])
        except Exception as error:
            failure = error
        left -= count
        with tally(f"model output or page, {kind} tokenizer", f"episode {number - 1}", tried=count):
            if failure is not None:
                raise failure
