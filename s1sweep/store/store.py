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

import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from s1sweep.errors import UserError, nearest
from s1sweep.identity import file_sha256
from s1sweep.store import attempts
from s1sweep.store.attempts import CHECKPOINTS, PROGRESS, UNPUBLISHED, Failure, HowFar
from s1sweep.store.leases import Leases
from s1sweep.store.records import (
    SCHEMA,
    OutputFile,
    Provenance,
    Record,
    Result,
    as_file,
    code_version,
    diff,
    environment,
)
from s1sweep.store.storage import LockHeld, open_files
from s1sweep.store.sweeps import Sweep

ID = "id"
CLEANER = ".gc"  # no cluster can have this name


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

    def attempt_dir(self, stage_id: str, attempt: str | None = None) -> Path:
        """A fresh, empty directory for one attempt at a stage; without a name for it, a new one."""
        path = self.stage_dir(stage_id) / (attempt or attempts.attempt_name())
        path.mkdir(parents=True)
        return path

    def record(self, stage_id: str) -> Record | None:
        """The published record, or None if the stage is not done. Raises ValueError if its file holds none."""
        data = self.files.read(_record(stage_id))
        return None if data is None else Record.parse(data)

    def reusable(self, stage_id: str, hashed: Mapping[str, Any]) -> bool:
        """Whether a record can stand for this work. Raises RecordMismatch, with a diff, on a collision or an edit."""
        record = self.record(stage_id)
        if record is None:
            return False
        if record.schema_version != SCHEMA:
            raise RecordMismatch(
                f"{self.where(_record(stage_id))} has schema {record.schema_version}, "
                f"this s1sweep reads {SCHEMA}. "
                "Use the s1sweep version that wrote it, or another placement.root."
            )
        if record.hashed != hashed:
            lines = "\n".join(f"  {k}: record has {a!r}, asked for {b!r}" for k, a, b in diff(record.hashed, hashed))
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
        for name, said in record.outputs.items():
            if not names or name in names:
                self.files.fetch(f"stages/{stage_id}/{record.attempt}/{name}", said.bytes, said.sha256)
        return self.stage_dir(stage_id) / record.attempt

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
        files = sorted(p for p in attempt.rglob("*") if p.is_file() and p.name not in UNPUBLISHED)
        outputs = {
            p.relative_to(attempt).as_posix(): OutputFile(sha256=file_sha256(p), bytes=p.stat().st_size) for p in files
        }
        record = Record(
            schema=SCHEMA,
            id=stage_id,
            result=Result(hashed=dict(hashed), outputs=outputs, summary=dict(summary)),
            provenance=Provenance(
                attempt=attempt.name,
                started=round(started, 3),
                seconds=round(time.time() - started, 3),
                cost=dict(cost),
                host=socket.gethostname(),
                code=code_version(),
                environment=environment(),
            ),
        )
        for path in (p for p in attempt.rglob("*") if p.is_file() and p.name != PROGRESS):
            self.files.put(path.relative_to(self.root).as_posix())
        self.clear_failure(stage_id)
        first = self.files.create(_record(stage_id), as_file(record.as_json()))
        shutil.rmtree(self.stage_dir(stage_id) / CHECKPOINTS, ignore_errors=True)
        return first

    def state(self, stage_id: str) -> list[int | None]:
        """When the stage was published and when it last failed, in ns; equal as long as nothing became of it."""
        return [_modified(self.stage_dir(stage_id) / name) for name in ("record.json", "failed.json")]

    def failure(self, stage_id: str) -> Failure | None:
        """The failure that stands against a stage, or None. Raises ValueError if its file holds none."""
        data = self.files.read(f"stages/{stage_id}/failed.json")
        return None if data is None else Failure.model_validate_json(data)

    def mark_failed(self, stage_id: str, failure: Failure) -> None:
        """Write down that a stage failed for good: later runs do not try it again unless they are told to."""
        said = failure.model_copy(update={"time": round(time.time(), 3)}).model_dump(mode="json")
        self.files.replace(f"stages/{stage_id}/failed.json", as_file(said))

    def keep_log(self, attempt: Path) -> str | None:
        """Bring the log of an attempt that published nothing to where others can read it; its path in the store."""
        log = attempt / attempts.LOG
        if not log.exists():
            return None
        path = log.relative_to(self.root).as_posix()
        self.files.put(path)
        return path

    def clear_failure(self, stage_id: str) -> None:
        self.files.remove(f"stages/{stage_id}/failed.json")

    def withdraw(self, stage_id: str) -> None:
        """Take back a record so that the stage runs again; the old record stays beside its files."""
        record = self.record(stage_id)
        if record is not None:
            withdrawn = f"stages/{stage_id}/{record.attempt}/withdrawn.json"
            self.files.replace(withdrawn, as_file(record.as_json()))
            self.files.remove(_record(stage_id))
        self.clear_failure(stage_id)

    def stage_ids(self) -> list[str]:
        return self.files.names("stages")

    def progress(self, stage_id: str, *names: str) -> HowFar | None:
        """How far the named attempts are, or else the newest: several are shards of one session."""
        found = names or attempts.newest(
            path.name for path in _children(self.stage_dir(stage_id)) if path.is_dir() and path.name != CHECKPOINTS
        )
        said = [how for name in found if (how := attempts.read_progress(self.stage_dir(stage_id) / name))]
        if len(found) == 1:
            return said[0] if said else None
        return attempts.together(said, len(found)) if said else None

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
        except LockHeld as error:
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


# --- files ----------------------------------------------------------------------------------------------------------


def _record(stage_id: str) -> str:
    return f"stages/{stage_id}/record.json"


def _modified(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _children(path: Path) -> list[Path]:
    try:
        return list(path.iterdir())
    except FileNotFoundError:
        return []
