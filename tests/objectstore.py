"""A real S3 server on this machine (moto's, which honours If-None-Match) for tests of stores under URLs."""

from __future__ import annotations

import importlib.util
import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_NUMBERS = itertools.count()
_CHILD = """
import sys
from moto.server import ThreadedMotoServer
server, port = None, 0
for line in sys.stdin:
    if line == "start\\n":
        server = ThreadedMotoServer(ip_address=sys.argv[1], port=port, verbose=False)
        server.start()
        port = server.get_host_and_port()[1]
    else:
        server.stop()
    print(port, flush=True)
"""


class Server:
    """Moto in a process of its own, which keeps its buckets while it does not listen.

    Flask's globals must not come into the tests' process: vLLM looks at every global when an engine starts, and they
    raise at that.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, host],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def _say(self, word: str) -> str:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        return f"http://{self._host}:{int(self._process.stdout.readline())}"

    def start(self) -> str:
        """Listen; the address, which stays the same."""
        return self._say("start")

    def stop(self) -> None:
        """Refuse connections."""
        self._say("stop")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def moto(host: str = "127.0.0.1") -> Server:
    for name in ("s3fs", "moto"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: no S3 server")
    return Server(host)


def access(address: str) -> dict[str, str]:
    """The environment of those who use a server."""
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    return {"AWS_ENDPOINT_URL": address, **keys}


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    server = moto()
    yield server.start()
    server.close()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The URL of an empty store in a bucket of its own."""
    import s3fs

    for name, value in {**access(s3_server), "S1SWEEP_CACHE": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    bucket = f"bucket{next(_NUMBERS)}"
    s3fs.S3FileSystem().mkdir(bucket)
    return f"s3://{bucket}/some/prefix"


@pytest.fixture(params=["directory", "memory", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty store of each sort."""
    monkeypatch.setenv("S1SWEEP_CACHE", str(tmp_path / "cache"))
    if request.param == "s3":
        return request.getfixturevalue("s3")
    if request.param == "memory":
        pytest.importorskip("fsspec")
        return f"memory://store{next(_NUMBERS)}/prefix"
    return str(tmp_path / "store")
