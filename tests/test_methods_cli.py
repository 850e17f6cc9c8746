"""Every control method as one line on the testbed, with real vLLM and the packaged reward model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from s1sweep.planning import Plan
from s1sweep.planning.axes import axes_of
from tests.helpers import ROOT, cli, compose

SMALL = ["train=none", "task=tiny_calc", "task.limit=6", "placement=inprocess", "tracking=none"]
GREEDY = [p.stem for p in sorted((ROOT / "conf/method").glob("*.yaml")) if p.stem not in ("rejection", "rebase")]


def results(root: Path, *line: str) -> list[dict[str, Any]]:
    done = cli("run", "-m", "name=s", *SMALL, *line, root=root)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(cli("results", "s", "--json", root=root).stdout)
    return found["cells"] if isinstance(found, dict) else found


@pytest.mark.slow
def test_every_greedy_method(root: Path) -> None:
    cells = results(root, f"method={','.join(GREEDY)}", "extrapolation=wait", "method.max_answer_tokens=8")
    assert [cell["axes"]["method"] for cell in cells] == GREEDY
    for cell in cells:
        assert cell["missing"] is None and cell["n"] == 6, cell
        assert cell["mean_total_tokens"] >= cell["mean_thinking_tokens"] + cell["mean_answer_tokens"] - 1e-9
    by_name = {cell["axes"]["method"]: cell for cell in cells}
    assert by_name["exact_length"]["mean_thinking_tokens"] == 256
    assert by_name["no_thinking"]["endings"] == {"skipped": 6}
    assert by_name["sets"]["mean_total_tokens"] > by_name["sets"]["mean_thinking_tokens"] + 8


@pytest.mark.slow
@pytest.mark.long  # a minute and a half; its parts have tests of their own
def test_every_sampled_method_and_every_rule(root: Path) -> None:
    sampled = ["sampling=sampled", "sampling.samples=1", "parallel.n=3", "method.max_thinking_tokens=32"]
    rules = [p.stem for p in sorted((ROOT / "conf/parallel").glob("*.yaml")) if p.stem != "none"]
    results(root, *sampled, "method=budget_forcing", f"parallel={','.join(rules)}")
    results(root, *sampled, "method=rebase", "method.width=2", "parallel=majority,best")
    cells = results(root, *sampled[:2], "method=rejection", "method.max_thinking_tokens=4,64", "method.max_tries=3")
    assert len(cells) == len(rules) + 4
    for cell in cells:
        assert cell["missing"] is None and cell["n"] == cell["readouts"] == 6, cell
    votes = [cell for cell in cells if cell["axes"]["method"] == "budget_forcing"]
    assert len({cell["mean_thinking_tokens"] for cell in votes}) == 1  # one pool for all rules
    scored = {cell["axes"]["parallel"] for cell in votes if cell["mean_total_tokens"] > 3 * 64}
    assert {"best", "weighted"} >= scored
    tight, loose = (cell["endings"].get("unmet", 0) for cell in cells[-2:])
    assert tight >= loose


def test_table3_has_the_papers_seven_methods() -> None:
    plan = Plan()
    for config in compose("experiment=table3"):
        plan.add(config.cell, axes_of(config))
    assert len(plan.cells) == 33
    trainings = {
        stage.spec.format and stage.spec.format.kind for stage in plan.stages.values() if stage.kind == "train"
    }
    assert trainings == {None, "token_conditional", "step_conditional"}
    assert len({cell.as_json()["series"] for cell in plan.cells}) == 7


def test_methods_trained_on_s1_share_its_checkpoint() -> None:
    plan = Plan()
    for config in compose("method=budget_forcing"), compose("method=token_conditional", "method.trained_on=s1"):
        plan.add(config[0].cell, axes_of(config[0]))
    assert sum(stage.kind == "train" for stage in plan.stages.values()) == 1
