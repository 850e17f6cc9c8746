"""The data page: subsets of a real chain on the testbed, planted overlaps, and text that stays text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from s1sweep.analysis import datacards
from s1sweep.cli import main
from s1sweep.data import curate, ingest, select
from s1sweep.errors import UserError
from s1sweep.planning import Plan
from s1sweep.planning.axes import axes_of
from s1sweep.store import Store, Sweep
from tests.helpers import compose
from tests.test_report import Page
from tests.test_rules import row

STAGES = {"pool": ingest, "curate": curate, "select": select}


def drawn(root: Path, *overrides: str, undone: str = "none") -> Sweep:
    """A sweep whose data stages have run for real, and nothing else."""
    plan, store = Plan(), Store(root)
    cells = [plan.add(config.cell, axes_of(config)) for config in compose(*overrides)]
    sweep = Sweep(store, "s")
    sweep.open("", [])
    sweep.add(cell.as_json() for cell in cells)
    for stage in plan.stages.values():
        if stage.kind in STAGES and undone not in stage.id:
            out = store.attempt_dir(stage.id)
            inputs = {name: store.outputs(i) for name, i in stage.inputs.items()}
            summary = STAGES[stage.kind].run(stage.spec, inputs, out)  # type: ignore[attr-defined]
            store.publish(stage.id, stage.hashed, out, summary, 0.0, {})
    return sweep


def planted(tmp_path: Path) -> list[str]:
    """Twenty rows, of which the two longest share 8 words with one of the task's two questions."""
    gram = "one two three four five six seven eight"
    rows = [row(i, question=f"{gram} <b>{i}</b>" if i > 17 else f"q{i}", domain="<i>x</i>") for i in range(20)]
    (tmp_path / "pool.jsonl").write_text("".join(r.model_dump_json() + "\n" for r in rows))
    asked = [{"id": "a", "question": f"so {gram}", "answer": "1"}, {"id": "b", "question": "other", "answer": "1"}]
    (tmp_path / "task.jsonl").write_text("".join(json.dumps(q) + "\n" for q in asked))
    task = ["task=file", "task.name=mine", "task.grader=math", f"task.path={tmp_path / 'task.jsonl'}"]
    return ["pool=file", f"pool.path={tmp_path / 'pool.jsonl'}", *task]


def test_overlaps_are_those_planted(root: Path, tmp_path: Path) -> None:
    cards = datacards.gather(drawn(root, *planted(tmp_path), "data=longest,shortest,full", "data.size=12"))
    by_rule = {s.label.split()[0]: s for s in cards.subsets}
    assert {rule: s.overlaps["mine"] for rule, s in by_rule.items()} == {
        "longest": (2, 1),
        "shortest": (0, 0),
        "full": (2, 1),
    }
    shared = {frozenset(pair): n for pair, n in cards.pairs.items()}
    assert shared[frozenset({by_rule["longest"].stage, by_rule["shortest"].stage})] == 4
    assert shared[frozenset({by_rule["longest"].stage, by_rule["full"].stage})] == 12


def test_the_page_is_self_contained_and_text_is_text(root: Path, tmp_path: Path) -> None:
    drawn(root, *planted(tmp_path), "data=longest,random", "data.size=5", undone="random")
    done = CliRunner().invoke(main, ["data", "--root", str(root)])
    assert done.exit_code == 0 and "longest" in done.output and "Not drawn yet: random" in done.output
    html = (root / "sweeps" / "s" / "data.html").read_text(encoding="utf-8")
    page = Page(html)
    assert "<i>x</i>" in page.text and "default-src 'none'" in html
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "img", "i", "b") and "x" in tag]
    assert "not drawn yet: random" in page.text and "quality 20" in page.text


def test_a_sweep_without_data_says_so(root: Path) -> None:
    with pytest.raises(UserError, match="none of its cells is trained"):
        datacards.gather(drawn(root, "train=none"))
