"""A real Slurm on this host: munged, slurmctld and two slurmd, each a process of the test's own, all in one folder."""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")
MISSING = [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None]

CONF = """
ClusterName=s1sweep
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={dir}/munge.socket,cred_expire=5
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
StateSaveLocation={dir}/state
SlurmdSpoolDir={dir}/spool-%n
SlurmdPidFile={dir}/%n.pid
SlurmctldPidFile={dir}/slurmctld.pid
SlurmdLogFile={dir}/%n.log
SlurmctldLogFile={dir}/slurmctld.log
ReturnToService=2
KillWait=20
OverTimeLimit=0
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={node1} CPUs=2 RealMemory=4000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={node2} CPUs=2 RealMemory=4000
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=60
"""


@dataclass(frozen=True)
class Slurm:
    """Two nodes of two CPUs each. Commands need `env` in theirs."""

    dir: Path

    @property
    def env(self) -> dict[str, str]:
        return {"SLURM_CONF": str(self.dir / "slurm.conf")}

    def call(self, *argv: str) -> str:
        done = subprocess.run(argv, env={**os.environ, **self.env}, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def field(self, job: str, name: str) -> str:
        """One field of `scontrol show job`, as JobState or Restarts."""
        shown = self.call("scontrol", "show", "job", job)
        return next(word.split("=", 1)[1] for word in shown.split() if word.startswith(f"{name}="))

    def wait(self, job: str, seconds: float, *states: str) -> str:
        """The job's state, once it is one of `states` or the time is over."""
        deadline = time.monotonic() + seconds
        while (state := self.field(job, "JobState")) not in states and time.monotonic() < deadline:
            time.sleep(0.5)
        return state


@contextmanager
def slurm(folder: Path) -> Iterator[Slurm]:
    """Start a Slurm in `folder`, whose path must be short, and end all of it."""
    made = Slurm(folder)
    ports = _free_ports(3)
    names = {"host": socket.gethostname().split(".")[0], "user": getpass.getuser(), "dir": folder}
    (folder / "slurm.conf").write_text(CONF.format(**names, port=ports[0], node1=ports[1], node2=ports[2]))
    (folder / "state").mkdir()
    key = folder / "munge.key"
    key.touch(0o600)
    key.write_bytes(secrets.token_bytes(64))
    files = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munge.pid", "log-file": "munge.log"}
    flags = [f"--{flag}={folder / name}" for flag, name in {**files, "seed-file": "munge.seed"}.items()]
    env = {**os.environ, **made.env, "PATH": f"{os.environ['PATH']}:/usr/sbin"}
    started: list[subprocess.Popen[bytes]] = []

    def start(*argv: str) -> None:
        with (folder / "daemons.log").open("ab") as log:
            started.append(subprocess.Popen(argv, env=env, stdout=log, stderr=log, cwd=folder))

    try:
        start("munged", "--foreground", "--force", *flags)
        _until(lambda: (folder / "munge.socket").exists(), folder)
        start("slurmctld", "-D", "-c")
        start("slurmd", "-D", "-N", "n1")
        start("slurmd", "-D", "-N", "n2")
        _until(lambda: _idle(env), folder)
        yield made
    finally:
        subprocess.run(["scancel", "--user", getpass.getuser()], env=env, capture_output=True, check=False)
        _until(lambda: not _said(env, "squeue", "-h"), folder, seconds=30, must=False)
        for process in reversed(started):
            process.terminate()
        for process in started:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _said(env: dict[str, str], *argv: str) -> str:
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=False).stdout.strip()


def _idle(env: dict[str, str]) -> bool:
    return _said(env, "sinfo", "-h", "-N", "-o", "%T").split() == ["idle", "idle"]


def _until(true: object, folder: Path, seconds: float = 30, must: bool = True) -> None:
    deadline = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        if time.monotonic() > deadline:
            if must:
                raise RuntimeError("Slurm did not start: " + (folder / "daemons.log").read_text()[-2000:])
            return
        time.sleep(0.3)


def _free_ports(n: int) -> list[int]:
    held = [socket.socket() for _ in range(n)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports
