"""Shell completion: what comes after a beginning, through the shells' own scripts where the shell is here."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from s1sweep import project
from s1sweep.cli.completion import complete
from s1sweep.errors import UserError
from s1sweep.project import PACKAGED
from tests.helpers import cli, cli_env, compose

HERE = [PACKAGED]


def test_groups_choices_and_fields() -> None:
    assert complete([], "extr", HERE) == ["extrapolation="]
    assert complete([], "data=ra", HERE) == ["data=random", "data=random_difficult"]
    assert complete([], "data=random,lo", HERE) == ["data=random,longest"]
    assert "data=random,random" not in complete([], "data=random,", HERE)
    assert complete([], "experiment=table", HERE) == [f"experiment=table{n}" for n in (1, 2, 3, 4, 5, 8)]
    assert complete([], "curation/dom", HERE) == ["curation/domains="]
    at = "model@curation.difficulty.weak.model"
    assert complete([], f"{at}=qwq", HERE) == [f"{at}=qwq_32b"]
    assert complete([], "nam", HERE) == ["name="]
    assert complete([], "data.si", HERE) == ["data.size="]
    assert complete([], "model.delimiters.think_s", HERE) == [
        "model.delimiters.think_start=",
        "model.delimiters.think_stop=",
    ]
    assert complete([], "nothing_like_it", HERE) == [] and complete([], "data.size=4", HERE) == []


def test_fields_are_those_of_the_choice_on_the_line() -> None:
    assert complete([], "method.wi", HERE) == []
    assert complete(["-m", "method=rebase"], "method.wi", HERE) == ["method.width="]
    assert complete(["method=token_conditional_forced"], "method.think", HERE) == ["method.think_for="], "inherited"


def test_every_field_that_is_offered_is_one() -> None:
    config = compose()[0]
    for group in ("data", "method", "task", "train", "sampling"):
        offered = {text.removesuffix("=").partition(".")[2] for text in complete([], f"{group}.", HERE)}
        real = set(getattr(config.cell, group).model_dump())
        assert {name.split(".")[0] for name in offered} == real - {"path"} | ({"path"} if group == "task" else set())


def test_a_projects_choices_are_offered(tmp_path: Path) -> None:
    project.create(tmp_path / "mine")
    assert complete([], "task=su", [PACKAGED, tmp_path / "mine" / "conf"]) == ["task=sums"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("s1sweep ru", ["run"]),
        ("s1sweep run -m data=dom", ["domain_quota"]),  # bash has settled `data=` already
        ("s1sweep run -m data=random,lo", ["random,longest"]),
        ("s1sweep plan extrapol", ["extrapolation="]),
        ("s1sweep plan task=", ["aime24", "tiny_calc", "gsm8k"]),
        ("s1sweep results sma", ["small"]),
        ("s1sweep completion ", ["bash", "zsh", "fish"]),
    ],
)
def test_bash(line: str, words: list[str], root: Path, tmp_path: Path) -> None:
    (root / "sweeps" / "small").mkdir(parents=True)
    (root / "sweeps" / "small" / "sweep.json").touch()
    program = tmp_path / "bin" / "s1sweep"
    program.parent.mkdir()
    start = "from s1sweep.cli import main; main(prog_name='s1sweep')"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{start}" "$@"\n')
    program.chmod(0o755)
    script = cli("completion", "bash", root=root)
    assert script.returncode == 0, script.stderr
    ask = f"""{script.stdout}
        compopt() {{ :; }}  # works only while a key is pressed
        COMP_LINE='{line}' COMP_POINT={len(line)} COMP_WORDBREAKS=$' \\t\\n"=:'
        _s1sweep_completion {program}
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=False, env=cli_env(root))
    found = done.stdout.split()
    assert set(words) <= set(found), done.stderr
    if not line.endswith("="):
        assert found == words


def test_other_shells_get_clicks_scripts(root: Path) -> None:
    assert "compdef" in cli("completion", "zsh", root=root).stdout
    assert "complete --no-files --command s1sweep" in cli("completion", "fish", root=root).stdout
    unknown = cli("completion", "tcsh", root=root)
    assert unknown.returncode == 2 and "tcsh" in unknown.stderr


def test_completing_imports_neither_hydra_nor_a_spec(root: Path) -> None:
    code = """
import sys
banned = {"hydra", "omegaconf", "pydantic", "torch", "ray", "numpy"}
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in banned:
            raise ImportError(f"{name} is too slow here")
sys.meta_path.insert(0, Refuse())
from s1sweep.cli import main
main(prog_name="s1sweep")
"""
    env = cli_env(root, _S1SWEEP_COMPLETE="bash_complete", COMP_LINE="s1sweep run task=tiny_c")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env)
    assert done.stdout.split() == ["plain,tiny_calc", "plain,tiny_choice"], done.stderr


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("dat=random", ["'data'"]),
        ("method.dialect=s1_harnes", ["Did you mean 's1_harness'"]),
        ("+data.sise=3", ["data.sise=3", "Did you mean 'size'", "rule, seed"]),
        ("data=3", ["data=3", "is a name"]),
        ("data=random,null", ["data=null", "is a name"]),
        ("method.rounds=2", ["a field of method=sets"]),
        ("experiment=quickstrat", ["Did you mean 'quickstart'"]),
        ("data.size", ["data.size", "key=value"]),
        ("hydra/sweeper=s1swep", ["hydra/sweeper"]),
        ("--retry-faild", ["--retry-faild", "Did you mean '--retry-failed'"]),
        ("--multirrun", ["Did you mean '--multirun'"]),
    ],
)
def test_typos_have_a_nearest_name(override: str, words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        compose(override)
    for word in words:
        assert word in str(error.value)


def test_a_sweep_with_a_typo_has_a_nearest_name(root: Path) -> None:
    (root / "sweeps" / "quickstart").mkdir(parents=True)
    (root / "sweeps" / "quickstart" / "sweep.json").write_text("{}")
    done = cli("status", "quickstrat", root=root)
    assert done.returncode == 2 and "Did you mean 'quickstart'" in done.stderr
    command = cli("reslts", root=root)
    assert command.returncode == 2 and "results" in command.stderr
