"""Ready stages as jobs that wait: those of one engine session together, small ones in batches.

Each job counts for its best claimant. Keeps the policy's queue up to date. Knows no
backend, no records and no time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path

from s1sweep.planning import Stage
from s1sweep.policy import Queue, Waiting
from s1sweep.runtime.job import Job, Task
from s1sweep.runtime.work import Union, Work
from s1sweep.spec import TrainStage
from s1sweep.stages.resources import Request, Resources, request, resources
from s1sweep.store.attempts import attempt_name

# What has begun is finished first, so that results come early and the engine runs beside the training.
RANK = {"decode": 0, "pool": 1, "curate": 1, "select": 1, "train": 2, "grade": 3}
BATCH = {"grade": 32}  # small stages travel together


def preemptible(stage: Stage) -> bool:
    """Whether little is lost when it has to make way: it goes on from what is saved."""
    return stage.kind == "decode" or isinstance(stage.spec, TrainStage)


# What must be equal for stages to share a job: kind and session (or batch, or itself), what it occupies and may use,
# the code, and whether all who need it have paused.
Key = tuple[str, str, Request, Resources, str | None, bool]


@dataclass
class Group:
    """Stages that will run, or run, together. A session whose questions are decoded in shards has a group for each."""

    id: str
    key: Key
    stages: dict[str, Stage] = field(default_factory=dict)
    shard: tuple[int, int] | None = None
    session: str | None = None  # what the attempts of its shards are named after

    @property
    def kind(self) -> str:
        return self.key[0]

    @property
    def held(self) -> bool:
        return self.key[5]

    def job(self, root: str, store: str) -> Job:
        name = attempt_name(self.shard, self.session)
        tasks = tuple(Task(s.id, s.kind, s.spec, s.hashed, s.inputs, name) for s in self.stages.values())
        _, _, asked, may, code, _ = self.key
        return Job(self.id, self.kind, tasks, asked, replace(may, shard=self.shard), root, store, code)


class Pending:
    """Groups that wait. `queue` has those that may start."""

    def __init__(self, union: Union, root: Path, halved: Collection[str] = ()) -> None:
        """`halved` are stages that ran out of memory once."""
        self.queue = Queue()
        self.groups: dict[str, Group] = {}
        self._union, self._root, self._halved = union, root, halved
        self._of: dict[str, Group] = {}  # the group of a stage, unless it is split into shards
        self._open: dict[Key, Group] = {}  # groups that take more stages
        self._resources: dict[str, Resources] = {}
        self._count = 0
        self._shards: dict[str, list[Group]] = {}  # by the stage: shards of its session that have not ended
        self._whole: set[str] = set()  # stages whose shards have ended

    def put(self, names: Iterable[str]) -> None:
        """Stages wait, or wait with others than before."""
        changed = {}
        for name in names:
            self._leave(name)
            stage = self._union[name].stage
            key = self._key(stage)
            group = self._open.get(key)
            if group is None:
                self._count += 1
                group = self._open[key] = self.groups[f"{name}#{self._count}"] = Group(f"{name}#{self._count}", key)
            group.stages[name] = stage
            self._of[name] = group
            changed[group.id] = group
            if len(group.stages) == BATCH.get(group.kind):
                del self._open[key]
        for group in changed.values():
            self._enqueue(group)

    def forget(self, names: Iterable[str]) -> None:
        """Nobody needs these stages any more."""
        for name in names:
            self._leave(name)
            self._whole.discard(name)
            for shard in self._shards.pop(name, []):
                if not any(other in self._union for other in shard.stages):
                    self._drop(shard)

    def refresh(self, names: Iterable[str]) -> None:
        """Those who need these stages changed, or their priority, or they paused."""
        names = list(names)
        self.put([name for name in names if name in self._of])
        for shard in {s.id: s for name in names for s in self._shards.get(name, [])}.values():
            if shard.id in self.groups:
                self._enqueue(shard)

    def take(self, group_id: str) -> Group:
        """A group starts."""
        group = self.groups[group_id]
        self._drop(group)
        return group

    def back(self, shard: Group) -> None:
        """A shard that had to make way waits again."""
        self.groups[shard.id] = shard
        self._enqueue(shard)

    def sharded(self, name: str) -> bool:
        """Whether the shards of a stage's session have ended, so that little is left for the session itself."""
        return name in self._whole

    def shards_left(self, name: str) -> int:
        """How many shards of a stage's session wait or run."""
        return len(self._shards.get(name, ()))

    def shard_ended(self, shard: Group) -> list[str]:
        """A shard ended, however it did. After the last one, the stages of the session, which then runs itself and
        decodes what a lost or failed shard left out.
        """
        left = []
        for name in shard.stages:
            mine = self._shards.get(name, [])
            if shard in mine:
                mine.remove(shard)
                if not mine:
                    del self._shards[name]
                    self._whole.add(name)
                    left.append(name)
        return left

    def split(self, engines: float, decoding: int) -> list[str]:
        """Engine sessions for which more than one engine is free go into shards; returns the stages of those."""
        if engines < 2:
            return []
        groups = [group for group in self.groups.values() if group.kind == "decode" and not group.held]
        sessions = len(groups) + decoding
        found = []
        for group in groups:
            shards = int(engines) // sessions
            if shards < 2 or group.shard is not None or not self._whole.isdisjoint(group.stages):
                continue
            self._drop(group)
            session = attempt_name()
            parts = [
                Group(f"{group.id}.{i}", group.key, dict(group.stages), (i, shards), session) for i in range(shards)
            ]
            for name in group.stages:
                self._shards[name] = list(parts)
                found.append(name)
            for part in parts:
                self.back(part)
        return found

    def waiting(self, group: Group) -> Waiting:
        """What the policy is to know of a group: whose it is, and what it asks for."""
        named = [name for name in group.stages if name in self._union]
        best = self.best(group)
        seconds = sum(self._union.claimant(name).expected.get(name, inf) for name in named)
        return Waiting(
            id=group.id,
            request=group.key[2],
            rank=RANK.get(group.kind, 2),
            weight=sum(self._union[name].weight for name in named),
            user=best.user,
            priority=best.priority,
            submitted=best.submitted,
            expected=seconds / (group.shard or (0, 1))[1],
            preemptible=all(map(preemptible, group.stages.values())),
        )

    def best(self, group: Group) -> Work:
        """Whom a group counts for."""
        claimants = (self._union.claimant(name) for name in group.stages if name in self._union)
        return min(claimants, key=lambda work: work.claim)

    def of(self, work_id: str) -> Iterator[Group]:
        """Groups that wait with some stage of a work."""
        mine = self._union.works[work_id].stages
        return (group for group in self.groups.values() if not mine.keys().isdisjoint(group.stages))

    def _enqueue(self, group: Group) -> None:
        if group.id in self.queue:
            self.queue.remove(group.id)
        if not self.best(group).paused:
            self.queue.add(self.waiting(group))

    def _drop(self, group: Group) -> None:
        self.groups.pop(group.id, None)
        if group.id in self.queue:
            self.queue.remove(group.id)
        if self._open.get(group.key) is group:
            del self._open[group.key]
        for name in group.stages:
            if self._of.get(name) is group:
                del self._of[name]

    def _leave(self, name: str) -> None:
        group = self._of.pop(name, None)
        if group is not None:
            del group.stages[name]
            if group.stages:
                self._enqueue(group)
            else:
                self._drop(group)

    def _key(self, stage: Stage) -> Key:
        work = self._union.claimant(stage.id)
        may = self._resources.get(work.id)
        if may is None:
            may = self._resources[work.id] = resources(work.placement, self._root)
        if stage.id in self._halved:
            may = replace(may, halve_batch=True)
        together = stage.session or ("" if stage.kind in BATCH else stage.id)
        return stage.kind, together, request(stage.kind, work.placement), may, work.code, work.paused
