"""A submission as files of the store: what was asked for, what was ordered since, and what the service says of it.

    queue/<id>/submission.json    made once, whole: the plan, where it runs, whose it is, the code that it runs with
    queue/<id>/orders/<time>      cancel, priority, pause or resume: by whom; the newest of a kind holds
    queue/<id>/state.json         what the service last said
    queue/<id>/tracking.json      what the W&B mirror said, when it was done
    queue/service.json            the service itself: where it runs, its last sign of life, what its cluster has
    queue/usage.json              GPU-seconds by user, so that shares survive a new start

A later edit of code or config changes nothing that is queued. Knows plans and files; no scheduler, and no Ray.
"""

from __future__ import annotations

import getpass
import json
import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import s1sweep.spec as specs
from s1sweep.errors import StoreUnavailable, UserError, nearest
from s1sweep.identity import digest
from s1sweep.planning import Stage
from s1sweep.spec import Placement, Tracking
from s1sweep.store import Store

FORMAT = 2
QUEUE = "queue"
PLAIN = ("id", "sweep", "user", "host", "submitted", "priority", "code", "expected")  # are in JSON as they are
MAIN = "main"  # the cluster whose files have no name in theirs
SILENT = 60.0  # seconds without a sign of life after which a service counts as gone

Verb = Literal["cancel", "priority", "pause", "resume"]
Phase = Literal["queued", "running", "paused", "done", "failed", "cancelled"]


@dataclass(frozen=True)
class Submission:
    """`stages` are all that the sweep's cells need, inputs first, and `expected` the seconds that those of them will
    take of which it is known. `code` is the digest of the frozen code, if any.
    """

    id: str
    sweep: str
    user: str
    host: str
    submitted: float
    priority: int
    command: tuple[str, ...]
    placement: Placement
    tracking: Tracking
    stages: Mapping[str, Stage]
    code: str | None = None
    expected: Mapping[str, float] = field(default_factory=dict)

    def encode(self) -> bytes:
        said = {
            **{name: getattr(self, name) for name in PLAIN},
            "format": FORMAT,
            "command": list(self.command),
            "placement": self.placement.model_dump(mode="json"),
            "tracking": self.tracking.model_dump(mode="json"),
            "stages": [_frozen(stage) for stage in self.stages.values()],
        }
        return json.dumps(said).encode()

    @staticmethod
    def decode(data: bytes) -> Submission:
        """Raises UserError for one that another version of s1sweep wrote."""
        said = json.loads(data)
        try:
            if said["format"] != FORMAT:
                raise ValueError(f"it has format {said['format']!r}, this s1sweep reads {FORMAT}")
            stages = [_thawed(row) for row in said["stages"]]
            return Submission(
                **{name: said[name] for name in PLAIN},
                command=tuple(said["command"]),
                placement=Placement.model_validate(said["placement"]),
                tracking=Tracking.model_validate(said["tracking"]),
                stages={stage.id: stage for stage in stages},
            )
        except (KeyError, AttributeError, ValueError) as error:
            why = str(error).partition("\n")[0]
            raise UserError(
                f"submission {said.get('id')!r} was written by another version of s1sweep ({why}). Let the version "
                "that took it finish it, or submit it again."
            ) from error


@dataclass(frozen=True)
class Standing:
    """What holds of a submission now, by its orders."""

    priority: int
    paused: bool = False
    cancelled: str | None = None  # by whom


@dataclass(frozen=True)
class State:
    """What the service says of a submission, in numbers of stages. `done` counts those that were there before;
    `failed` has a message for each, `why` says for each waiting job what it waits for, `by` who cancelled.
    `seconds_left`, counted from `at`, is None where too little is done to tell. Of its GPU-seconds, `lost_seconds` came
    to nothing: attempts that did not end well, from what they had saved.
    """

    phase: Phase = "queued"
    at: float = 0.0
    waiting: int = 0
    running: tuple[str, ...] = ()
    done: int = 0
    failed: Mapping[str, str] = field(default_factory=dict)
    blocked: int = 0
    gpu_seconds: float = 0.0
    lost_seconds: float = 0.0
    why: Mapping[str, str] = field(default_factory=dict)
    by: str | None = None
    seconds_left: float | None = None

    @property
    def over(self) -> bool:
        return self.phase in ("done", "failed", "cancelled")


