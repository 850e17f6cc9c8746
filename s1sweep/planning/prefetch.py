"""Fetches what cells read from the hub, at commits that are written down, so that nodes without a network can run.

Knows cells and the hub; not what is done with what it fetches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from s1sweep.errors import UserError
from s1sweep.planning import pins
from s1sweep.sources import hub
from s1sweep.sources.tasks import questions, questions_digest
from s1sweep.spec import CellSpec
from s1sweep.store import Store


def prefetch(cells: Iterable[CellSpec], store: Store, say: Callable[[str], None]) -> list[str]:
    """Fetch every hub repository that the cells read, pinning those without a revision; the errors, one a thing.

    What cannot be had does not keep the rest from being fetched. A pin that is there stands: remove it to move on.
    """
    cells = [pins.pinned(cell, pins.read(store)) for cell in cells]
    failed: list[str] = []
    for use in dict.fromkeys(replace(use, group="") for cell in cells for use in pins.uses(cell)):
        try:
            commit = use.revision or hub.commit(use.kind, use.name)
            folder = hub.snapshot(use.kind, use.name, commit)
        except UserError as error:
            failed.append(str(error))
            continue
        if use.revision is None:
            pins.add(store, use.kind, use.name, commit)
        say(f"{use.kind} {use.name} at {commit}: {hub.size(folder) / 1e6:,.1f} MB in {folder}")
    known = pins.read(store)
    tasks = {t.model_dump_json(): t for t in (pins.pinned(cell, known).task for cell in cells) if t.hub and t.revision}
    for task in tasks.values():
        try:
            asked = questions(task)
            say(f"task {task.name}: {len(asked)} questions, digest {questions_digest(asked)}")
        except UserError as error:
            if not any(repr(task.hub) in message for message in failed):
                failed.append(str(error))
    return failed
