"""`s1sweep simulate`: a plan on a cluster that exists only as numbers, under the scheduler's own policy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import ceil, inf
from typing import Any

import click

from s1sweep.cli.options import JSON
from s1sweep.errors import UserError

BARS = " ▁▂▃▄▅▆▇█"
BINS = 50


@click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.option("--gpus", type=click.IntRange(1), help="GPUs of the cluster. [default: placement.gpus]")
@click.option("--gpus-per-node", type=click.IntRange(1), default=8, show_default=True, help="With --gpus.")
@click.option("--mtbf-days", type=click.FloatRange(0, min_open=True), help="A node fails about so often. [never]")
@click.option("--repair-minutes", type=click.FloatRange(0), default=30.0, show_default=True, help="Until it is back.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the failures.")
@JSON
@click.argument("overrides", nargs=-1, type=click.UNPROCESSED)
def simulate(overrides: Sequence[str], as_json: bool, **cluster: Any) -> None:
    """Show what a run would take on a cluster of numbers.

    s1sweep simulate --gpus 4096 -m experiment=...

    Makespan beside what no schedule beats, GPU hours, use over time, money. Runs and writes nothing
    (docs/simulate.md).
    """
    from s1sweep.compose import multirun
    from s1sweep.session import Session

    with Session(command=tuple(overrides), run=False) as session:
        multirun(overrides, session)
        if session.config is None:
            return  # --cfg and --info only show
        found = simulated(session, **cluster)
    click.echo(json.dumps(found, indent=1) if as_json else "\n".join(_lines(found)))


def simulated(
    session: Any,
    gpus: int | None = None,
    gpus_per_node: int = 8,
    mtbf_days: float | None = None,
    repair_minutes: float = 30.0,
    seed: int = 0,
) -> dict[str, Any]:
    """What the stages that would run take. UserError if some of them never fit on the cluster."""
    from s1sweep import simulation as sim
    from s1sweep.estimating.estimate import loads_of, node_of, range_of, times
    from s1sweep.policy import Cluster

    stages, placement = session.missing(), session.placement
    loads = loads_of(session.plan, stages)
    took = times(loads, placement, session.cost_model())
    work = took.work(stages, placement)
    if gpus is not None and not any(job.request.gpus for job in work):
        raise UserError(
            f"--gpus={gpus}, but placement={placement.name} gives no stage a GPU. Give placement=gpu, 8x80gb or "
            "another with gpus_per_engine and gpus_per_train_worker, or leave --gpus out."
        )
    nodes = [node_of(placement, work)] if gpus is None else _nodes(gpus, gpus_per_node, placement.gpu_kind)
    cluster = Cluster(nodes)
    for job in work:
        if not cluster.possible(job.request):
            raise UserError(
                f"{job.id} asks for {job.request.gpus:g} GPUs and {job.request.cpus:g} cores in {job.request.bundles} "
                f"parts, which never fit on {len(nodes)} nodes of {nodes[0].gpus:g} GPUs. Give more --gpus or "
                "--gpus-per-node, or lower placement.train_workers or gpus_per_engine."
            )
    faults = sim.Faults(mtbf_days * 86_400 if mtbf_days else inf, 60 * repair_minutes, seed)
    run = sim.simulate(work, nodes, faults=faults)
    said = sim.summary(run, work, nodes, placement.price_per_gpu_hour)
    del said["shares"]  # one user's
    low, high = range_of(loads, took)
    total = sum(node.gpus for node in nodes)
    if not total:  # nor are there GPU hours to pay
        said = {name.replace("gpu_", "core_"): value for name, value in said.items()} | {"cost": None}
    bound = {name: round(seconds / 3600, 3) for name, seconds in sim.lower_bound(work, nodes).items()}
    return {
        "stages": len(stages),
        "jobs": len(work),
        "nodes": len(nodes),
        "gpus": total,
        **said,
        "lower_bound": bound,
        "range": [low, high],
        "basis": list(took.basis),
        "utilisation_over_time": [round(u, 3) for u in sim.utilisation(run, total, BINS)] if total else [],
    }


def estimate_text(estimate: Mapping[str, Any]) -> str:
    """One line of `plan`: hours, or minutes, and money, with ranges."""

    def part(name: str, unit: str, times: float = 1.0) -> str:
        low, high = (times * bound for bound in estimate[f"{name}_range"])
        return f"{_short(times * estimate[name])} {unit} ({_short(low)} to {_short(high)})"

    long = estimate["wall_hours_range"][1] >= 1
    parts = [part("gpu_hours", "GPU hours")] if estimate["gpu_hours"] else []
    parts += [part("wall_hours", "hours of wall time") if long else part("wall_hours", "minutes of wall time", 60)]
    parts += [part("cost", "of money")] if estimate["cost"] is not None else []
    return f"About {', '.join(parts)}."


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _nodes(gpus: int, per_node: int, kind: str | None) -> list[Any]:
    """Nodes with as many GPUs as asked for in all, and cores and engines that are never short."""
    from s1sweep.policy import Node

    sizes = [min(per_node, gpus - i * per_node) for i in range(ceil(gpus / per_node))]
    return [Node(1e6, size, size, kind, f"node{i:05}") for i, size in enumerate(sizes)]


def _lines(found: Mapping[str, Any]) -> list[str]:
    if not found["jobs"]:
        return ["Nothing to run: every stage is in the store."]
    low, high = found["range"]
    hours, bound = found["makespan_hours"], found["lower_bound_hours"]
    what = "gpu" if found["gpus"] else "core"
    hours_of = [f"{found[f'{what}_hours{part}']:,}" for part in ("", "_starting", "_lost")]
    where = f"{found['gpus']:g} GPUs of {found['nodes']} nodes" if found["gpus"] else "the cores of one machine"
    lines = [
        f"{found['stages']:,} stages, {found['jobs']:,} jobs on {where}",
        f"makespan      {hours:.4g} h ({hours * low:.3g} to {hours * high:.3g}); no schedule beats {bound:.4g} h: "
        f"ratio {found['ratio']}",
        f"{what.replace('gpu', 'GPU')} hours".ljust(14)
        + f"{hours_of[0]}, of which {hours_of[1]} starting and {hours_of[2]} lost to {found['failures']} failures",
    ]
    if found["cost"] is not None:
        lines.append(f"cost          {found['cost']:,} ({found['cost'] * low:,.2f} to {found['cost'] * high:,.2f})")
    if found["utilisation_over_time"]:
        bars = "".join(BARS[min(8, round(8 * u))] for u in found["utilisation_over_time"])
        lines.append(f"utilisation   {100 * found['utilisation']:.1f} %  {bars}")
    return [*lines, *(f"Time: {line}." for line in found["basis"])]


COMMANDS: tuple[click.Command, ...] = (simulate,)
