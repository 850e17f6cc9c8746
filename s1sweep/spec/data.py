"""Specs of training data: pools and the rules that choose from them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from s1sweep.spec.base import Excluded, Location, Name, Spec


class PoolSpec(Spec):
    """Where training rows come from. `path: null` is the packaged testbed pool."""

    name: Annotated[Name, Excluded("a label; the file's sha256 is hashed")]
    path: Location


class DataSpec(Spec):
    """A subset rule of the s1 paper (section 2, Table 2) with its size and selection seed."""

    rule: Name
    size: Annotated[int, Field(ge=1)] | None
    seed: Annotated[int, Field(ge=0)]
