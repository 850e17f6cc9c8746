"""Where pools and the held-out questions beside them are, and the digests that stand for them in identities.

Knows them as files; not what is done with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from s1sweep import testbed
from s1sweep.errors import UserError
from s1sweep.identity import digest, file_sha256
from s1sweep.sources.hub import content
from s1sweep.sources.raw import read_hub, read_raw
from s1sweep.spec import DecontaminateSpec, PoolSpec


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


def _existing(path: str, field: str) -> Path:
    found = Path(path).expanduser().absolute()
    if not found.is_file():
        raise UserError(f"{field}={path!r} is not a file. Give an existing JSONL file.")
    return found
