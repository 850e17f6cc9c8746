"""Where the pools and models named by specs are, and the digests that stand for them in identities.

Knows them as files; not what is done with them. Tasks are in tasks.py.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from s1sweep import testbed
from s1sweep.data.pool import Row, read_pool
from s1sweep.errors import UserError
from s1sweep.hub import UNPINNED
from s1sweep.identity import file_sha256, tree_sha256
from s1sweep.spec import ModelSpec, PoolSpec, ScorerSpec

WEIGHTS = ("*.safetensors", "*.json", "*.txt", "*.jinja", "*.model")


def pool_file(pool: PoolSpec) -> Path:
    return testbed.POOL if pool.path is None else _existing(pool.path, "pool.path")


def pool_rows(pool: PoolSpec) -> list[Row]:
    """The checked rows of a pool; read once per process and file."""
    path = pool_file(pool)
    return _pool_rows(path, file_sha256(path))


@lru_cache(maxsize=4)
def _pool_rows(path: Path, sha256: str) -> list[Row]:
    return list(read_pool(path))


def model_path(model: ModelSpec | ScorerSpec) -> str:
    """A local directory, or the hub id. Raises UserError if it is neither."""
    group = _group(model)
    if model.source == "testbed":
        return str(testbed.PRM if isinstance(model, ScorerSpec) else testbed.BASE)
    if Path(model.source).expanduser().is_dir():
        return str(Path(model.source).expanduser().absolute())
    if model.source.startswith((".", "/", "~")) or model.source.count("/") != 1:
        raise UserError(
            f"{group}.source={model.source!r} is neither `testbed`, a directory, nor a hub id like owner/name."
        )
    return model.source


def model_digest(model: ModelSpec | ScorerSpec) -> str:
    """What stands for the base weights: their sha256, or the hub revision; `run` refuses one that is not pinned."""
    path = Path(model_path(model))
    if path.is_dir():
        return tree_sha256(path, WEIGHTS)
    return f"{model.source}@{model.revision or UNPINNED}"


def _group(model: ModelSpec | ScorerSpec) -> str:
    return "scorer" if isinstance(model, ScorerSpec) else "model"


def _existing(path: str, field: str) -> Path:
    found = Path(path).expanduser().absolute()
    if not found.is_file():
        raise UserError(f"{field}={path!r} is not a file. Give an existing JSONL file.")
    return found
