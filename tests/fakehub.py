"""A Hugging Face hub on this machine: the few routes that fetching a repository takes, over real HTTP."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlsplit

Repos = Mapping[tuple[str, str], Mapping[str, bytes]]  # (models or datasets, owner/name) -> file -> bytes
_INFO = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(revision|tree)/([^/?]+))?")
_FILE = re.compile(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


def commit_of(files: Mapping[str, bytes]) -> str:
    h = hashlib.sha1()
    for name, data in sorted(files.items()):
        h.update(name.encode() + data)
    return h.hexdigest()


@contextmanager
def serve(repos: Repos) -> Iterator[tuple[str, list[str]]]:
    """The hub's address, and the paths that are asked for, as they come."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            asked.append(f"{self.command} {path}")
            if found := _FILE.fullmatch(path):
                kind, name, revision, file = "datasets" if found[1] else "models", *found.groups()[1:]
                files = repos.get((kind, name))
                known = files is not None and revision in ("main", commit_of(files)) and file in files
                return self._file(files[file], commit_of(files)) if files and known else self._missing(file)
            if found := _INFO.fullmatch(path):
                kind, name, what, revision = found.groups()
                files = repos.get((kind, name))
                if files is None or revision not in (None, "main", commit_of(files)):
                    return self._missing(name)
                listed = [
                    {"rfilename": f, "path": f, "type": "file", "size": len(d), "oid": "0"} for f, d in files.items()
                ]
                info = {"id": name, "sha": commit_of(files), "siblings": listed, "private": False, "tags": []}
                return self._json(listed if what == "tree" else {**info, "downloads": 0, "likes": 0})
            return self._missing(path)

        do_HEAD = do_GET

        def _file(self, data: bytes, commit: str) -> None:
            self._send(200, data, {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": commit})

        def _json(self, value: object) -> None:
            self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

        def _missing(self, what: str) -> None:
            self._send(404, b"{}", {"X-Error-Code": "EntryNotFound" if "." in what else "RepoNotFound"})

        def _send(self, code: int, body: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(code)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
