"""A stand-in for the Hub: what `huggingface_hub` asks when it uploads and downloads, answered out of memory."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


TOKEN = "hf_token-of-the-tests"


class HubServer(ThreadingHTTPServer):
    """
    Repositories of models at `http://127.0.0.1:<port>`.

    Attributes:
        repos (`dict[str, dict[str, bytes]]`): the files of every repository, by name.
        private (`dict[str, bool]`): whether a repository was made a private one.
        log (`list[str]`): method and path of every request.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.log: list[str] = []

    @property
    def endpoint(self) -> str:
        """The address of the server."""
        return f"http://127.0.0.1:{self.server_port}"

    def commit(self, repo: str) -> str:
        """A name of the state of a repository, as long as those of git."""
        state = hashlib.sha1(repo.encode())
        for name, content in sorted(self.repos[repo].items()):
            state.update(name.encode() + hashlib.sha1(content).digest())
        return state.hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def log_message(self, format: str, *arguments: Any) -> None:
        self.server.log.append(f"{self.command} {self.path}")

    def _answer(self, status: int, body: Any = b"", **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(401, {"error": "Invalid credentials"}, X_Error_Message="Invalid credentials")
        elif self.path == "/api/repos/create":
            asked = json.loads(content)
            name = f"{asked.get('organization', 'me')}/{asked['name']}"
            self.server.private.setdefault(name, asked.get("visibility") == "private" or bool(asked.get("private")))
            self.server.repos.setdefault(name, {})
            self._answer(200, {"url": f"{self.server.endpoint}/{name}", "name": name})
        elif self.path == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/main", self.path):
            files = json.loads(content)["files"]
            self._answer(
                200, {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
            )
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", self.path):
            for line in map(json.loads, content.splitlines()):
                if line["key"] == "file":
                    self.server.repos[found[1]][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                elif line["key"] == "deletedFile":
                    del self.server.repos[found[1]][line["value"]["path"]]
            commit = self.server.commit(found[1])
            self._answer(200, {"commitUrl": f"{self.server.endpoint}/{found[1]}/commit/{commit}", "commitOid": commit})
        else:
            self._answer(404, {"error": "no such address"})

    def do_GET(self) -> None:
        info = re.fullmatch(r"/api/models/([^/]+/[^/]+?)(/revision/[^/?]+)?(\?.*)?", self.path)
        tree = re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/[^?]+(\?.*)?", self.path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", self.path)
        found = info or tree or file
        repo = found[1] if found else ""
        if repo not in self.server.repos:
            self._answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
            return
        files, commit = self.server.repos[repo], self.server.commit(repo)
        if tree:
            self._answer(200, [{"type": "file", "path": n, "size": len(c), "oid": "0" * 40} for n, c in files.items()])
        elif info:
            siblings = [{"rfilename": name} for name in files]
            self._answer(200, {"_id": "0", "id": repo, "sha": commit, "private": False, "siblings": siblings})
        elif file[2] not in files:
            self._answer(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        else:
            content = files[file[2]]
            self._answer(200, content, X_Repo_Commit=commit, ETag=f'"{hashlib.sha1(content).hexdigest()}"')

    do_HEAD = do_GET


@contextmanager
def hub_server() -> Iterator[HubServer]:
    """A server for the duration of a `with` block."""
    server = HubServer()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
