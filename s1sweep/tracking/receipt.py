"""The receipt: which runs of a sweep W&B has been given, and where. Knows files, not wandb and not what a run shows."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path
from typing import Any

FILE = "wandb.json"


class Receipt:
    """What was published to `target` (entity and project).

    History in W&B is append-only, so a block that reached the server must not be sent again; what only lies in an
    offline folder is superseded by a newer folder, and removed.
    """

    def __init__(self, sweep_dir: Path, target: str) -> None:
        self.path = sweep_dir / FILE
        self.folder = sweep_dir / "wandb"
        self.target = target
        self.entries: dict[str, Any] = {}
        with suppress(FileNotFoundError, json.JSONDecodeError):
            self.entries = json.loads(self.path.read_text(encoding="utf-8"))

    def covers(self, run_id: str, fingerprint: str, mode: str) -> bool:
        """Whether a run needs nothing. When going online, an offline folder that nobody synced does not count."""
        entry = self.entries.get(run_id)
        if entry is None or (entry["fingerprint"], entry["target"]) != (fingerprint, self.target):
            return False
        return mode == "offline" or self._delivered(entry)

    def known(self, run_id: str) -> dict[str, int]:
        """Blocks of history that the server has, and their rows."""
        entry = self.entries.get(run_id)
        if entry is None or entry["target"] != self.target:
            return {}
        return {**entry["before"], **(entry["blocks"] if self._delivered(entry) else {})}

    def add(
        self, run_id: str, fingerprint: str, folder: str | None, before: Mapping[str, int], blocks: Mapping[str, int]
    ) -> None:
        """Enter a run; on disk when this returns. `folder` is that of an offline run."""
        self.entries[run_id] = {
            "fingerprint": fingerprint,
            "target": self.target,
            "folder": folder,
            "before": before,
            "blocks": blocks,
        }
        aside = self.path.with_name(f".{FILE}.{os.getpid()}")
        aside.write_text(json.dumps(self.entries, indent=1) + "\n", encoding="utf-8")
        os.replace(aside, self.path)

    def tidy(self, run_ids: AbstractSet[str]) -> None:
        """Remove offline folders that a newer one supersedes or a crash left behind; never a synced one."""
        for run_id in run_ids & self.entries.keys():
            for path in self.folder.glob(f"offline-run-*-{run_id}*"):
                if path.name != self.entries[run_id]["folder"] and not _synced(path):
                    shutil.rmtree(path, ignore_errors=True)

    def waiting(self) -> int:
        """How many runs lie in offline folders that nobody synced."""
        return sum(not self._delivered(entry) for entry in self.entries.values())

    def sync_command(self) -> str:
        """Leaves out what was synced. Given the folder alone, wandb would follow its link `latest-run` as one more."""
        return f"wandb sync {shlex.quote(str(self.folder))}/offline-run-*"

    def _delivered(self, entry: Mapping[str, Any]) -> bool:
        if entry["folder"] is None:
            return True
        path = self.folder / entry["folder"]
        return not path.exists() or _synced(path)  # `wandb clean` removes what was synced


def _synced(path: Path) -> bool:
    return any(path.glob("*.wandb.synced"))
