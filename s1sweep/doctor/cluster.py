"""Whether Ray starts here, or answers at placement.ray_address, has what one job asks for, and nodes that can do it.

Tried in a process of its own: a driver that cannot reach its cluster may wait for minutes, or end its process.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from s1sweep.doctor.base import Asked, CheckResult, first_line
from s1sweep.doctor.node import refusals
from s1sweep.doctor.storage import scratch
from s1sweep.errors import UserError
from s1sweep.runtime.backend import Backend
from s1sweep.spec import Placement

SECONDS = {"connect": 5, "start": 120}
_ADDRESS = re.compile(r"(?:ray://)?(?P<host>[^:/]+|\[[^]]+\]):(?P<port>\d+)")
_SAYS = "@s1sweep "  # before the one line that is ours: libraries print too


def ray_starts(asked: Asked) -> Iterator[CheckResult]:
    here = asked.placement
    if here.backend != "ray":
        yield CheckResult("ray", "ok", f"not used (placement.backend={here.backend})")
        return
    if why := unreachable(here.ray_address):
        todo = "Start the cluster, open the port (or an ssh tunnel), or mend placement.ray_address."
        yield CheckResult("ray", "fault", f"{here.ray_address} does not answer ({why})", todo)
        return
    verdict, said = _try(here)
    if verdict != "ok":
        todo = _token() if asked.on_a_cluster else "See the libraries above; `ray stop` ends what an earlier Ray left."
        todo = "Mend these nodes, or take them out of the cluster." if verdict == "nodes" else todo
        yield CheckResult("ray", "fault", said, todo)
        return
    auth = os.environ.get("RAY_AUTH_MODE") or "Ray's own default"
    yield CheckResult("ray", "ok", f"{said}; authentication: {auth}")


def unreachable(address: str | None) -> str | None:
    """Why nothing listens at host:port, or None: asked first, since Ray itself would retry for a minute."""
    found = _ADDRESS.fullmatch(address or "")
    if found is None:
        return None  # a local Ray, or `auto`
    try:
        socket.create_connection((found["host"].strip("[]"), int(found["port"])), SECONDS["connect"]).close()
    except OSError as error:
        return error.strerror or str(error)
    return None


def _token() -> str:
    """A client without the mode that its cluster has fails with a bare "Failed to connect"."""
    mode = os.environ.get("RAY_AUTH_MODE")
    token = "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ
    token = token or (Path.home() / ".ray" / "auth_token").exists()
    said = f"RAY_AUTH_MODE is {mode or 'not set'} and there is {'a' if token else 'no'} token here"
    return (
        f"If the cluster wants a token: export RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH=FILE ({said}). "
        "Ray and Python must be of the same version on both sides."
    )


def _try(placement: Placement) -> tuple[str, str]:
    """Whether it went well (ok), what with (fault, nodes), and what there is to say."""
    command = [sys.executable, "-c", "from s1sweep.doctor.cluster import main; main()"]
    try:
        done = subprocess.run(
            command,
            input=placement.model_dump_json(),
            capture_output=True,
            text=True,
            timeout=SECONDS["start"],
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "fault", f"Ray did not start or answer within {SECONDS['start']} s"
    for line in done.stdout.splitlines():
        if line.startswith(_SAYS):
            verdict, _, said = line.removeprefix(_SAYS).partition(" ")
            return verdict, said
    last = (done.stderr.strip().splitlines() or ["without a word"])[-1]
    return "fault", f"Ray ended its process with code {done.returncode} ({last[:200]})"


def _with_nodes(said: str, backend: Backend, root: str) -> str:
    """Have each node work in the store; one under a URL is what its credentials make of it."""
    if "://" in root:
        return said
    with scratch(Path(root).expanduser().absolute()) as folder:
        refused = refusals(backend, folder)
    if refused:
        return "nodes " + "; ".join(refused)
    many = len(backend.nodes())
    return f"{said}; {many} node{'' if many == 1 else 's'} at work in the store"


def main() -> None:
    """Start Ray as a run would, under the placement on standard input, and say in one line how it went."""
    from s1sweep.runtime.backend import check_capacity
    from s1sweep.stages.resources import request

    placement = Placement.model_validate_json(sys.stdin.read())
    try:
        from s1sweep.runtime.ray_backend import RayBackend

        backend = RayBackend(placement, placement.cpus or os.cpu_count() or 1)
        try:
            for kind in ("train", "decode"):
                need = request(kind, placement)
                check_capacity(backend.capacity, need.cpus, need.gpus)
            has = backend.capacity
            said = f"ok {placement.ray_address or 'a local one'} has {has.cpus:g} CPUs and {has.gpus:g} GPUs"
            if placement.ray_address:
                said = _with_nodes(said, backend, placement.root)
        finally:
            backend.close()
    except UserError as error:
        said = f"fault {error}"
    except BaseException as error:
        said = f"fault {first_line(error)}"
    print("\n" + _SAYS + " ".join(said.split()), flush=True)
