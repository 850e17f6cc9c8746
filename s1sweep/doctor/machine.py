"""What this machine has: GPUs, shared memory, open files, a clock. Imports no framework."""

from __future__ import annotations

import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from s1sweep.doctor.base import Asked, CheckResult
from s1sweep.doctor.storage import folder_exists
from s1sweep.runtime.machine import gpu_count

SHARED_MEMORY = Path("/dev/shm")
OBJECT_STORE = 256 << 20  # what a local Ray asks for
OPEN_FILES = 4096  # below, Ray warns of connection errors
SKEW = 5.0  # seconds
BORN = 1_750_000_000  # a clock before this (June 2025) was never set


def gpus(asked: Asked) -> Iterator[CheckResult]:
    """GPUs by the driver; whether PyTorch sees them is the libraries' check."""
    here, wanted = gpu_count(), asked.placement.gpus
    said = f"{here} on this machine, placement.gpus={wanted}"
    if asked.on_a_cluster:
        yield CheckResult("gpus", "ok", f"{said}; stages run at {asked.placement.ray_address}")
    elif wanted > here:
        return  # the placement's own check says so
    elif here > wanted:
        yield CheckResult("gpus", "ok", f"{said}: {here - wanted} stay idle (placement=gpu placement.gpus={here})")
    else:
        yield CheckResult("gpus", "ok", said)


def shared_memory(asked: Asked) -> Iterator[CheckResult]:
    if asked.placement.backend != "ray" or not folder_exists(SHARED_MEMORY):
        return
    free = shutil.disk_usage(SHARED_MEMORY).free
    said = f"{free / 2**20:,.0f} MiB free in {SHARED_MEMORY}"
    if free < OBJECT_STORE:
        todo = "Ray then keeps objects in /tmp, which is slower. In a container: docker run --shm-size=2g."
        yield CheckResult("shared memory", "warning", said, todo)
    else:
        yield CheckResult("shared memory", "ok", said)


def open_files(asked: Asked) -> Iterator[CheckResult]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = soft if hard == resource.RLIM_INFINITY else max(soft, hard)  # Ray raises the soft limit by itself
    if most != resource.RLIM_INFINITY and most < OPEN_FILES:
        todo = f"Raise it: ulimit -n 65536. Below {OPEN_FILES} Ray may lose connections."
        yield CheckResult("open files", "warning", f"at most {most}", todo)
    else:
        yield CheckResult("open files", "ok", f"{soft} now, {hard} at most" if hard >= 0 else f"{soft} now")


def clock(asked: Asked) -> Iterator[CheckResult]:
    """Compares the clock with that of the store's filesystem, which another machine may keep."""
    now = time.time()
    if now < BORN:
        todo = "Set it (timedatectl set-ntp true): certificates are refused, and attempts are ordered by time."
        today = time.strftime("%Y-%m-%d", time.gmtime(now))
        yield CheckResult("clock", "warning", f"it is {today}, says this machine", todo)
        return
    there = next(folder for folder in (asked.root, *asked.root.parents) if folder_exists(folder))
    try:
        with tempfile.NamedTemporaryFile(dir=there, prefix=".doctor-") as file:
            skew = Path(file.name).stat().st_mtime - time.time()
    except OSError:
        return  # the store's own check says so
    if abs(skew) > SKEW:
        todo = "Keep both with NTP: leases and the order of attempts go by time."
        yield CheckResult("clock", "warning", f"the store's filesystem is {skew:+.0f} s off this machine", todo)
    else:
        yield CheckResult("clock", "ok", f"within {max(1.0, abs(skew)):.0f} s of the store's filesystem")
