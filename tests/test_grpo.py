"""GRPO after fine-tuning: the reward on planted completions, the shared first stage, and a few real steps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from s1sweep.planning import Plan
from s1sweep.planning.axes import axes_of
from s1sweep.runtime.backend import launch_here
from s1sweep.spec import GrpoSpec, GrpoStage
from s1sweep.stages.resources import Resources
from s1sweep.training import sft
from s1sweep.training.grpo import gold, reward
from tests.helpers import compose, write_subset
from tests.test_rules import row

MARKS = compose("data=random")[0].cell.model.delimiters


@pytest.mark.parametrize(
    ("completion", "right"),
    [
        ("a7+5=2\n<|im_start|>answer\nAnswer: 2<|im_end|>", True),
        ("a7+5=2\n<|im_start|>answer\nAnswer: 3<|im_end|>", False),
        ("Answer: 2", False),  # the thinking never ends
        ("x<|im_start|>answer\n", False),
        ("x<|im_start|>answer\nAnswer: 2<|im_end|>\nAnswer: 9", True),  # what follows the turn does not count
    ],
)
def test_reward_of_planted_completions(completion: str, right: bool) -> None:
    assert reward(completion, "2", "math", MARKS) == float(right)


def test_the_gold_answer_is_the_reference_solutions_where_it_can_be_read() -> None:
    assert gold(row(1, solution="so \\boxed{7}", answer="Answer: 8"), "math") == "7"
    assert gold(row(1, solution="The result is 7.", answer="8"), "math") == "8"
    assert gold(row(1, solution=None, answer="Answer: 8"), "math") == "8"


def test_the_fine_tuning_is_shared_with_the_arm_without() -> None:
    plan = Plan()
    for config in compose("data=random", "train=tiny,grpo"):
        plan.add(config.cell, axes_of(config))
    trainings = [stage for stage in plan.stages.values() if stage.kind == "train"]
    assert len(trainings) == 2
    assert trainings[1].inputs["checkpoint"] == trainings[0].id


@pytest.mark.slow
def test_a_few_steps(tmp_path: Path) -> None:
    config = compose("data=random", "data.size=16", "train=grpo", "train.steps=2", "train.prompts_per_step=2")[0]
    train = config.cell.train
    assert isinstance(train, GrpoSpec)
    data, out = tmp_path / "data", tmp_path / "stage" / "attempt"
    data.mkdir()
    out.mkdir(parents=True)
    write_subset(config, data)
    spec = GrpoStage(model=config.cell.model, train=train.model_copy(update={"sft": None}))
    done = sft.run(spec, {"data": data}, out, Resources(), launch_here)
    assert done.summary["steps"] == 2 and 0 <= done.summary["final_reward"] <= 1
    assert (out / "checkpoint" / "model.safetensors").exists()
    assert len([json.loads(line) for line in (out / "history.jsonl").open()]) == 2
