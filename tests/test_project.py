"""Projects: `init` makes one that works at once, from anywhere below it, beside the packaged choices."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from s1sweep import project
from s1sweep.errors import UserError
from tests.helpers import cli_env


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in cli_env(cwd).items() if key != "S1SWEEP_ROOT"}
    return subprocess.run(
        [sys.executable, "-m", "s1sweep.cli", *arguments], capture_output=True, text=True, check=False, env=env, cwd=cwd
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lab") / "mine"
    done = command("init", str(folder), cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    assert f"cd {folder} && s1sweep plan -m experiment=mine" in done.stdout
    return folder


def test_the_example_plans_at_once(made: Path) -> None:
    done = command("plan", "--json", "-m", "experiment=mine", cwd=made)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["cells"] == 8
    assert found["stages"] == {"pool": 1, "curate": 1, "select": 2, "train": 2, "decode": 8, "grade": 8}


def test_its_readme_holds_from_any_folder_below(made: Path) -> None:
    """Paths in its conf/ and its store are the project's, wherever the command is given."""
    done = command("plan", "-m", "experiment=mine", cwd=made / "conf" / "task")
    assert done.returncode == 0, done.stderr
    assert f"Store: {made / 's1sweep-out'}" in done.stdout.replace("\n", "")
    seen = command("inspect", "--json", "task=sums", "train=none", cwd=made / "rules")
    assert json.loads(seen.stdout)["task"]["questions"] == 24
    assert command("ls", cwd=made / "rules").returncode == 0
    assert not list(made.rglob("s1sweep-out"))


def test_the_example_rule_picks_what_it_says(made: Path) -> None:
    from s1sweep.data.rules import rule_of
    from s1sweep.spec import DataSpec

    spec = DataSpec(rule=f"{made}/rules/wordy.py:wordy", size=2, seed=0)  # type: ignore[arg-type]
    rule = rule_of(spec)

    class Row:
        def __init__(self, id: str, thinking: str) -> None:
            self.id, self.thinking = id, thinking

        def read(self) -> Row:
            return self

    rows = [Row("b", "x;y"), Row("c", "x;y;z"), Row("a", "x;y")]
    assert [row.id for row in rule.pick(rows, 2, None, None)] == ["c", "a"]  # type: ignore[arg-type]


def test_the_answers_of_the_example_task_are_right(made: Path) -> None:
    for line in (made / "tasks" / "sums.jsonl").read_text().splitlines():
        row = json.loads(line)
        operands = [int(word[1:]) for word in row["problem"].split()[1:]]
        assert str(sum(operands) % 10) == row["result"]


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        project.create(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert Path(".gitignore") in project.create(empty)


def test_a_name_of_the_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "mine"
    project.create(folder)
    (folder / "conf" / "task" / "tiny_calc.yaml").write_text("name: mine\n")
    done = command("plan", "task=tiny_calc", cwd=folder)
    assert done.returncode == 2 and "name of a packaged choice, task/tiny_calc.yaml" in done.stderr


def test_a_marker_with_a_typo_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s1sweep.toml").write_text('cnof = "conf"\n')
    with pytest.raises(UserError, match="Did you mean 'conf'"):
        project.find(tmp_path)
    (tmp_path / "s1sweep.toml").write_text('conf = "mine"\n')
    with pytest.raises(UserError, match="'mine' is not a folder"):
        project.find(tmp_path)
    (tmp_path / "mine").mkdir()
    found = project.find(tmp_path)
    assert found is not None and found.conf == tmp_path / "mine"
    (tmp_path / "s1sweep.toml").write_text("conf = [")
    with pytest.raises(UserError, match="cannot be read"):
        project.find(tmp_path)


def test_the_nearest_project_counts_and_none_is_no_mistake(tmp_path: Path) -> None:
    inner = tmp_path / "outer" / "inner"
    project.create(tmp_path / "outer")
    assert project.find(tmp_path) is None
    project.create(inner)
    found = project.find(inner / "conf")
    assert found is not None and found.folder == inner
