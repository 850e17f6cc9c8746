"""What the queue of a store holds, for `queue`, `top`, `status` and `logs`. Reads files only; asks no service."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from s1sweep.queue.submission import SILENT, Submission, Submissions
from s1sweep.store import LOG, Store
from s1sweep.store.attempts import one_line


def gather(store: Store, everything: bool = False) -> dict[str, Any]:
    """Services with what their clusters have, and submissions in the order in which they are considered.

    What is over is left out unless `everything` is wanted, or it ended within the last hour.
    """
    queue, now = Submissions(store), time.time()
    submissions, foreign = queue.all()
    rows = [row(queue, submission, now) for submission in submissions]
    kept = [r for r in rows if everything or not r["over"] or now - r["at"] < 3600]
    services = [service | {"alive": _alive(service, now)} for service in queue.services()]
    for service in services:
        service.pop("credentials", None)
    return {
        "store": store.url,
        "services": services,
        "submissions": sorted(kept, key=lambda r: (r["over"], -r["priority"], r["submitted"])),
        "unreadable": foreign,
    }


def row(queue: Submissions, submission: Submission, now: float) -> dict[str, Any]:
    """How one submission stands, by the service and by the orders that it may not have seen yet."""
    state, standing = queue.state(submission), queue.standing(submission)
    phase = state.phase
    if not state.over and standing.cancelled:
        phase = "cancelled"
    elif phase == "queued" and standing.paused:
        phase = "paused"
    left = state.seconds_left if phase == "running" else None
    left = None if left is None else max(0.0, left - (now - state.at))
    return {
        "id": submission.id,
        "sweep": submission.sweep,
        "user": submission.user,
        "cluster": submission.placement.cluster,
        "priority": standing.priority,
        "phase": phase,
        "over": state.over or phase == "cancelled",
        "by": state.by or standing.cancelled,
        "submitted": submission.submitted,
        "at": state.at,
        "stages": len(submission.stages),
        "done": state.done,
        "running": list(state.running),
        "waiting": state.waiting,
        "failed": dict(state.failed),
        "blocked": state.blocked,
        "gpu_hours": round(state.gpu_seconds / 3600, 4),
        "lost_gpu_hours": round(state.lost_seconds / 3600, 4),
        "seconds_left": None if left is None else round(left),
        "why": dict(state.why),
        "tracking": queue.published(submission.id) or [],
    }


def table(found: Mapping[str, Any]) -> RenderableType:
    """The queue as a table, with what each cluster has above it and why work waits below."""
    parts: list[RenderableType] = [Text(line, style="dim") for line in service_lines(found["services"])]
    shown = Table("sweep", "user", "prio", "state", "stages", "running", "failed", "GPU h", "left", box=None)
    for r in found["submissions"]:
        shown.add_row(
            r["sweep"],
            r["user"],
            str(r["priority"]),
            r["phase"] + (f" by {r['by']}" if r["by"] else ""),
            f"{r['done']}/{r['stages']}",
            str(len(r["running"])),
            str(len(r["failed"]) + r["blocked"] or ""),
            f"{r['gpu_hours']:.2f}" + (f" ({r['lost_gpu_hours']:.2f} lost)" if r["lost_gpu_hours"] >= 0.005 else ""),
            _clock(r["seconds_left"]),
        )
    parts.append(shown if found["submissions"] else Text("The queue is empty."))
    for r in found["submissions"]:
        if not r["over"]:
            waits = [f"  {r['sweep']}: {job}: {why}" for job, why in list(r["why"].items())[:3]]
            more = len(r["why"]) - 3
            parts += [Text(line) for line in waits + ([f"  ... and {more} more"] if more > 0 else [])]
        parts += [Text(f"  {r['sweep']}: failed {name}: {one_line(said)}") for name, said in r["failed"].items()]
    parts += [Text(line) for line in found["unreadable"]]
    return Group(*parts)


def top(found: Mapping[str, Any]) -> RenderableType:
    """The queue with how busy each node is."""
    nodes = Table("node", "GPUs", "", "kind", "cores", "", box=None)
    for service in found["services"] if found["services"] else []:
        for node in service.get("nodes", ()) if service["alive"] else ():
            free = service["free"].get(node["name"])
            out = node["name"] in service["excluded"]
            cores, gpus = (node[k] - free[i] if free else 0.0 for i, k in enumerate(("cpus", "gpus")))
            nodes.add_row(
                node["name"] + (" excluded" if out else ""),
                f"{gpus:g}/{node['gpus']:g}",
                ProgressBar(total=node["gpus"] or 1, completed=gpus, width=20) if node["gpus"] else "",
                node["gpu_kind"] or "",
                f"{cores:g}/{node['cpus']:g}",
                ProgressBar(total=node["cpus"] or 1, completed=cores, width=20),
            )
    running = [Text(f"  runs {name}", style="cyan") for r in found["submissions"] for name in r["running"][:8]]
    return Group(nodes, Text(""), table(found), *running)


def service_lines(services: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What each cluster's service last said, in a line or two."""
    if not services:
        yield "No service has run here yet. Start one with `s1sweep serve`."
    for said in services:
        who = f"service of cluster {said['cluster']} on {said['host']}"
        if not said["alive"]:
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(said["at"]))
            yield f"{who}: {'gone since' if said.get('up', True) else 'stopped'} {when}. Start it: `s1sweep serve`."
            continue
        gpus, cpus = (sum(node[k] for node in said["nodes"]) for k in ("gpus", "cpus"))
        rate = f", {said['tokens_per_second']:,.0f} tokens/s" if said["tokens_per_second"] else ""
        yield f"{who}: {len(said['nodes'])} nodes, {gpus:g} GPUs, {cpus:g} cores{rate}"
        total = sum(said["usage"].values())
        if total:
            named = said.get("shares", {})
            shares = (
                f"{user} {100 * used / total:.0f} %" + (f" (a share of {named[user]:g})" if user in named else "")
                for user, used in sorted(said["usage"].items())
            )
            yield f"  used in the last weeks: {', '.join(shares)}"
        if said["excluded"]:
            yield f"  excluded, since jobs were lost there: {', '.join(said['excluded'])}"


def logs(store: Store, stages: Sequence[str], seen: dict[str, int]) -> Iterator[tuple[str, str]]:
    """What is new in the stages' newest logs: stage and lines. `seen` keeps how far each log was read."""
    for name in stages:
        found = {p: i for p, i in store.files.tree(f"stages/{name}").items() if p.endswith(f"/{LOG}")}
        if not found:
            continue
        path = f"stages/{name}/{max(found)}"
        if found[max(found)].bytes > seen.get(path, 0):
            data = store.files.read(path) or b""
            new = data[seen.get(path, 0) :]
            whole = new[: new.rfind(b"\n") + 1] or new
            seen[path] = seen.get(path, 0) + len(whole)
            yield name, whole.decode(errors="replace")


def _alive(service: Mapping[str, Any], now: float) -> bool:
    return bool(service.get("up", True)) and now - service["at"] < SILENT


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return ""
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
