"""What `vllm serve` is to a run: a server with `/health` and chats, an engine process beside it, and its log.

Its log gets a line of JSON: the words that it was started with, its GPUs, and the processes. Where STANDIN_DIES names a
file that does not exist, the first server that gets a second chat makes it and dies.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from engines.conftest import PAGE, completion


def install(folder: Path) -> Path:
    """A command `vllm` in `folder`, which is returned for the PATH."""
    folder.mkdir()
    command = folder / "vllm"
    tests, source = Path(__file__).parents[2], Path(__file__).parents[3] / "src"
    paths = ":".join(map(str, (tests, source)))
    command.write_text(f'#!/bin/sh\nPYTHONPATH={paths} exec {sys.executable} -m scaleout.verl_run.standin_vllm "$@"\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    return folder


def lives(log: Path) -> list[dict[str, Any]]:
    """The servers that wrote `log`, one after the other."""
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


class Chats(BaseHTTPRequestHandler):
    answered = 0

    def do_GET(self) -> None:
        self._say(b"{}")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        Chats.answered += 1
        if Chats.answered == 2 and (dies := os.environ.get("STANDIN_DIES")):
            try:
                os.close(os.open(dies, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                pass
            else:
                os._exit(7)
        self._say(completion(PAGE, usage={"prompt_tokens": 9, "completion_tokens": 5}))

    def _say(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def main(words: list[str]) -> None:
    engine = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    told = {"words": words, "gpus": os.environ["CUDA_VISIBLE_DEVICES"], "processes": [os.getpid(), engine.pid]}
    print(json.dumps(told), flush=True)
    host, port = (words[words.index(option) + 1] for option in ("--host", "--port"))
    ThreadingHTTPServer((host, int(port)), Chats).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
