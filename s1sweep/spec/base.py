"""What specs and placements are made of: the two types, and the annotations that change how a field is hashed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field


@dataclass(frozen=True)
class Excluded:
    """Field annotation: not part of the identity, for the reason given."""

    reason: str


@dataclass(frozen=True)
class Neutral:
    """Field annotation: absent from the identity while it equals `value`. Never change `value` once released."""

    value: Any


class Spec(BaseModel):
    """What defines a result."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), hide_input_in_errors=True)


class Where(BaseModel):
    """Where and on what it runs, or where it is shown. Cannot be hashed."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), hide_input_in_errors=True)


Location = Annotated[str | None, Excluded("the content's sha256 is an input of the stage instead")]
Name = Annotated[str, Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$")]
