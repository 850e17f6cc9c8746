"""The code that a submission runs with, frozen in the store: a later edit changes nothing that is queued.

    code/<digest>/...             the package's files, and those of a project's own folders
    code/inputs/<digest>/<name>   small files that specs name: questions, rules, pools of one's own

Workers find it first on their path. Those of a store under a URL start as `python -m s1sweep.queue.code URL ...`, which
brings it to their machine first. Knows files; not what is in them.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import s1sweep
from s1sweep.identity import file_sha256
from s1sweep.planning import Stage
from s1sweep.spec import Spec
from s1sweep.spec.base import OnDisk
from s1sweep.store import Store, code_version

SMALL = 64 << 20  # bytes; larger files stay where they are
LEFT_OUT = {"__pycache__", ".git", "tests"}
PACKAGES = ("s1sweep", "hydra_plugins")
S = TypeVar("S", bound=Spec)


def freeze(store: Store, extra: Path | None = None) -> str:
    """Copy the running code (and a project's own folder) into the store; returns its digest. What is there stays."""
    root = Path(s1sweep.__file__).parent.parent
    found = {f"{name}/{path}": file for name in PACKAGES for path, file in _files(root / name)}
    if extra is not None:
        found |= {f"project/{path}": file for path, file in _files(extra)}
    total = hashlib.sha256()
    for name in sorted(found):
        total.update(f"{name}\0{hashlib.sha256(found[name].read_bytes()).hexdigest()}\n".encode())
    name = total.hexdigest()[:16]
    for path, file in found.items():
        store.files.create(f"code/{name}/{path}", file.read_bytes())
    if commit := code_version().get("commit"):
        store.files.create(f"code/{name}/.git/HEAD", commit.encode())  # where records look for it
    return name


def thaw(store: Store, name: str) -> Path:
    """The folder to put first on a worker's path, brought to this machine."""
    for path in store.files.tree(f"code/{name}"):
        local = store.files.local / "code" / name / path
        if not local.exists():
            local.parent.mkdir(parents=True, exist_ok=True)
            part = local.with_name(f".{local.name}.{uuid4().hex}")  # several workers may bring it at once
            part.write_bytes(store.files.read(f"code/{name}/{path}") or b"")
            part.replace(local)
    return store.files.local / "code" / name


def place(store: Store, name: str) -> str:
    """Where workers find it: a folder that all machines see, or the URL of one that each brings to itself."""
    return f"{store.url}/code/{name}" if "://" in store.url else str(thaw(store, name))


def freeze_inputs(store: Store, stage: Stage) -> Stage:
    """The stage with what it reads named in full: small files by their copy in the store, others where they lie.

    The types of fields say which of them name files (`OnDisk`). Under a URL nothing is copied: a path must lie where
    the workers see it. No id changes, since no path is hashed.
    """
    spec = _with_inputs(store, stage.spec)
    return stage if spec is stage.spec else replace(stage, spec=spec)


def _with_inputs(store: Store, spec: S) -> S:
    changed = {}
    for name, field in type(spec).model_fields.items():
        given: Any = getattr(spec, name)
        mark = next((mark for mark in field.metadata if isinstance(mark, OnDisk)), None)
        found = given
        if isinstance(given, Spec):
            found = _with_inputs(store, given)
        elif mark is not None and given is not None:
            found = _kept(store, given, mark) if isinstance(given, str) else tuple(_kept(store, g, mark) for g in given)
        if found != given:
            changed[name] = found
    return spec.model_copy(update=changed) if changed else spec


def _kept(store: Store, name: str, mark: OnDisk) -> str:
    """A file or folder by where workers find it; what is none, as it is."""
    found = Path(name).expanduser()
    if name in mark.packaged or not (found.is_dir() if mark.folder else found.exists()):
        return name
    if found.is_dir() or found.stat().st_size > SMALL or "://" in store.url:
        return str(found.absolute())
    kept = f"code/inputs/{file_sha256(found)[:16]}/{found.name}"
    store.files.create(kept, found.read_bytes())
    return str(store.files.local / kept)


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every file below a folder, links followed (the top-level folders of a clone are links of the package)."""
    for path in sorted(folder.iterdir()):
        if path.name in LEFT_OUT or path.name.startswith("."):
            continue
        if path.is_dir():
            yield from ((f"{path.name}/{rest}", file) for rest, file in _files(path))
        elif path.is_file():
            yield path.name, path


if __name__ == "__main__":
    where, *rest = sys.argv[1:]
    url, _, name = where.rpartition("/code/")
    first = str(thaw(Store(url), name))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (first, os.environ.get("PYTHONPATH"))))
    os.execv(sys.executable, [sys.executable, *rest])
