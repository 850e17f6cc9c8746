"""`s1sweep store`: what a store holds, whether it is whole, what can go, and a sweep as one file."""

from __future__ import annotations

import json
from typing import Any

import click

from s1sweep.cli.options import JSON, ROOT
from s1sweep.errors import SweepFailed


@click.group()
def store() -> None:
    """See, verify, clean a store; export and import sweeps. See docs/store.md."""


@store.command()
@JSON
@ROOT
def ls(as_json: bool, root: str) -> None:
    """List what is in the store, how large, and which sweeps need it."""
    from s1sweep.store import Store, upkeep

    found = upkeep.usage(Store(root))
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    click.echo(found["store"])
    for kind, row in sorted(found["kinds"].items()):
        click.echo(f"  {kind:10} {row['done']:>6} of {row['stages']} done {_size(row['bytes']):>12}")
    click.echo(f"  traces {_size(found['traces']):>33}\n  step checkpoints {_size(found['checkpoints']):>23}")
    for row in found["sweeps"]:
        own = f"{_size(row['own_bytes'])} of its own"
        click.echo(f"sweep {row['name']}: {row['stages']} stages, {_size(row['bytes'])}, {own}")
    for row in found["unreferenced"]:
        click.echo(f"unreferenced {row['id']} {_size(row['bytes'])}")
    dead = found["dead_attempts"]
    if dead["count"]:
        click.echo(f"{dead['count']} attempts that count for nothing, {_size(dead['bytes'])}")
    for name, holder in found["schedulers"].items():
        click.echo(f"scheduler of {name}: {holder}; {list(found['leases'].values()).count(name)} stages under way")
    _broken(found["broken"])


@store.command()
@JSON
@ROOT
def verify(as_json: bool, root: str) -> None:
    """Read every output and compare it with its record. Exit code 1 if anything is broken."""
    from s1sweep.store import Store, upkeep

    found = upkeep.verify(Store(root))
    if as_json:
        click.echo(json.dumps(found, indent=1))
    else:
        click.echo(f"{found['store']}: {found['stages']} stages, {found['outputs']} outputs read")
        for attempt in found["half_written"]:
            click.echo(f"half-written, harmless: {attempt}")
        _broken(found["broken"])
    if found["broken"]:
        count = len(found["broken"])
        raise SweepFailed(f"{count} broken. Remove such a stage's folder and give the sweep's command again.")


@store.command()
@click.option("--yes", is_flag=True, help="Remove; without it only show.")
@click.option("--grace", default=24.0, show_default=True, help="Hours since the last change of what may go.")
@JSON
@ROOT
def gc(yes: bool, grace: float, as_json: bool, root: str) -> None:
    """Show, or delete, what can go.

    Stages that no sweep needs, attempts that count for nothing, checkpoints of finished stages.
    """
    from s1sweep.store import Store, upkeep

    found = upkeep.collect(Store(root), grace, yes)
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    for one in found["waste"]:
        click.echo(f"{one['path']}  {_size(one['bytes'])}  {one['why']}")
    for line in found["kept"]:
        click.echo(f"kept {line}")
    done = "removed" if yes else "can go; --yes removes it"
    click.echo(f"{len(found['waste'])} things, {_size(found['bytes'])} {done}.")


@store.command()
@click.argument("sweep")
@click.argument("file")
@click.option("--without-checkpoints", is_flag=True, help="Leave out stages that hold weights.")
@JSON
@ROOT
def export(sweep: str, file: str, without_checkpoints: bool, as_json: bool, root: str) -> None:
    """Write a sweep and all it needs to FILE (.tar, .tar.gz or .tar.zst)."""
    from s1sweep.store import Store, archive

    found = archive.export(Store(root).sweep(sweep), file, not without_checkpoints)
    left = f", {len(found['left_out'])} left out" if found["left_out"] else ""
    size = _size(found["bytes"])
    _say(as_json, found, f"{found['file']}: sweep {sweep}, {len(found['stages'])} stages{left}, {size}")


@store.command("import")
@click.argument("file")
@JSON
@ROOT
def import_(file: str, as_json: bool, root: str) -> None:
    """Read an exported sweep into the store. Nothing is published unless all of it is whole."""
    from s1sweep.store import Store, archive

    found = archive.import_(Store(root), file)
    text = f"Sweep {found['sweep']}: {found['cells_added']} cells and {found['stages_added']} stages added, "
    _say(as_json, found, text + f"{found['stages_kept']} were there.")


def _say(as_json: bool, found: dict[str, Any], text: str) -> None:
    click.echo(json.dumps(found, indent=1) if as_json else text)


def _broken(found: dict[str, list[str]]) -> None:
    for name, reasons in found.items():
        for reason in reasons:
            click.echo(f"BROKEN {name}: {reason}")


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


COMMANDS: tuple[click.Command, ...] = (store,)
