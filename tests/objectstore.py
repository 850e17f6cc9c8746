"""A real S3 server on this machine (moto's, which honours If-None-Match) for tests of stores under URLs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The URL of an empty store in a bucket of its own."""
    import s3fs

    env = {"AWS_ENDPOINT_URL": s3_server, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    for name, value in {**env, "AWS_DEFAULT_REGION": "us-east-1", "S1SWEEP_CACHE": str(tmp_path / "cache")}.items():
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
