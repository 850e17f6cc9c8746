"""Whether models and data sets are here, whole, or can be fetched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from s1sweep.doctor.base import Asked, CheckResult
from s1sweep.errors import UserError
from s1sweep.planning import pins
from s1sweep.planning.pins import Use
from s1sweep.sources import hub, model_path

# What a folder must hold: one file of each line.
PARTS: dict[hub.Kind, dict[str, tuple[str, ...]]] = {
    "model": {
        "config.json": ("config.json",),
        "a tokenizer": ("tokenizer.json", "tokenizer.model", "vocab.*"),
        "weights as safetensors": ("*.safetensors",),
    },
    "tokenizer": {"a tokenizer": ("tokenizer.json", "tokenizer.model", "vocab.*")},
    "dataset": {},
}


def lacking(folder: Path, kind: hub.Kind) -> list[str]:
    """What a model's or tokenizer's folder has no file of."""
    return [part for part, names in PARTS[kind].items() if not any(f for n in names for f in folder.glob(n))]


def repositories(asked: Asked) -> Iterator[CheckResult]:
    """Each hub repository that a cell reads, at its commit."""
    uses = dict.fromkeys(replace(use, group="") for cell in asked.cells for use in pins.uses(cell))
    if not uses:
        yield CheckResult("hub", "ok", "nothing is read from it")
        return
    token = "a token is here" if hub.has_token() else "no token is here (gated repositories need HF_TOKEN)"
    yield CheckResult("hub", "ok", f"{hub.endpoint()}{', offline' if hub.offline() else ''}; {token}")
    for use in uses:
        yield _repository(use)


def _repository(use: Use) -> CheckResult:
    what = f"{use.kind} {use.name} at {use.revision or 'no commit'}"
    prefetch = "`s1sweep prefetch` with the same overrides, where there is a network."
    if use.revision is None:
        return CheckResult(
            "hub", "fault", f"{what}: a run refuses it, as it may change", f"Pin and fetch it: {prefetch}"
        )
    folder = hub.here(use.kind, use.name, use.revision)
    if folder is not None and not (gone := lacking(folder, use.kind)):
        return CheckResult("hub", "ok", f"{what}: here, {hub.size(folder) / 1e9:,.2f} GB")
    state = f"here without {' and '.join(gone)}" if folder else "not here, or not all of it"
    if hub.offline():
        return CheckResult("hub", "fault", f"{what}: {state}, and HF_HUB_OFFLINE is set", f"Fetch it: {prefetch}")
    try:
        hub.commit(use.kind, use.name, use.revision)
    except UserError as error:
        return CheckResult("hub", "fault", str(error), f"Fetch it: {prefetch}")
    return CheckResult("hub", "ok", f"{what}: {state}; the hub has it, and the run fetches it")


def weights(asked: Asked) -> Iterator[CheckResult]:
    """Folders of models that are named by path."""
    folders = {Path(model_path(cell.model)) for cell in asked.cells}
    for folder in sorted(folder for folder in folders if folder.is_dir()):
        if gone := lacking(folder, "model"):
            todo = "Save the model with its tokenizer there (save_pretrained of both), or give another model.source."
            yield CheckResult("weights", "fault", f"{folder} is without {' and '.join(gone)}", todo)
        else:
            yield CheckResult("weights", "ok", str(folder))
