"""Writing runs with wandb, online or offline. The one module that imports it; itself imported only if there is news.

Knows views, not where they come from.
"""

from __future__ import annotations

import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import wandb

from s1sweep.tracking.views import Asset, View, WandbRun, digest

SECONDS = {"ask": 5, "init": 60, "finish": 900}  # most to wait for a server


@dataclass(frozen=True)
class Written:
    """The blocks of history that a run was given, its offline folder or its address."""

    blocks: dict[str, int]
    folder: str | None
    url: str | None


def write(
    run: WandbRun, view: View, known: Mapping[str, int], folder: Path, mode: str, place: Mapping[str, Any]
) -> Written:
    """Give W&B what it does not know yet. Raises what wandb raises."""
    live = wandb.init(
        id=run.id,
        name=view.name,
        job_type=run.job_type,
        tags=sorted({tag[:64] for tag in view.tags if tag}),
        notes=view.notes,
        config=dict(view.config),
        dir=str(folder.parent),
        resume="allow",
        reinit="create_new",
        settings=_settings(mode),
        **place,
    )
    failed = True
    try:
        blocks = _log(live, view, known)
        live.summary.update(_given(view.summary))
        for asset in (asset for asset in view.made if asset.files):
            live.log_artifact(_artifact(asset))
        for asset in (asset for asset in view.used if asset.files):
            if mode == "online":
                live.use_artifact(_artifact(asset))
            elif asset.type == "dataset":  # use_artifact needs a server, and no other run logs it
                live.log_artifact(_artifact(asset))
        failed = False
    finally:
        live.finish(exit_code=int(failed))
    if mode == "offline":
        return Written(blocks, Path(live.dir).parent.name, None)
    return Written(blocks, None, live.url)


def _log(live: wandb.Run, view: View, known: Mapping[str, int]) -> dict[str, int]:
    fresh = {key: block for block in view.blocks if (key := digest(block)) not in known}
    rows = [dict(row) for block in fresh.values() for row in block]
    tables = {name: wandb.Table(c, rows_, allow_mixed_types=True) for name, (c, rows_) in view.tables.items()}
    if tables and not rows:
        fresh, rows = {digest([len(known)]): [{}]}, [{}]
    if view.step_metric:
        live.define_metric(view.step_metric)
        for metric in sorted({name for row in rows for name in row} - {view.step_metric}):
            hidden = metric in view.hidden or None
            live.define_metric(metric, step_metric=view.step_metric, summary=view.kept.get(metric), hidden=hidden)
    if rows:
        rows[-1].update(tables)
    # Explicit steps: W&B drops a step it has, so a run that is sent again after a crash doubles nothing.
    for step, row in enumerate(rows, start=sum(known.values())):
        live.log(_given(row), step=step, commit=True)  # now, or it would overwrite the summary later
    return {key: len(block) for key, block in fresh.items()}


def _given(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


def _artifact(asset: Asset) -> wandb.Artifact:
    artifact = wandb.Artifact(asset.name, type=asset.type, metadata=dict(asset.metadata))
    for name, path in asset.files.items():
        if asset.upload:
            artifact.add_file(str(path), name=name, policy="immutable", skip_cache=True)
        else:
            artifact.add_reference(path.as_uri(), name=name, checksum=False)  # its sha256 is in the metadata
    return artifact


def _settings(mode: str) -> wandb.Settings:
    """Nothing but what is published: no console, no machine, no code. A server that goes away ends the wait."""
    return wandb.Settings(
        mode=mode,
        silent=True,
        console="off",
        disable_git=True,
        disable_code=True,
        x_disable_stats=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
        init_timeout=SECONDS["init"],
        finish_timeout=SECONDS["finish"],
        finish_timeout_raises=True,
    )


@contextmanager
def session(folder: Path) -> Iterator[None]:
    """A W&B session of our own that keeps its files beside the runs, and an environment that is left as it was."""
    theirs = "WANDB_SERVICE" in os.environ  # the caller's own session: not ours to end
    before = dict(os.environ)
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_ARTIFACT_DIR"):
        os.environ.setdefault(name, str(folder / name.split("_")[1].lower()))
    for name in ("WANDB_SWEEP_ID", "WANDB_LAUNCH", "WANDB_RUN_ID"):  # inside `wandb agent` these would rename our runs
        os.environ.pop(name, None)
    try:
        yield
    finally:
        if not theirs:
            wandb.teardown()
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def obstacle() -> str | None:
    """Why W&B cannot be reached, or None. Asked first: W&B itself would prompt for a key and retry for minutes."""
    from wandb.sdk.lib import wbauth

    host = wandb.setup(settings=wandb.Settings(silent=True)).settings.base_url
    try:
        if wbauth.authenticate_session(host=host, source="s1sweep", prompt=False, update_session=False) is None:
            return f"no API key for {host} (wandb login, or WANDB_API_KEY)"
        urllib.request.urlopen(host, timeout=SECONDS["ask"]).close()
    except wandb.errors.AuthenticationError as error:
        return str(error)
    except urllib.error.HTTPError:
        pass  # it answers
    except OSError as error:
        reason = getattr(error, "reason", error)
        if not isinstance(reason, ssl.SSLError):  # a private certificate is W&B's to judge
            return f"{host} does not answer ({reason})"
    return None
