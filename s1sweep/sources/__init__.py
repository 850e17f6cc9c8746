"""Where the pools and models named by specs are, and the digests that stand for them in identities.

Knows them as files; not what is done with them. Tasks are in tasks.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from s1sweep import testbed
from s1sweep.errors import UserError
from s1sweep.identity import digest, file_sha256, tree_sha256
from s1sweep.sources.hub import UNPINNED, content
from s1sweep.sources.raw import read_hub, read_raw
from s1sweep.spec import DecontaminateSpec, LengthSpec, ModelSpec, PoolSpec, ScorerSpec

TOKENIZER = ("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "*.model")
WEIGHTS = ("*.safetensors", "*.json", "*.txt", "*.jinja", "*.model")


def pool_file(pool: PoolSpec) -> Path:
    return testbed.POOL if pool.path is None else _existing(pool.path, "pool.path")


def pool_digest(pool: PoolSpec) -> str:
    """What stands for a pool's source: its sha256, or the hub's name of it."""
    if pool.hub is not None:
        return content(pool.hub, pool.revision, pool.subset, pool.split)
    return file_sha256(pool_file(pool))


_HUB = re.compile(r"hub:([^/:@]+/[^/:@]+)(?:/([^:@]+))?:([^:@]+)(?:@(.+))?")
_QUESTION = ("question", "problem")  # columns of held-out questions, whatever their case


def held_out(name: str) -> Iterator[str]:
    """The question texts of one of `curation.decontaminate.against`. Raises UserError if it cannot be read."""
    field = "curation.decontaminate.against"
    hub = hub_name(name)
    raws = read_hub(*hub) if hub else read_raw(_held_out_file(name), field)
    for number, raw in raws:
        columns = {key.lower(): value for key, value in raw.items()} if isinstance(raw, dict) else {}
        text = next((columns[key] for key in _QUESTION if isinstance(columns.get(key), str)), None)
        if text is None:
            raise UserError(f"{field}={name!r}: row {number} has no text under {' or '.join(_QUESTION)}.")
        yield text


def held_out_digest(spec: DecontaminateSpec) -> str:
    """What stands for all that a pool is held against; how often and in what order it is named does not matter."""
    found = set()
    for name in spec.against:
        hub = hub_name(name)
        found.add(content(hub[0], hub[3], hub[1], hub[2]) if hub else file_sha256(_held_out_file(name)))
    return digest(sorted(found))


def hub_name(name: str) -> tuple[str, str | None, str, str | None] | None:
    """Hub id, subset, split and revision; None for what is not on the hub."""
    if not name.startswith("hub:"):
        return None
    found = _HUB.fullmatch(name)
    if found is None:
        raise UserError(
            f"curation.decontaminate.against={name!r} is not valid. Give hub:OWNER/NAME[/SUBSET]:SPLIT@COMMIT."
        )
    hub, subset, split, revision = found.groups()
    return hub, subset, split, revision


def _held_out_file(name: str) -> Path:
    if name in testbed.TASKS:
        return testbed.task_path(name)
    return _existing(name, "curation.decontaminate.against")


def tokenizer_path(spec: LengthSpec) -> str:
    """A local directory, or the hub id."""
    if spec.tokenizer == "testbed":
        return str(testbed.BASE)
    path = Path(spec.tokenizer).expanduser()
    if path.is_dir():
        return str(path.absolute())
    if spec.tokenizer.startswith((".", "/", "~")) or spec.tokenizer.count("/") != 1:
        raise UserError(
            f"curation.length.tokenizer={spec.tokenizer!r} is neither `testbed`, a directory, nor a hub id "
            "like owner/name."
        )
    return spec.tokenizer


def tokenizer_digest(spec: LengthSpec) -> str:
    """What stands for a tokenizer: the sha256 of its files, or the hub's name of it."""
    path = Path(tokenizer_path(spec))
    return tree_sha256(path, TOKENIZER) if path.is_dir() else f"{spec.tokenizer}@{spec.revision or UNPINNED}"


def model_path(model: ModelSpec | ScorerSpec, group: str | None = None) -> str:
    """A local directory, or the hub id. Raises UserError, naming the field in its `group`, if it is neither."""
    group = group or _group(model)
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
