"""Whether the store can be written as it is written: files, exclusive links, a lock; and whether there is room."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from s1sweep.doctor.base import Asked, CheckResult
from s1sweep.spec import GrpoStage, TrainStage

PROBE_BYTES = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Bytes of a parameter on disk: fp32 weights, and Adam's two moments beside them in a step checkpoint.
CHECKPOINT, STEP_CHECKPOINT = 4, 12
SPARE = 1e9  # for traces, pages and logs


def store_is_writable(asked: Asked) -> Iterator[CheckResult]:
    """Writes, links and locks in placement.root, and takes it all back."""
    root = asked.root
    try:
        with scratch(root) as folder:
            probe(folder)
    except OSError as error:
        if error.errno in _FULL:
            todo = "Free some space, raise the quota or the limit (ulimit -f), or give another placement.root."
            yield CheckResult("store", "fault", f"{root} takes no more data ({error.strerror})", todo)
            return
        todo = "Give a placement.root (or S1SWEEP_ROOT) that you can write to."
        if error.errno in (errno.EPERM, errno.ENOTSUP, errno.ENOLCK) and folder_exists(root):
            todo = "Records need hard links and locks; give a placement.root on a filesystem that has both."
        yield CheckResult("store", "fault", f"{root} cannot be written ({error.strerror})", todo)
        return
    except NotExclusive:
        todo = "Two runs could both publish a record there. Give a placement.root on another filesystem."
        yield CheckResult("store", "fault", f"{root} lets a link replace a file that is there", todo)
        return
    yield CheckResult("store", "ok", f"{root}: written, linked once, locked")


class NotExclusive(Exception):
    """A link was made over a file."""


def folder_exists(path: Path) -> bool:
    with suppress(OSError):
        return path.is_dir()
    return False


def probe(folder: Path) -> None:
    """Do in a folder what the store does. Raises OSError, or NotExclusive."""
    written, record = folder / "probe", folder / "record.json"
    descriptor = os.open(written, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    with os.fdopen(descriptor, "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.write(bytes(PROBE_BYTES))
        file.flush()
        os.fsync(file.fileno())
    os.link(written, record)
    with suppress(FileExistsError):
        os.link(written, record)
        raise NotExclusive


@contextmanager
def scratch(root: Path) -> Iterator[Path]:
    """A fresh folder in `root`; it and whatever of `root` was made for it are gone afterwards."""
    made = [folder for folder in (root, *root.parents) if not folder_exists(folder)]
    folder = root / f".doctor-{secrets.token_hex(4)}"
    try:
        folder.mkdir(parents=True)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for path in made:
            with suppress(OSError):
                path.rmdir()


def disk_space(asked: Asked) -> Iterator[CheckResult]:
    """Compares free space with what the trainings of the plan will keep."""
    there = next(folder for folder in (asked.root, *asked.root.parents) if folder_exists(folder))
    free = shutil.disk_usage(there).free
    specs = [stage.spec for stage in asked.missing("train")]
    sizes = [spec.model.parameters for spec in specs if isinstance(spec, TrainStage | GrpoStage)]
    steps = STEP_CHECKPOINT * max(sizes, default=0) if asked.placement.checkpoint_every else 0
    need = CHECKPOINT * sum(sizes) + steps
    count = f"{len(sizes)} training{'' if len(sizes) == 1 else 's'}"
    said = f"{free / 1e9:,.1f} GB free at {there}; checkpoints of {count} take about {need / 1e9:,.1f} GB"
    if free < need:
        yield CheckResult("disk", "fault", said, "Free some space, or give a placement.root on a larger disk.")
    elif free < need + SPARE:
        yield CheckResult("disk", "warning", said, "Decoded tokens, pages and logs need some more: free a few GB.")
    else:
        yield CheckResult("disk", "ok", said)
