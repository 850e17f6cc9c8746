"""Engine sessions in shards: several decode workers, the same results as of one in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from s1sweep.store import Record, Store, same_result
from tests.helpers import cli

pytestmark = [pytest.mark.slow, pytest.mark.long]  # its parts: test_sessions.py, test_progress.py

COMMAND = ["run", "-m", "train=none", "task=tiny_calc,tiny_hard", "task.limit=12", "extrapolation=none,wait"]
COMMAND += ["sampling=greedy,sampled"]
COMMAND += ["name=shards", "tracking=none", "placement.cpus=3", "method.max_thinking_tokens=48,96"]


def records(root: Path) -> dict[str, Record]:
    store = Store(root)
    return {name: record for name in store.stage_ids() if (record := store.record(name))}


def test_one_and_three_decode_workers_give_the_same(tmp_path: Path) -> None:
    """Greedy and sampled. With several, the session itself finds everything among the traces and decodes nothing."""
    found = {}
    for engines in (1, 3):
        root = tmp_path / str(engines) / "store"
        root.parent.mkdir()
        done = cli(*COMMAND, "placement.engines=3" if engines == 3 else "placement.backend=inprocess", root=root)
        assert done.returncode == 0, done.stderr
        found[engines] = records(root)
        costs = [record.cost for record in found[engines].values() if record.kind == "decode"]
        assert len(costs) == 16
        segments = len(list(root.glob("traces/*/*.seg")))
        if engines == 1:
            assert segments == 1 and all(cost["decoded_tokens"] for cost in costs)
        else:
            assert segments == engines and not any(cost["decoded_tokens"] for cost in costs)
    assert found[3].keys() == found[1].keys()
    for name, record in found[3].items():
        assert same_result(record, found[1][name]), name
