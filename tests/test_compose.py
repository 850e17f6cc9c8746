"""Composition: Hydra's own semantics, faster, and messages a person can act on."""

from __future__ import annotations

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from s1sweep.compose import CONF
from s1sweep.errors import UserError
from tests.helpers import compose

AXES = {
    "data": ["random", "diverse", "s1k", "full"],
    "extrapolation": ["none", "wait", "empty"],
    "task": ["tiny_calc", "tiny_choice"],
    "train": ["tiny", "none"],
    "method.max_thinking_tokens": ["8", "64"],
    "data.seed": ["0", "3"],
    "extrapolation.num_ignore": ["1", "4"],
    "sampling.seed": ["0", "7"],
    "name": ["x", "y-1"],
}


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.fixed_dictionaries({}, optional={k: st.sampled_from(v) for k, v in AXES.items()}))
def test_a_cell_is_what_hydra_composes(choice: dict[str, str]) -> None:
    overrides = [f"{k}={v}" for k, v in choice.items()]
    ours = compose(*overrides)[0]
    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF.resolve())):
        theirs = OmegaConf.to_container(hydra_compose("config", overrides), resolve=True)
    assert isinstance(theirs, dict)
    for group in ("pool", "data", "extrapolation", "method", "model", "train", "task", "sampling"):
        assert getattr(ours.cell, group) == type(getattr(ours.cell, group)).model_validate(theirs[group])
    assert ours.name == theirs["name"]
    assert ours.placement == type(ours.placement).model_validate(theirs["placement"])


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
