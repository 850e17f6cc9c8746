"""What a wrong override should have been: the fields and choices there are, read from the conf folders' files.

Also what completes them in a shell, so it imports neither Hydra nor a spec. Knows names; not what they mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from s1sweep.errors import nearest

_HYDRA = ("hydra/sweeper",)


def groups(folders: Sequence[Path]) -> list[str]:
    """Every config group, nested ones with slashes."""
    found = {path.parent.relative_to(folder).as_posix() for folder in folders for path in folder.rglob("*.yaml")}
    return sorted({*(found - {"."}), *_HYDRA})


def choices(folders: Sequence[Path], group: str) -> list[str]:
    """The choices of a group; of `group@package` too. Hydra's own sweepers are named, as far as they are ours."""
    name = group.partition("@")[0]
    if name in _HYDRA:
        return ["basic", "s1sweep", "sequential"]
    return sorted({path.stem for folder in folders for path in (folder / name).glob("*.yaml")})


def fields(folders: Sequence[Path], group: str, choice: str) -> list[str]:
    """The dotted fields of a choice, those of what it extends included."""
    return sorted(_flat(_content(folders, group, choice)))


def top_fields(folders: Sequence[Path]) -> list[str]:
    """Fields that belong to no group: the sweep's name, notes, tags."""
    return sorted(key for key in _content(folders, "", "config") if key not in ("hydra", "grids", "defaults"))


def default_choices(folders: Sequence[Path]) -> dict[str, str]:
    """The choice of each group where nothing is said."""
    found = _read(folders, "", "config").get("defaults") or []
    return {str(g): str(c) for entry in found if isinstance(entry, dict) for g, c in entry.items() if c is not None}


def owners(folders: Sequence[Path], group: str, field: str) -> list[str]:
    """The choices of a group that have a field."""
    return [choice for choice in choices(folders, group) if field in fields(folders, group, choice)]


def _read(folders: Sequence[Path], group: str, choice: str) -> dict[str, Any]:
    import yaml

    for folder in folders:
        path = folder / group / f"{choice}.yaml"
        if path.is_file():
            found = yaml.safe_load(path.read_text(encoding="utf-8"))
            return found if isinstance(found, dict) else {}
    return {}


def _content(folders: Sequence[Path], group: str, choice: str) -> dict[str, Any]:
    own = _read(folders, group, choice)
    merged: dict[str, Any] = {}
    for entry in own.get("defaults") or []:
        if isinstance(entry, str) and entry != "_self_":
            merged |= _content(folders, group, entry)
    return merged | {key: value for key, value in own.items() if key != "defaults"}


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, inner in value.items():
        if isinstance(inner, Mapping) and inner:
            yield from _flat(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


# --- messages -------------------------------------------------------------------------------------------------------


def unknown_key(key: str, valid: Sequence[str], folders: Sequence[Path]) -> str:
    """What to say of a key that the config does not have: the nearest, or its siblings, or the choices that have it."""
    group, _, field = key.partition(".")
    if field and (having := owners(folders, group, field)):
        return f"\nIt is a field of {' and '.join(f'{group}={choice}' for choice in having[:4])}."
    hint = nearest(key, [*valid, *groups(folders)])
    siblings = [name for name in valid if name.startswith(f"{group}.")]
    if hint:
        return f"\n{hint.strip()}"
    return f"\nFields of {group}: {', '.join(siblings)}." if siblings else ""


def field_error(error: Any, value: dict[str, Any]) -> str:
    """One of pydantic's errors as `train.learning_rate='fast': input should be a valid number`, with what is valid."""
    # A union puts the tag or type it tried into the path; it is no part of the field's name.
    where = [part for part in error["loc"] if part != "cell"]
    found: Any = value
    around: Any = {}
    for part in error["loc"]:
        tag = part in (found.get("kind"), found.get("by")) if isinstance(found, dict) else not isinstance(part, int)
        if tag:
            where.remove(part)
            continue
        if (isinstance(found, Mapping) and part in found) or (
            isinstance(found, Sequence) and isinstance(part, int) and part < len(found)
        ):
            around, found = found, found[part]
    field = ".".join(map(str, where))
    if error["type"] == "extra_forbidden":
        # Every field of a config has its value, so the others are all there are.
        siblings = sorted(str(key) for key in around if key != where[-1]) if isinstance(around, Mapping) else []
        of = ".".join(map(str, where[:-1])) or "a config"
        close = nearest(str(where[-1]), siblings)
        return f"{field}={found!r} is not a field.{close} Fields of {of}: {', '.join(siblings)}."
    if error["type"] == "missing":
        return f"{field} is missing. Give {field}=..."
    message = error["msg"].replace("valid tuple", "valid list")
    allowed = re.findall(r"'([^']+)'", str(error.get("ctx", {}).get("expected", "")))
    close = nearest(found, allowed) if isinstance(found, str) else ""
    return f"{field}={found!r}: {message[0].lower()}{message[1:]}.{close}"
