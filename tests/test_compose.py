"""Composition: Hydra's own semantics, faster, and messages a person can act on."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from hydra.version import setbase
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from s1sweep.compose.composer import Composer
from s1sweep.errors import UserError
from s1sweep.project import PACKAGED as CONF
from s1sweep.spec import CellConfig, CellSpec
from tests.helpers import compose

AXES = {
    "scale": ["testbed", "paper"],
    "experiment": ["quickstart", "table2", "fig7"],
    "pool": ["testbed", "s1_59k"],
    "curation": ["testbed", "none", "testbed_attempts"],
    "curation/domains": ["null", "testbed_digit"],
    "model@curation.difficulty.weak.model": ["tiny", "qwen3_8b"],
    "data": ["random", "s1k", "full"],
    "extrapolation": ["none", "wait"],
    "method": ["budget_forcing", "rejection", "token_conditional_forced", "rebase"],
    "parallel": ["none", "majority"],
    "model": ["tiny", "qwen3_8b"],
    "train": ["tiny", "none", "grpo"],
    "task": ["tiny_calc", "aime24"],
    "sampling": ["greedy", "sampled"],
    "placement": ["laptop", "inprocess"],
    "tracking": ["none", "wandb_online"],
    "scale.cap": ["7", "auto", "'${sampling.seed}'"],
    "scale.size": ["'${scale.votes[1]}'"],
    "data.size": ["16", "'${scale.longest}'", "'${sampling.samples}'"],
    "data.seed": ["0", "3"],
    "method.max_thinking_tokens": ["8", "'${scale.caps[1]}'"],
    "method.max_answer_tokens": ["'${.max_thinking_tokens}'"],
    "extrapolation.num_ignore": ["1", "4"],
    "extrapolation.string": ["'${model.name}, ${task.name}'", "[Wait,Hmm]"],
    "sampling.seed": ["1", "7"],
    "++sampling.params.top_k": ["5", "'${scale.most_votes}'"],
    "+task.columns.question": ["problem"],
    "~task.columns.question": ["problem"],
    "train.seed": ["1", "'${data.seed}'"],
    "placement.threads": ["2"],
    "notes": ["x", "'of ${data.rule} and ${oc.env:HOME}'", "'${oc.select:data.rule}'"],
    "name": ["x", "y-1"],
}


@pytest.fixture(scope="module")
def composer() -> Composer:
    """One for all examples: what it keeps of earlier cells must not show in later ones."""
    setbase("1.3")
    GlobalHydra.instance().clear()
    hydra = Hydra.create_main_hydra2("s1sweep", create_config_search_path(str(CONF.resolve())))
    master = hydra.compose_config("config", [], RunMode.MULTIRUN, with_log_configuration=False)
    return Composer(hydra.config_loader, master)


def by_hydra(overrides: list[str]) -> CellConfig:
    """A cell as Hydra's public API composes it, all of it resolved, and validated as a whole."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF.resolve())):
        config = hydra_compose("config", overrides, return_hydra_config=True)
    choices = {k: str(v) for k, v in config.hydra.runtime.choices.items() if not k.startswith("hydra/")}
    with open_dict(config):
        del config["hydra"]
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    cell = {group: plain[group] for group in CellSpec.model_fields}
    rest = {name: plain[name] for name in CellConfig.model_fields if name in plain}
    given = tuple(line for line in overrides if not line.startswith("hydra."))
    return CellConfig.model_validate({**rest, "cell": cell, "choices": choices, "overrides": given})


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(sorted(AXES)), unique=True, max_size=7), st.data())
def test_a_cell_is_what_hydra_composes(composer: Composer, keys: list[str], data: st.DataObject) -> None:
    for _ in range(2):
        overrides = [f"{key}={data.draw(st.sampled_from(AXES[key]))}" for key in keys]
        try:
            theirs = by_hydra(overrides)
        except (HydraException, OmegaConfBaseException, ValidationError, ValueError):
            with pytest.raises((UserError, HydraException, OmegaConfBaseException)):
                composer.cell(overrides)
        else:
            assert composer.cell(overrides) == theirs


def test_equal_parts_of_cells_are_one_object() -> None:
    first, second, third = compose("data=random,s1k,full", "sampling.seed=3")
    assert first.cell.sampling is second.cell.sampling is third.cell.sampling
    assert first.cell.method is third.cell.method
    assert first.placement is third.placement


