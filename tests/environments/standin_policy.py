"""A policy behind a URL for the tests of environments: it searches once, then gives an answer, by OpenAI's protocol."""

from __future__ import annotations

import json
from typing import Any

from engines.conftest import Endpoint, Reply, completion

from zerosearch.episodes.search import Document
from zerosearch.simulator.page_text import format_page

QUERY, ANSWER = "nepal capital", "Kathmandu"
QUESTION = {"id": "n", "question": "What is the capital of Nepal?", "golden_answers": [ANSWER]}
PAGE = format_page([Document("Nepal", "Kathmandu is the capital.")])


def serve_policy() -> Endpoint:
    """Streamed where that is asked for. A request that shows a tool's result is answered, any other gets a search."""
    endpoint = Endpoint()

    def answer(request: dict[str, Any]) -> Reply:
        call = {"name": request["tools"][0]["function"]["name"], "arguments": json.dumps({"query": QUERY})}
        if any(message["role"] == "tool" for message in request["messages"]):
            said: dict[str, Any] = {"role": "assistant", "content": ANSWER}
        else:
            calls = [{"index": 0, "id": "call-1", "type": "function", "function": call}]
            said = {"role": "assistant", "content": None, "tool_calls": calls}
        ended = "tool_calls" if said["content"] is None else "stop"
        usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
        head = {"id": "x", "created": 1, "model": request["model"], "usage": usage}
        if not request.get("stream"):
            choice = {"index": 0, "message": said, "finish_reason": ended}
            whole = head | {"object": "chat.completion", "choices": [choice]}
            return Reply(body=json.dumps(whole).encode(), headers={"Content-Type": "application/json"})
        chunk = head | {
            "object": "chat.completion.chunk",
            "choices": [{"index": 0, "delta": said, "finish_reason": ended}],
        }
        body = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode()
        return Reply(body=body, headers={"Content-Type": "text/event-stream"})

    endpoint.answer = answer
    return endpoint


def serve_simulator() -> Endpoint:
    """A simulator that knows one page."""
    endpoint = Endpoint()
    endpoint.script = [Reply(body=completion(PAGE, usage={"prompt_tokens": 90, "completion_tokens": 9}))]
    return endpoint


def was_told(simulator: Endpoint) -> bool:
    """Whether each request of the simulator held the query, the question and its golden answer."""
    asked = [str(request["messages"]) for request in simulator.requests]
    return bool(asked) and all(QUERY in text and ANSWER in text and "capital of Nepal" in text for text in asked)
