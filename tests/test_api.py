"""`plan`, `run` and `results` of Python say what the commands of these names say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import s1sweep
from s1sweep import plan, results, run
from s1sweep.compose import cells_of
from s1sweep.errors import SweepFailed, UserError
from tests.helpers import cli, cli_env

GRID = ["train=none", "task=tiny_calc,tiny_hard", "task.limit=2", "method.max_thinking_tokens=8,16"]


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys; import s1sweep; assert s1sweep.__version__; print([m for m in sys.modules if 's1sweep.' in m])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=cli_env(Path("/nowhere"))
    )
    assert done.stdout.strip() == "[]"


def test_the_names_stay_functions_whatever_was_imported() -> None:
    import s1sweep.planning

    plan(*GRID)
    assert callable(s1sweep.plan) and callable(s1sweep.run) and callable(s1sweep.results)
    with pytest.raises(AttributeError, match="nothing_like_it"):
        s1sweep.nothing_like_it  # noqa: B018


@pytest.mark.parametrize("grid", [GRID, ["experiment=quickstart"]])
def test_plan_is_what_the_command_prints(grid: list[str], root: Path) -> None:
    planned = plan(*grid)
    done = cli("plan", "--json", "-m", *grid, root=root)
    assert json.loads(done.stdout) == json.loads(json.dumps(planned.as_json()))
    assert planned.cells == len(cells_of(["-m", *grid])) and planned.stages["decode"] > 0
    assert not root.exists()


def test_fields_by_name_are_overrides() -> None:
    stops = ("<|im_end|>", "<|endoftext|>")
    fields = {
        "train": "none",
        "task": ["tiny_calc", "tiny_hard"],
        "task.limit": 2,
        "method.max_thinking_tokens": [8, 16],
        "model.delimiters.answer_stop": stops,
        "model.system_prompt": None,
        "extrapolation.string": ["Wait, no", "it's"],
        "extrapolation.num_ignore": 1,
    }
    cells = [config.cell for config in cells_of(s1sweep.api.arguments([], fields))]
    assert len(cells) == 8 and plan(**fields).cells == 8
    assert {c.task.name for c in cells} == {"tiny_calc", "tiny_hard"}
    assert {c.method.max_thinking_tokens for c in cells} == {8, 16}
    assert {c.extrapolation.string for c in cells} == {"Wait, no", "it's"}
    assert all(c.model.delimiters.answer_stop == stops and c.model.system_prompt is None for c in cells)


def test_mistakes_are_user_errors() -> None:
    with pytest.raises(UserError, match="max_thinking_token"):
        plan("train=none", "method.max_thinking_token=8")
    with pytest.raises(UserError, match="--cfg"):
        plan("--cfg", "job")
    with pytest.raises(UserError):
        results("no-such-sweep")


@pytest.mark.slow
def test_run_and_results_are_those_of_the_commands(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = [*GRID, "placement=inprocess", "tracking=none"]
    done = run(*grid, name="mine")
    assert capsys.readouterr() == ("", ""), "the Python API prints nothing"
    assert (done.sweep, done.root, done.cells, done.reused) == ("mine", root, 4, 0) and done.executed > 0
    frame = results()
    assert frame.equals(done.results()) and len(frame) == 4
    shown = json.loads(cli("results", "--json", root=root).stdout)
    assert [cell["accuracy"] for cell in shown] == frame["accuracy"].tolist()
    assert [cell["key"] for cell in shown] == frame["cell"].tolist()
    assert set(results("mine", root, rows="readouts")["row"]) == {"readout"}
    again = run(*grid, name="mine")
    assert (again.executed, again.reused) == (0, done.executed)
    assert cli("run", "-m", *grid, "name=mine", root=root).stdout.count("0 stages run") == 1
    assert done.report().read_text().startswith("<!doctype html>")


@pytest.mark.slow
def test_a_run_that_fails_says_which_stages(tmp_path: Path) -> None:
    """A delimiter that is not one token is seen when the chat format is made, in the decode stage."""
    with pytest.raises(SweepFailed, match="2 tokens") as error:
        run(
            *("train=none", "task.limit=1", "placement=inprocess", "tracking=none"),
            **{"model.delimiters.think_stop": ("<|im_start|>answer",)},
        )
    (stage,) = error.value.failed
    assert stage.startswith("decode-") and "2 tokens" in error.value.failed[stage]
