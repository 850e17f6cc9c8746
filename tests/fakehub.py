"""A Hugging Face hub on this machine: the few routes that fetching and pushing a repository take, over real HTTP."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlsplit

Repos = Mapping[tuple[str, str], Mapping[str, bytes]]  # (models or datasets, owner/name) -> file -> bytes
_INFO = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(revision|tree)/([^/?]+))?")
_PUSH = re.compile(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/main")
_BATCH = re.compile(r"/([^/]+/[^/]+).git/info/lfs/objects/batch")
_FILE = re.compile(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


def commit_of(files: Mapping[str, bytes]) -> str:
    h = hashlib.sha1()
    for name, data in sorted(files.items()):
        h.update(name.encode() + data)
    return h.hexdigest()


@contextmanager
def serve(repos: Repos, token: str | None = None) -> Iterator[tuple[str, list[str]]]:
    """The hub's address, and the paths that are asked for, as they come.

    With a `token`, who has it may push: `repos` then gets what is pushed, and private ones a file `.private`.
    """
    asked: list[str] = []
    large: dict[str, bytes] = {}

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
                about = {"private": ".private" in files, "tags": []}
                info = {"id": name, "sha": commit_of(files), "siblings": listed, **about}
                return self._json(listed if what == "tree" else {**info, "downloads": 0, "likes": 0})
            return self._missing(path)

        do_HEAD = do_GET

        def do_POST(self) -> None:
            path = unquote(urlsplit(self.path).path)
            asked.append(f"{self.command} {path}")
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            if self.headers.get("Authorization") != f"Bearer {token}":
                return self._send(401, b"{}", {})
            if path == "/api/validate-yaml":
                return self._json({"warnings": []})
            assert isinstance(repos, MutableMapping)
            if path == "/api/repos/create":
                asks = json.loads(body)
                name = f"{asks['organization']}/{asks['name']}"
                url = {"url": f"{self._address()}/{name}"}
                if ("models", name) in repos:
                    return self._send(409, json.dumps(url).encode(), {})
                repos["models", name] = {".private": b""} if asks.get("visibility") == "private" else {}
                return self._json(url)
            if _BATCH.fullmatch(path):
                wanted = [self._wanted(one) for one in json.loads(body)["objects"]]
                return self._json({"transfer": "basic", "objects": wanted})
            if not (found := _PUSH.fullmatch(path)):
                return self._missing(path)
            if found[2] == "preupload":
                modes = {True: "lfs", False: "regular"}
                names = [f["path"] for f in json.loads(body)["files"]]
                said = [(n, modes[n.endswith(".safetensors")]) for n in names]
                return self._json({"files": [{"path": n, "uploadMode": m, "shouldIgnore": False} for n, m in said]})
            files = dict(repos["models", found[1]])
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                elif line["key"] == "lfsFile":
                    files[line["value"]["path"]] = large[line["value"]["oid"]]
            repos["models", found[1]] = files
            commit = commit_of(files)
            url = f"{self._address()}/{found[1]}/commit/{commit}"
            self._json({"commitUrl": url, "commitOid": commit, "success": True})

        def do_PUT(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            large[hashlib.sha256(data).hexdigest()] = data
            asked.append(f"PUT {self.path}")
            self._send(200, b"", {})

        def _wanted(self, one: Mapping[str, object]) -> dict[str, object]:
            upload = {"href": f"{self._address()}/lfs/{one['oid']}", "header": {}}
            return {**one, "authenticated": True, "actions": {"upload": upload}}

        def _address(self) -> str:
            return f"http://{self.headers['Host']}"

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
            if self.command != "HEAD":
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
