"""The configuration reference, made from the specs and from conf/: `python -m tools.reference` prints it.

A field's meaning is the comment beside it in conf/, a section's the docstring of its spec; both stand nowhere else.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from s1sweep import typos  # noqa: E402
from s1sweep.project import PACKAGED  # noqa: E402
from s1sweep.spec import CellConfig, CellSpec, Claim, Excluded, Neutral, Placement, Spec, Tracking  # noqa: E402

FOLDERS = [PACKAGED]
_COMMENT = re.compile(r"^\s*(?:- )?([a-z_0-9]+):.*?\s#\s(.+)$")
_BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
_INTRO = """# Configuration reference

Made from the specs and `conf/` at each build. `s1sweep run -m GROUP=CHOICE GROUP.FIELD=VALUE` sets what stands
here; `s1sweep run --cfg job` prints the whole config of a command.

A field **counts** where it is part of a result's identity: change it, and the stage is another. Fields of `placement`,
`tracking` and of the sweep never count. A field that is *neutral* at a value leaves ids alone while it has that value.
"""


def page() -> str:
    """The whole reference as Markdown."""
    parts = [_INTRO, _sweep()]
    seen: set[type[BaseModel]] = set()
    groups = {name: list(_models(field.annotation)) for name, field in CellSpec.model_fields.items()}
    groups |= {"placement": [Placement], "tracking": [Tracking]}
    for group, models in groups.items():
        parts.append(f"## `{group}`\n")
        parts += [_model(model, group, seen) for model in models]
        parts.append(_choices(group))
    for group in typos.groups(FOLDERS):
        if group not in groups and not group.startswith("hydra"):
            parts += [f"## `{group}`\n", _choices(group)]
    return "\n".join(part for part in parts if part)


def _sweep() -> str:
    others = ("cell", "placement", "tracking", "choices", "overrides")
    fields = [name for name in CellConfig.model_fields if name not in others]
    notes = _comments(PACKAGED / "config.yaml")
    rows = [_row(name, CellConfig.model_fields[name], notes.get(name, ""), "", counted=False) for name in fields]
    table = _table(rows, "field", "value", "what", "counts")
    return f"## The sweep\n\n{table}\n{_model(Claim, '', set())}"


def _model(model: type[BaseModel], group: str, seen: set[type[BaseModel]]) -> str:
    """A spec's section, then those of the specs within it that have none yet."""
    if model in seen:
        return f"As [{model.__name__}](#{model.__name__.lower()}).\n"
    seen.add(model)
    notes = _notes(group)
    spec = issubclass(model, Spec)
    rows = [_row(name, field, notes.get(name, ""), _default(field), spec) for name, field in model.model_fields.items()]
    said = _plain(inspect.getdoc(model) or "")
    text = f"### {model.__name__}\n\n{said}\n\n{_table(rows, 'field', 'value', 'what', 'counts')}"
    inner = [m for field in model.model_fields.values() for m in _models(field.annotation) if m not in seen]
    return "\n".join([text, *(_model(m, group, seen) for m in dict.fromkeys(inner) if m not in seen)])


def _row(name: str, field: FieldInfo, note: str, default: str, counted: bool) -> tuple[str, str, str, str]:
    reasons = [m.reason for m in field.metadata if isinstance(m, Excluded)]
    neutral = [m.value for m in field.metadata if isinstance(m, Neutral)]
    counts = "yes" if counted else "no"
    if reasons:
        counts = f"no: {reasons[0]}"
    elif neutral:
        counts = f"yes; neutral at `{_yaml(neutral[0])}`"
    bounds = _bounds(field.metadata)
    value = f"{_type(field.annotation)}{' ' + bounds if bounds else ''}"
    return f"`{name}`", value, f"{note}{f' (default `{default}`)' if default else ''}", counts


def _default(field: FieldInfo) -> str:
    return "" if field.is_required() or field.default_factory else _yaml(field.default)


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        bounds = _bounds([m for meta in arguments[1:] for m in getattr(meta, "metadata", [meta])])
        return f"{_type(arguments[0])}{' ' + bounds if bounds else ''}"
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_type(a) for a in arguments))
    if origin is Literal:
        return ", ".join(f"`{_yaml(a)}`" for a in arguments)
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return f"mapping of {_type(arguments[0])} to {_type(arguments[1])}"
    if annotation in (NoneType, None):
        return "null"
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    plain = {str: "text", int: "integer", float: "number", bool: "true or false", Any: "anything"}
    return plain.get(annotation, str(annotation))


def _bounds(metadata: Any) -> str:
    found = [f"{sign} {getattr(m, name)}" for m in metadata for name, sign in _BOUNDS.items() if hasattr(m, name)]
    return ", ".join(found)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The specs that a field may hold."""
    if inspect.isclass(annotation) and not get_args(annotation):
        if issubclass(annotation, BaseModel):
            yield annotation
        return
    for argument in get_args(annotation):
        if not isinstance(argument, FieldInfo | Excluded | Neutral):
            yield from _models(argument)


def _choices(group: str) -> str:
    rows = [(f"`{name}`", _said(PACKAGED / group / f"{name}.yaml")) for name in typos.choices(FOLDERS, group)]
    return _table(rows, "choice", "what") if rows else ""


def _said(path: Path) -> str:
    """What a file says of itself: the comment it begins with, or what it extends and sets."""
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = []
    for line in lines:
        if not line.startswith("#"):
            break
        if "@package" not in line:
            comment.append(line.lstrip("# "))
    if comment:
        return " ".join(comment)
    own = [line for line in lines if ":" in line and not line.startswith(("defaults", " ", "name"))]
    kept = [line.partition(" #")[0].strip() for line in own]
    return ", ".join(f"`{line}`" for line in kept[:4] if line)


@cache
def _notes(group: str) -> dict[str, str]:
    """The comments beside fields, of all choices of a group; the default choice has the last word."""
    found: dict[str, str] = {}
    default = typos.default_choices(FOLDERS).get(group, "")
    names = sorted(typos.choices(FOLDERS, group), key=lambda name: (name == default, name))
    for name in names:
        found |= _comments(PACKAGED / group / f"{name}.yaml")
    return found


def _comments(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return {found[1]: found[2] for line in lines if (found := _COMMENT.match(line))}


def _table(rows: list[Any], *head: str) -> str:
    body = [[_plain(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    cells = [head, ("---",) * len(head), *body]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells) + "\n"


def _plain(text: str) -> str:
    """Angle brackets outside code would be taken for HTML."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;") for part in parts)


def _yaml(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


if __name__ == "__main__":
    print(page())
