"""A model hub on loopback: what huggingface_hub asks of the real one to make, list, read and fill a repository.

`hub.repos["me/mine"]` is a repository's files by name. Large files come by Git LFS, as for a hub without xet storage.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_standintoken"


class StandInHub:
    """Accepts `TOKEN` alone; stop it with `stop`."""

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.objects: dict[str, bytes] = {}
        self.messages: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None: ...

            def handle_one(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                path = unquote(urlsplit(self.path).path)
                lfs = path.startswith("/lfs/")
                if not lfs and self.headers.get("Authorization") != f"Bearer {TOKEN}":
                    status, data, headers = 401, b'{"error": "who are you?"}', {}
                else:
                    status, data, headers = hub.answer(self.command, path, body)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(data)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_HEAD = handle_one

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers."""
        parts = path.strip("/").split("/")
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            if name in self.repos:
                return 409, json.dumps({"error": "it is there", "url": f"{self.url}/{name}"}).encode(), {}
            self.repos[name] = {".gitattributes": b""}
            self.private[name] = asked.get("private") is True or asked.get("visibility") == "private"
            return _json({"url": f"{self.url}/{name}"})
        if path == "/api/validate-yaml":
            return _json({"errors": [], "warnings": []})
        if path.startswith("/lfs/"):
            self.objects[parts[1]] = body
            return 200, b"", {}
        if path.endswith(".git/info/lfs/objects/batch"):
            found = [
                {"oid": o["oid"], "size": o["size"], "actions": {"upload": {"href": f"{self.url}/lfs/{o['oid']}"}}}
                for o in json.loads(body)["objects"]
            ]
            return _json({"transfer": "basic", "objects": found})
        if parts[0] == "api":
            return self._repository("/".join(parts[2:4]), parts[4], body)
        return self._resolve("/".join(parts[:2]), "/".join(parts[4:]), method)

    def _repository(self, name: str, what: str, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        files = self.repos[name]
        if what == "tree":
            return _json([{"type": "file", "path": p, "size": len(d), "oid": _sha1(d)} for p, d in files.items()])
        if what == "preupload":
            modes = [
                {"path": f["path"], "uploadMode": "lfs" if f["size"] > 10_000 else "regular", "shouldIgnore": False}
                for f in json.loads(body)["files"]
            ]
            return _json({"files": modes})
        assert what == "commit", what
        for line in body.splitlines():
            row = json.loads(line)
            value = row["value"]
            if row["key"] == "header":
                self.messages.append(value["summary"])
            elif row["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif row["key"] == "lfsFile":
                files[value["path"]] = self.objects[value["oid"]]
            else:
                assert row["key"] == "deletedFile", row
                del files[value["path"]]
        return _json({"commitUrl": f"{self.url}/{name}/commit/{'0' * 40}", "commitOid": "0" * 40, "hookOutput": ""})

    def _resolve(self, name: str, file: str, method: str) -> tuple[int, bytes, dict[str, str]]:
        if file not in self.repos.get(name, {}):
            return 404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": "0" * 40}
        data = self.repos[name][file]
        return (
            200,
            data,
            {"ETag": f'"{_sha1(data)}"', "X-Repo-Commit": hashlib.sha1(repr(self.repos[name]).encode()).hexdigest()},
        )


def _json(value: Any) -> tuple[int, bytes, dict[str, str]]:
    return 200, json.dumps(value).encode(), {"Content-Type": "application/json"}


def _sha1(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()