def test_choices_that_reach_beyond_their_key_are_hydras(tmp_path: Path) -> None:
    """A choice for the whole config, and one whose default another group's choice names."""
    whole = "# @package _global_\n"
    drawn = "data: {rule: random, size: 8, seed: 0}\n"
    files = {
        "data/reach.yaml": f"{whole}{drawn}method: {{max_answer_tokens: 5}}\n",
        "data/by_task.yaml": f"{whole}defaults:\n  - _self_\n  - optional /of_task@_global_: ${{task}}\n{drawn}",
        "of_task/tiny_hard.yaml": "data: {seed: 5}\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    grid = ["method=budget_forcing,rejection", "data=random,reach,by_task"]
    found = compose(*grid, "task=tiny_calc,tiny_hard", "--config-dir", str(tmp_path))
    for ours in found:
        assert ours == by_hydra([*ours.overrides, f"hydra.searchpath=[file://{tmp_path}]"])
    assert [config.cell.data.seed for config in found] == [0, 0, 0, 0, 0, 5] * 2


def test_each_scale_has_its_own_sub_grids() -> None:
    cells = compose("experiment=fig1", "scale=testbed,paper", "task=tiny_calc")
    assert [c.cell.method.max_thinking_tokens for c in cells] == [
        *(8, 16, 32, 64, 128, 256),
        *(500, 1000, 2000, 4000, 8000, 16000, "auto"),
    ]
    assert {c.cell.model.name for c in cells} == {"tiny", "qwen2_5_32b_instruct"}


def test_grid_is_the_product_in_hydras_order() -> None:
    cells = compose("data=random,longest", "data.seed=0,1", "task=tiny_calc")
    assert [(c.cell.data.rule, c.cell.data.seed) for c in cells] == [
        ("random", 0),
        ("random", 1),
        ("longest", 0),
        ("longest", 1),
    ]


def test_ranges_globs_and_quotes_are_hydras() -> None:
    cells = compose("method.max_thinking_tokens=range(8,32,8)", "task=glob(tiny_*)", "extrapolation.string='Wait, so'")
    assert {c.cell.method.max_thinking_tokens for c in cells} == {8, 16, 24}
    assert {c.cell.task.name for c in cells} == {"tiny_calc", "tiny_hard", "tiny_choice", "tiny_dev"}
    assert {c.cell.extrapolation.string for c in cells} == {"Wait, so"}


def test_experiment_has_several_sub_grids() -> None:
    cells = compose("experiment=quickstart")
    assert len(cells) == 5 * 5 * 3 + 6 * 3 + 2 * 3
    assert {c.name for c in cells} == {"quickstart"}
    ladder = [c for c in cells if c.cell.method.max_thinking_tokens == 8]
    assert {c.cell.data.rule for c in ladder} == {"s1k"}


def test_command_line_axis_replaces_the_experiments() -> None:
    cells = compose("experiment=quickstart", "task=tiny_dev", "data=random")
    assert {c.cell.task.name for c in cells} == {"tiny_dev"}
    assert {c.cell.data.rule for c in cells} == {"random"}
    assert len(cells) == 5 + 6 + 2


def test_basic_sweeper_gives_the_same_cells(root) -> None:
    ours = compose("data=random,s1k", "extrapolation=none,wait")
    basic = compose("data=random,s1k", "extrapolation=none,wait", "hydra/sweeper=basic")
    assert [c.cell for c in ours] == [c.cell for c in basic]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("method.max_thinking_token=5", ["method.max_thinking_token", "method.max_thinking_tokens"]),
        ("data=randm", ["data/randm", "diverse", "Did you mean 'random'"]),
        ("train.learning_rate=fast", ["train.learning_rate='fast'", "number"]),
        ("data.size=-1", ["data.size=-1", "greater than or equal to 1"]),
        ("+data.colour=red", ["data.colour='red'", "not a field"]),
        ("+colour=red", ["colour='red'", "not a field"]),
        ("task=file", ["task.name has no value"]),
        ("sampling.samples=3", ["samples must be 1 when temperature is 0"]),
        ("task.prompt=hello", ["{question}"]),
        ("placement.backend=slurm", ["placement.backend='slurm'", "'ray' or 'inprocess'"]),
        ("method.dialect=s2", ["method.dialect='s2'", "s1_harness"]),
        ("name='a b'", ["name='a b'"]),
        ("data=[", ["data=["]),
    ],
)
def test_mistakes_name_field_value_and_way_out(override: str, words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        compose(override)
    for word in words:
        assert word in str(error.value)


def test_a_field_goes_with_the_choices_that_have_it() -> None:
    """Hydra looks for it in the default choice of the group, which may not have it."""
    cells = compose("method=token_conditional,step_conditional", "method.trained_on=s1")
    assert [(c.cell.method.kind, c.cell.method.trained_on) for c in cells] == [
        ("token_conditional", "s1"),
        ("step_conditional", "s1"),
    ]
    quoted = compose("extrapolation=wait,hmm", "extrapolation.string='a,b'")
    assert [c.cell.extrapolation.string for c in quoted] == ["a,b", "a,b"]
