"""Identities: whole, strict, stable. The golden ids are never edited; they are what old stores are found by."""

from __future__ import annotations

import json
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1sweep import spec as specs
from s1sweep.identity import digest, encode, hashed_fields, payload, stage_id
from s1sweep.spec import DataSpec, Neutral, Spec, Where, control, data
from tests.helpers import ROOT, compose

GOLDEN = json.loads((ROOT / "tests/golden/fields.json").read_text())


def classes(base: type) -> dict[str, type]:
    found = {**vars(control), **vars(data), **vars(specs)}
    return {n: c for n, c in found.items() if isinstance(c, type) and issubclass(c, base) and c is not base}


def test_every_field_is_classified() -> None:
    """A new field fails here until someone has said which side it is on: part of a result, or where it runs."""
    now = {
        "hashed": {name: hashed_fields(cls) for name, cls in classes(Spec).items()},
        "where": {name: sorted(cls.model_fields) for name, cls in classes(Where).items()},
    }
    assert now == GOLDEN


def test_placement_cannot_be_hashed() -> None:
    config = compose("data=random")[0]
    with pytest.raises(TypeError, match="Placement"):
        encode(config.placement)
    with pytest.raises(TypeError, match="Tracking"):
        payload("train", config.tracking, {}, {}, {})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"bytes", {1: "int key"}, {"set"}, object()])
def test_what_is_not_known_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        encode(value)


def test_golden_id() -> None:
    hashed = payload("select", DataSpec(rule="random", size=8, seed=1), {}, {"pool": "ab"}, {"select": 1})
    assert stage_id("random-8", hashed) == "select-random-8-e7af045f87ff"


def test_neutral_value_leaves_old_ids_alone() -> None:
    class Old(Spec):
        size: int

    class New(Spec):
        size: int
        shuffle: Annotated[bool, Neutral(False)]

    assert encode(New(size=3, shuffle=False)) == encode(Old(size=3))
    assert encode(New(size=3, shuffle=True)) != encode(Old(size=3))


def test_where_a_file_lies_is_not_identity(tmp_path) -> None:
    """Equal bytes at two paths are one pool; other bytes are another."""
    from s1sweep import testbed
    from s1sweep.planning import Plan
    from s1sweep.planning.axes import axes_of

    ids = []
    for name in ("a", "b"):
        copy = tmp_path / name / "pool.jsonl.gz"
        copy.parent.mkdir()
        copy.write_bytes(testbed.POOL.read_bytes())
        config = compose("data=random", "pool=file", f"pool.path={copy}")[0]
        ids.append(Plan().add(config.cell, axes_of(config)).stages)
    config = compose("data=random")[0]
    assert ids[0] == ids[1] == Plan().add(config.cell, axes_of(config)).stages


@given(
    st.dictionaries(
        st.text(min_size=1),
        st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False, allow_infinity=False),
    )
)
def test_digest_ignores_key_order(value: dict) -> None:
    assert digest(encode(value)) == digest(encode(dict(reversed(list(value.items())))))


def test_one_and_true_and_one_point_zero_differ() -> None:
    assert len({digest(encode(v)) for v in (1, True, 1.0, "1")}) == 4
