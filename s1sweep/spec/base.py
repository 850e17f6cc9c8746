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


@dataclass(frozen=True)
class OnDisk:
    """Field annotation: each text in it is a file or folder of the user's, so a submission has to bring it along.

    Not so a name that ships with the package (`packaged`); where `folder`, what is no folder here is the hub's.
    """

    packaged: tuple[str, ...] = ()
    folder: bool = False


class Spec(BaseModel):
    """What defines a result."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), hide_input_in_errors=True)


class Where(BaseModel):
    """Where and on what it runs, or where it is shown. Cannot be hashed."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), hide_input_in_errors=True)


Location = Annotated[str | None, Excluded("the content's sha256 is an input of the stage instead"), OnDisk()]
TESTBED = "testbed"  # the source of the model, of the scorer and of the tokenizer that ship
Name = Annotated[str, Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$")]
