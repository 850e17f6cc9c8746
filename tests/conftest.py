"""Shared fixtures. Every test keeps its store, W&B files and home to itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.objectstore import s3, s3_server, url

__all__ = ["s3", "s3_server", "url"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with real runs go first, so that two processes end at about the same time."""
    real = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in real)


@pytest.fixture(autouse=True)
def _own_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S1SWEEP_ROOT", str(tmp_path / "store"))
    monkeypatch.setenv("S1SWEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    for name in ("WANDB_MODE", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"