class Submissions:
    """The queue of a store."""

    def __init__(self, store: Store) -> None:
        self._files = store.files

    def add(self, submission: Submission) -> None:
        self._files.create(f"{QUEUE}/{submission.id}/submission.json", submission.encode())

    def ids(self) -> list[str]:
        """Oldest first."""
        return self._files.names(QUEUE)

    def get(self, name: str) -> Submission | None:
        data = self._files.read(f"{QUEUE}/{name}/submission.json")
        return Submission.decode(data) if data is not None else None

    def all(self) -> tuple[list[Submission], list[str]]:
        """Oldest first; and of those that another version wrote, that it did."""
        found, foreign = [], []
        for name in self.ids():
            try:
                submission = self.get(name)
            except StoreUnavailable:
                raise
            except UserError as error:
                foreign.append(str(error))
            else:
                found += [submission] if submission else []
        return found, foreign

    def of(self, sweep: str) -> list[Submission]:
        """Those of a sweep, or the one of that id, oldest first. Raises UserError if there is none."""
        found, foreign = self.all()
        mine = [s for s in found if sweep in (s.sweep, s.id)]
        if not mine:
            names = {s.sweep for s in found}
            raise UserError(
                f"sweep {sweep!r} is not in this store's queue.{nearest(sweep, names)} "
                f"There: {', '.join(sorted(names)) or 'nothing'}. Submit it with `s1sweep submit -m ...`."
                + "".join(f" And: {line}" for line in foreign)
            )
        return mine

    def order(self, submission: Submission, verb: Verb, by: str, value: int | None = None, admin: bool = False) -> None:
        """Have it cancelled, paused, taken up again, or given another priority.

        Raises UserError for somebody else's, unless `admin`. That guards against mistakes, not against malice.
        """
        if submission.user != by and not admin:
            raise UserError(
                f"{submission.sweep} belongs to {submission.user!r}, and you are {by!r}. Ask them, or give --admin "
                f"if this store's queue is yours to run."
            )
        said = {"verb": verb, "by": by, "value": value, "at": time.time()}
        self._files.create(
            f"{QUEUE}/{submission.id}/orders/{time.time_ns():020d}-{secrets.token_hex(3)}.json",
            json.dumps(said).encode(),
        )

    def standing(self, submission: Submission) -> Standing:
        priority, paused, cancelled = submission.priority, False, None
        folder = f"{QUEUE}/{submission.id}/orders"
        for name in sorted(self._files.tree(folder)):
            said = json.loads(self._files.read(f"{folder}/{name}") or b"{}")
            verb = said.get("verb")
            if verb == "priority":
                priority = int(said["value"])
            elif verb in ("pause", "resume"):
                paused = verb == "pause"
            elif verb == "cancel":
                cancelled = str(said["by"])
        return Standing(priority, paused, cancelled)

    def write_state(self, submission: Submission, state: State) -> None:
        self._files.replace(f"{QUEUE}/{submission.id}/state.json", json.dumps(asdict(state)).encode())

    def refuse(self, name: str, message: str) -> None:
        """Say of a submission that it cannot be taken up at all."""
        state = State("failed", time.time(), failed={"submission": message})
        self._files.replace(f"{QUEUE}/{name}/state.json", json.dumps(asdict(state)).encode())

    def state(self, submission: Submission) -> State:
        data = self._files.read(f"{QUEUE}/{submission.id}/state.json")
        if data is None:
            return State()
        said = {name: value for name, value in json.loads(data).items() if name in State.__dataclass_fields__}
        return State(**{**said, "running": tuple(said["running"])})

    def publish(self, name: str, lines: Sequence[str]) -> None:
        """Note that a submission's mirror is up to date, and what it said."""
        self._files.replace(f"{QUEUE}/{name}/tracking.json", json.dumps({"lines": list(lines)}).encode())

    def published(self, name: str) -> list[str] | None:
        """What the mirror said; None if it was not brought up to date yet."""
        data = self._files.read(f"{QUEUE}/{name}/tracking.json")
        return json.loads(data)["lines"] if data else None

    def write_heartbeat(self, cluster: str = MAIN, **about: Any) -> None:
        """A sign of life of a cluster's service, with what it has."""
        said = {"cluster": cluster, "host": socket.gethostname(), "user": user(), "at": time.time(), **about}
        self._files.replace(_of_cluster("service", cluster), json.dumps(said).encode())

    def last_heartbeat(self, cluster: str = MAIN) -> dict[str, Any] | None:
        """What the service of a cluster last said of itself, however long ago."""
        data = self._files.read(_of_cluster("service", cluster))
        return json.loads(data) if data else None

    def service(self, cluster: str = MAIN) -> dict[str, Any] | None:
        """What the service last said of itself; None if it is gone or has not been heard of for a while."""
        said = self.last_heartbeat(cluster)
        return said if said and said.get("up", True) and time.time() - said["at"] < SILENT else None

    def services(self) -> list[dict[str, Any]]:
        """The last words of all clusters' services."""
        files = sorted(name for name in self._files.tree(QUEUE) if "/" not in name and name.startswith("service"))
        return [json.loads(data) for name in files if (data := self._files.read(f"{QUEUE}/{name}"))]

    def write_usage(self, usage: Mapping[str, float], cluster: str = MAIN) -> None:
        said = {"at": time.time(), "gpu_seconds": dict(usage)}
        self._files.replace(_of_cluster("usage", cluster), json.dumps(said).encode())

    def usage(self, cluster: str = MAIN) -> tuple[dict[str, float], float]:
        """GPU-seconds by user, and as of when."""
        said = json.loads(self._files.read(_of_cluster("usage", cluster)) or b'{"at": 0.0, "gpu_seconds": {}}')
        return said["gpu_seconds"], said["at"]


def _of_cluster(what: str, cluster: str) -> str:
    return f"{QUEUE}/{what}.json" if cluster == MAIN else f"{QUEUE}/{what}-{cluster}.json"


def user() -> str:
    """Who submits: the name of this account."""
    return getpass.getuser()


def new_id(sweep: str, command: Sequence[str], now: float) -> str:
    """Ids sort by time. Two of one command are two submissions."""
    when = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now))
    return f"{when}-{sweep}-{digest([list(command), now, secrets.token_hex(4)])[:6]}"


def _frozen(stage: Stage) -> dict[str, Any]:
    return {
        "id": stage.id,
        "kind": stage.kind,
        "type": type(stage.spec).__name__,
        "spec": stage.spec.model_dump(mode="json"),
        "inputs": dict(stage.inputs),
        "hashed": stage.hashed,
        "session": stage.session,
    }


def _thawed(row: Mapping[str, Any]) -> Stage:
    spec = getattr(specs, row["type"]).model_validate(row["spec"])
    return Stage(row["id"], row["kind"], spec, row["inputs"], row["hashed"], row["session"])
