"""Pins: what is not fixed is never run; `prefetch` fixes and fetches it, from a hub real but for its address."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from s1sweep import testbed
from s1sweep.errors import UserError
from s1sweep.planning import pins
from s1sweep.session import Session
from s1sweep.store import Store
from tests.fakehub import commit_of, serve
from tests.helpers import cli, compose

HUB_MODEL = ["model.source=us/tiny", "train=none", "placement=inprocess"]
CARD = b"---\nconfigs:\n- config_name: main\n  data_files:\n  - split: test\n    path: test.jsonl\n---\n"
ROWS = [{"question": "calc 7 a+5", "answer": "so it is\n#### 2"}, {"question": "calc 3 a+1", "answer": "#### 4"}]
REPOS = {
    ("models", "us/tiny"): {
        **{p.name: p.read_bytes() for p in testbed.BASE.iterdir()},
        "pytorch_model.bin": b"pickled code",
    },
    ("datasets", "openai/gsm8k"): {
        "README.md": CARD,
        "test.jsonl": "".join(json.dumps(row) + "\n" for row in ROWS).encode(),
    },
}
MODEL, DATA = (commit_of(files) for files in REPOS.values())


def test_only_what_makes_a_difference_needs_a_pin() -> None:
    def open_(*overrides: str) -> list[str]:
        return [f"{use.group}:{use.name}" for use in pins.unpinned(compose(*overrides)[0].cell)]

    assert open_("train=none") == []
    assert open_("train=none", "task=gsm8k", "model=qwen3_8b") == ["model:Qwen/Qwen3-8B", "task:openai/gsm8k"]
    assert open_("task=gsm8k", "task.revision=ab") == []
    scorer = "scorer.source=us/judge"
    assert open_("train=none", scorer) == []
    assert open_("train=none", scorer, "parallel=best", "sampling=sampled") == ["scorer:us/judge"]


def test_pins_fill_what_is_not_given() -> None:
    known = {"model": {"Qwen/Qwen3-8B": "abc"}, "dataset": {"openai/gsm8k": "def"}}
    cell = pins.pinned(compose("train=none", "task=gsm8k", "model=qwen3_8b")[0].cell, known)
    assert (cell.model.revision, cell.task.revision) == ("abc", "def")
    given = compose("train=none", "task=gsm8k", "task.revision=mine")[0].cell
    assert pins.pinned(given, known) == given


def test_pins_are_kept_and_a_damaged_file_is_named(root: Path) -> None:
    assert pins.read(Store(root)) == {}
    pins.add(Store(root), "model", "us/tiny", "abc")
    pins.add(Store(root), "dataset", "us/rows", "def")
    assert pins.read(Store(root)) == {"model": {"us/tiny": "abc"}, "dataset": {"us/rows": "def"}}
    (root / "pins.json").write_text("{")
    with pytest.raises(UserError, match=r"pins.json cannot be read"):
        pins.read(Store(root))


def test_run_refuses_what_is_not_pinned_before_anything_starts(root: Path) -> None:
    config = compose("train=none", "task=gsm8k", "model=qwen3_8b")[0]
    with Session(command=(), run=True) as session, pytest.raises(UserError) as error:
        session([config])
    for word in ("'Qwen/Qwen3-8B'", "'openai/gsm8k'", "model.revision=<commit>, task.revision=", "s1sweep prefetch"):
        assert word in str(error.value)
    assert not root.exists()


def test_prefetch_then_inspect_without_a_network(root: Path, tmp_path: Path) -> None:
    home = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
    command = [*HUB_MODEL, "task=gsm8k"]
    before = json.loads(cli("plan", "--json", *command, root=root, **home).stdout)
    assert before["unpinned"] == {"model.revision": ["us/tiny"], "task.revision": ["openai/gsm8k"]}
    with serve(REPOS) as (address, asked):
        done = cli("prefetch", *command, root=root, HF_ENDPOINT=address, **home)
        assert done.returncode == 0, done.stderr
        assert f"model us/tiny at {MODEL}: " in done.stdout and f"dataset openai/gsm8k at {DATA}: " in done.stdout
        assert "task gsm8k: 2 questions, digest " in done.stdout
        assert not [path for path in asked if path.endswith(".bin")], "weights as pickles are never fetched"
    assert pins.read(Store(root)) == {"model": {"us/tiny": MODEL}, "dataset": {"openai/gsm8k": DATA}}
    offline = {**home, "HF_HUB_OFFLINE": "1"}
    planned = cli("plan", *command, root=root, **offline)
    assert planned.returncode == 0 and "Not pinned" not in planned.stdout
    seen = cli("inspect", "--json", *command, root=root, **offline)
    assert seen.returncode == 0, seen.stderr
    found = json.loads(seen.stdout)
    assert found["task"]["questions"] == 2 and found["task"]["gold"] == "2"
    assert found["task"]["content"] == f"openai/gsm8k@{DATA}/main/test"


def test_without_a_network_each_thing_is_named_once(root: Path, tmp_path: Path) -> None:
    nowhere = {"HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": "http://127.0.0.1:9"}
    done = cli("prefetch", *HUB_MODEL, "task=gsm8k", root=root, **nowhere)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.count("could not be fetched") == 2
    assert "model 'us/tiny' at revision main" in done.stderr
    assert "dataset 'openai/gsm8k' at revision main" in done.stderr
    pinned = [*HUB_MODEL, "model.source=testbed", "task=gsm8k", "task.revision=abc"]
    refused = cli("run", *pinned, root=root, **nowhere)
    assert refused.returncode == 2 and "'openai/gsm8k' at revision abc is not here" in refused.stderr
    assert "s1sweep prefetch" in refused.stderr
