"""Servers as they are: what they refuse is left out or renamed and said, what they answer is read, or named."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from zerosearch.config_file import config_toml, load_config
from zerosearch.episodes.generation import Sampling
from zerosearch.errors import ConfigError
from zerosearch.models.chat import OpenAIWriter, Written
from zerosearch.models.completions import read_completion, without_system
from zerosearch.models.config import RequestConfig, Server
from zerosearch.models.retry import AttemptError
from zerosearch.usage import Usage

CHAT = [{"role": "system", "content": "You judge."}, {"role": "user", "content": "Well?"}]


def answer(message: Any, finish: Any = "stop", **more: Any) -> dict[str, Any]:
    return {"choices": [{"message": message, "finish_reason": finish}], **more}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "a "}, {"type": "text", "text": "b"}], "a b"),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "b"}], "b"),
        (["a", "b"], "ab"),
        ([{"type": "image_url"}, {"type": "output_text", "text": "a"}], "a"),
        ({"type": "text", "text": "a"}, "a"),
        ("a\x1b[2J\x00\tb", "a\tb"),
    ],
)
def test_text_is_read_whatever_its_form(content: Any, text: str) -> None:
    assert read_completion(answer({"content": content}), "u").text == text


def test_a_refusal_is_what_the_model_says() -> None:
    assert read_completion(answer({"content": None, "refusal": "I cannot."}), "u").text == "I cannot."


@pytest.mark.parametrize("reason", ["length", "MAX_TOKENS", "max_tokens", "model_length"])
def test_every_word_for_the_limit_is_known(reason: str) -> None:
    assert read_completion(answer({"content": "a"}, reason), "u").truncated


HUGE = 10**400


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 4}, (3, 4)),
        ({"prompt_tokens": 3.0, "completion_tokens": "4"}, (3, 4)),
        ({"prompt_tokens": HUGE, "completion_tokens": -1}, None),
        ({"prompt_tokens": float("nan"), "completion_tokens": float("inf")}, None),
        ({"prompt_tokens": True, "completion_tokens": "many"}, None),
        ({"prompt_tokens": [3], "completion_tokens": {}}, None),
        ([1, 2], None),
        (None, None),
        ("3", None),
        (7, None),
    ],
)
def test_no_count_of_tokens_is_fatal(usage: Any, counts: Any) -> None:
    read = read_completion(json.loads(json.dumps(answer({"content": "a"}, usage=usage))), "u")
    assert (read.text, read.usage, read.counted) == ("a", Usage(*(counts or ())), counts is not None)


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        ({"error": {"message": "Provider returned error", "code": 502}}, "http", "Provider returned error"),
        ({"error": {"message": "no such model", "code": 404}}, "refused", "no such model"),
        ({"error": "busy"}, "malformed", "busy"),
        ({"choices": []}, "malformed", "no choices"),
        ({"choices": [7]}, "malformed", "no choices"),
        ({"choices": {"0": 1}}, "malformed", "no choices"),
        (answer(None), "malformed", "no message"),
        (answer({"content": "half a"}, "abort"), "http", r"broke the reply off \(finish_reason abort\)"),
        ({"choices": [{"message": {"content": ""}, "error": {"message": "died", "code": 502}}]}, "http", "died"),
        (
            {"choices": [{"message": {"content": ""}, "error": {"message": "no such", "code": 404}}]},
            "refused",
            "no such",
        ),
        (answer({"content": 7}), "malformed", "int, not text"),
        (answer({"content": [7]}), "malformed", "list, not text"),
        ([], "malformed", "no choices"),
        (None, "malformed", "no choices"),
    ],
)
def test_what_cannot_be_read_is_named(body: Any, kind: str, said: str) -> None:
    with pytest.raises(AttemptError, match=said) as caught:
        read_completion(body, "u")
    assert caught.value.kind == kind


# --- requests that are refused ---


def has(body: dict[str, Any], name: str) -> bool:
    """Whether a request has the field `name`; `system`: the role."""
    return body["messages"][0]["role"] == "system" if name == "system" else name in body


def refusing(reply: Any, complete: Any, *names: str, status: int = 400, said: Any = "") -> Any:
    """A server that answers `status` to the first of `names` that a request has, with `said`, or `{name}` in it."""

    def respond(body: dict[str, Any]) -> Any:
        name = next((name for name in names if has(body, name)), None)
        if name is None:
            return reply(body=complete("yes"))
        told = {"error": said.replace("{name}", name)} if isinstance(said, str) else said
        return reply(status, json.dumps(told).encode())

    return respond


def write(writer: OpenAIWriter, times: int = 1) -> list[Written]:
    async def main() -> list[Written]:
        try:
            asked = (writer.write(CHAT, Sampling(0.5, max_tokens=9, seed=1, stop=("X",))) for _ in range(times))
            return list(await asyncio.gather(*asked))
        finally:
            await writer.aclose()

    return asyncio.run(main())


MERGED = {"messages": [{"role": "user", "content": "You judge.\n\nWell?"}]}
EXTRA = {"message": "Extra inputs are not permitted", "type": "invalid_request_error", "param": "seed"}
ONLY_OTHERS = [{"loc": ["body", "messages", 0, "role"], "msg": "Input should be 'user' or 'assistant'"}]


@pytest.mark.parametrize(
    ("name", "status", "said", "there"),
    [
        (
            "max_tokens",
            400,
            "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead.",
            {"max_completion_tokens": 9},
        ),
        ("seed", 400, EXTRA, {"max_tokens": 9}),
        ("seed", 422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"]}]}, {"temperature": 0.5}),
        ("top_p", 400, "temperature and top_p cannot both be specified for this model.", {"temperature": 0.5}),
        (
            "temperature",
            400,
            "'temperature' does not support 0.5. Only the default (1) value is.",
            {"seed": 1},
        ),
        ("system", 400, "System role not supported", MERGED),
        ("system", 400, "Developer instruction is not enabled for models/gemma-3-27b-it", MERGED),
        ("system", 400, "Only user and assistant roles are supported!", MERGED),
        ("system", 500, "System role not supported at row 1, column 40", MERGED),  # llama.cpp
        ("system", 400, "'messages[0].role' does not support 'system' with this model.", MERGED),
        ("system", 422, {"detail": ONLY_OTHERS}, MERGED),
        ("system", 400, "invalid role: system", MERGED),
    ],
)
def test_a_request_is_mended_once_and_one_line_says_how(
    endpoint: Any, reply: Any, complete: Any, caplog: pytest.LogCaptureFixture, name: str, status: int, said: Any,
    there: Any,
) -> None:  # fmt: skip
    endpoint.answer = refusing(reply, complete, name, status=status, said=said)
    writer = OpenAIWriter(Server(endpoint.url, request=RequestConfig(extra={"top_p": 0.9})), "m")
    assert [written.text for written in write(writer, 4)] == ["yes"] * 4
    assert sum("not tell how many tokens" not in line for line in caplog.messages) == 1
    before = len(endpoint.requests)
    write(writer)
    assert len(endpoint.requests) == before + 1  # it is known by now
    assert not has(endpoint.requests[-1], name)
    assert there.items() <= endpoint.requests[-1].items()


def test_two_things_may_be_refused_one_after_the_other(endpoint: Any, reply: Any, complete: Any) -> None:
    endpoint.answer = refusing(reply, complete, "seed", "stop", "max_tokens", said="{name}: unknown field")
    assert write(OpenAIWriter(Server(endpoint.url), "m"))[0].text == "yes"
    assert len(endpoint.requests) == 4


@pytest.mark.parametrize(
    "said",
    [
        "max_tokens is too large: 9. This model's maximum context length is 4 tokens",
        "the model is overloaded",
        "unknown model m",
        "seed is not supported, and never was",
        "",
    ],
)
def test_what_no_mending_helps_is_refused_after_a_bounded_number_of_requests(
    endpoint: Any, reply: Any, complete: Any, said: str
) -> None:
    endpoint.answer = refusing(reply, complete, "model", said=said)
    with pytest.raises(AttemptError) as caught:
        write(OpenAIWriter(Server(endpoint.url), "m"))
    assert caught.value.kind == "refused"
    assert len(endpoint.requests) <= 2


def test_settings_drop_rename_and_add_fields(endpoint: Any) -> None:
    endpoint.says("yes")
    config = load_config(
        None,
        [
            "model.base_url=" + endpoint.url,
            "model.lora.rank=4",
            'model.request={drop=["seed"], rename={max_tokens="max_completion_tokens"}, '
            "extra={chat_template_kwargs={enable_thinking=false}}}",
        ],
    )
    write(OpenAIWriter(Server(endpoint.url, request=config.model.request), "m"))
    (request,) = endpoint.requests
    assert (request["max_completion_tokens"], request["chat_template_kwargs"]) == (9, {"enable_thinking": False})
    assert not {"seed", "max_tokens"} & request.keys()


def test_the_settings_are_written_and_read_again(tmp_path: Any) -> None:
    table = '{extra={a={b=[1, "x"], c=true}}, rename={"max tokens"="y"}, drop=["seed"]}'
    config = load_config(None, ["engine.simulated.base_url=http://h/v1", f"engine.simulated.request={table}"])
    path = tmp_path / "c.toml"
    path.write_text(config_toml(config))
    assert load_config(path) == config


@pytest.mark.parametrize(
    ("table", "said"),
    [
        *(
            (f'{{extra={{{name}="sk-123"}}}}', "extra must hold no key")
            for name in ("api_key", "Authorization", "password")
        ),
        ("{extra={stream=true}}", "extra must not set 'stream'"),
        ("{extra={max_tokens=9}}", "extra must not set 'max_tokens'"),
        ('{drop=["messages"]}', "drop must not hold 'messages'"),
    ],
)
def test_no_key_and_nothing_that_each_request_sets_may_stand_among_the_fields(table: str, said: str) -> None:
    with pytest.raises(ConfigError, match=rf"engine\.simulated\.request: {said}") as caught:
        load_config(None, ["engine.simulated.base_url=http://h/v1", f"engine.simulated.request={table}"])
    assert "sk-123" not in str(caught.value)


def test_system_texts_go_to_the_head_of_the_first_message() -> None:
    system, user, assistant = ({"role": r, "content": r[0]} for r in ("system", "user", "assistant"))
    assert without_system([system, user, assistant]) == [{"role": "user", "content": "s\n\nu"}, assistant]
    assert without_system([system]) == [{"role": "user", "content": "s"}]
    assert without_system([user]) == [user]


def test_where_a_redirect_leads_is_said_without_a_secret(endpoint: Any, reply: Any) -> None:
    endpoint.script = [reply(301, b"", {"Location": "https://u:hunter22@elsewhere/v1?key=hunter22"})]
    with pytest.raises(AttemptError, match=r"HTTP 301: it leads to https://elsewhere/v1, not followed"):
        write(OpenAIWriter(Server(endpoint.url), "m"))
