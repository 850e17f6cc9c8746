"""The frame of `results.load` from W&B: offline run folders on disk, or runs on a server.

The run of a sweep carries it as an artifact of type `results`, one parquet file. Needs wandb. Knows how W&B keeps
files; not what is in the frame.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from wandb.proto.wandb_internal_pb2 import Record

from s1sweep.analysis import frame
from s1sweep.errors import UserError, invalid

TYPE = "results"  # of the artifact
FILE = "results.parquet"


def load_wandb(source: Path | str, rows: Literal["cells", "readouts"] | None = None) -> pd.DataFrame:
    """What `results.load` gives, as it was published last; see docs/results.md for the columns.

    `source` is a folder with offline runs: a sweep's (`ROOT/sweeps/NAME`), its `wandb`, one `offline-run-*`, or the
    root of a store for all its sweeps. Or it is `entity/project/NAME` on the server, where NAME is a sweep or the id of
    its run, or `entity/project` for all sweeps there. Raises UserError if there are no results, or a file is not what
    was published.
    """
    if rows not in (None, "cells", "readouts"):
        raise invalid("rows", rows, ("cells", "readouts"), "Leave it out for both.")
    path = Path(source).expanduser()
    frames = _offline(path) if path.exists() else _online(str(source))
    return frame.only(frame.joined([frames[name] for name in sorted(frames)]), rows)


# --- offline folders


def _offline(path: Path) -> dict[str, pd.DataFrame]:
    """Sweep -> its frame, from the newest folder of each sweep's run."""
    inside = {folder for pattern in PLACES for folder in path.glob(pattern)}
    folders = sorted({path} if path.name.startswith("offline-run-") else inside, key=_age)
    found: dict[str, tuple[Path, Any]] = {}
    for folder in folders:
        for record in records(folder):
            if record.WhichOneof("record_type") == "artifact" and record.artifact.type == TYPE:
                found[json.loads(record.artifact.metadata)["sweep"]] = folder, record.artifact
    if not found:
        raise UserError(
            f"{path} holds {len(folders)} offline runs, and none has an artifact of type {TYPE!r}. Give the folder of "
            "a sweep that ran with tracking=wandb_offline; one that an older s1sweep published is published anew by "
            "its next `s1sweep run`."
        )
    return {sweep: frame.read(_published(*newest)) for sweep, newest in found.items()}


PLACES = ("offline-run-*", "wandb/offline-run-*", "sweeps/*/wandb/offline-run-*")


def _age(folder: Path) -> tuple[str, int]:
    return folder.name[: len("offline-run-00000000_000000")], folder.stat().st_mtime_ns


def records(folder: Path) -> Iterator[Any]:
    """The records of an offline run: LevelDB's log format, in blocks of 32 KiB, after a header of 7 bytes."""
    files = sorted(folder.glob("*.wandb"))
    if not files:
        raise UserError(f"{folder} holds no *.wandb file, so it is no offline run of W&B. Publish the sweep again.")
    data, at, part = files[0].read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # no room for a header: the block is padded
            at += 32768 - at % 32768
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        part += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # full, or last
            yield Record.FromString(part)
            part = b""


def _published(folder: Path, artifact: Any) -> Path:
    """The artifact's file, which W&B reads where it lies until it is synced."""
    (entry,) = (entry for entry in artifact.manifest.contents if entry.path == FILE)
    path = Path(entry.local_path)
    if not path.exists():  # the store was moved: it lies beside the run as before
        path = folder.parent / path.parent.name / path.name
    if not path.exists():
        raise UserError(f"{entry.local_path}, which {folder} refers to, is gone. Publish the sweep again.")
    if (digest := base64.b64encode(hashlib.md5(path.read_bytes()).digest()).decode()) != entry.digest:
        raise UserError(
            f"{path} has md5 {digest}, and {folder} published {entry.digest}: it was edited. Publish the sweep again "
            "(remove its wandb.json and give its command again)."
        )
    return path


# --- runs on a server


def _online(source: str) -> dict[str, pd.DataFrame]:
    """Sweep -> its frame, from the artifact that its run logged last."""
    import wandb

    entity, _, rest = source.partition("/")
    project, _, name = rest.partition("/")
    if not project or "/" in name:
        raise UserError(f"{source!r} is no folder, and no entity/project/NAME of a sweep on W&B. Give one of the two.")
    filters: Mapping[str, Any] = {"jobType": "sweep"}
    if name:
        filters = {**filters, "$or": [{"group": name}, {"name": name}]}
    found: dict[str, Any] = {}
    try:
        for run in wandb.Api().runs(f"{entity}/{project}", filters=dict(filters), order="+created_at"):
            made = [artifact for artifact in run.logged_artifacts() if artifact.type == TYPE]
            if made:
                newest = max(made, key=lambda artifact: int(artifact.version.removeprefix("v")))
                found.setdefault(newest.metadata["sweep"], []).append((run.id, newest))
    except (wandb.errors.Error, ValueError) as error:
        raise UserError(f"{source} cannot be read from W&B ({error}). Log in, and check entity and project.") from error
    if not found:
        raise UserError(
            f"{source}: no run of job type sweep with an artifact of type {TYPE!r}. Publish the sweep again."
        )
    for sweep, several in found.items():
        if len(several) > 1:
            ids = ", ".join(run_id for run_id, _ in several)
            raise UserError(
                f"{source}: {len(several)} runs hold a sweep {sweep!r} ({ids}). Give entity/project/ID for one of them."
            )
    return {sweep: _downloaded(several[0][1]) for sweep, several in found.items()}


def _downloaded(artifact: Any) -> pd.DataFrame:
    with tempfile.TemporaryDirectory(prefix="s1sweep-") as folder:
        return frame.read(Path(artifact.download(root=folder)) / FILE)
