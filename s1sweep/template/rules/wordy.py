"""A subset rule of your own. Its source is part of the results' identity: change it, and the subset is made anew."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from s1sweep.data.rules import Entry, rule


@rule("wordy", draws_from="quality", seed=False)
def wordy(rows: Sequence[Entry], size: int, rng: random.Random, settings: Any) -> list[Entry]:
    """The rows whose thinking has the most steps; `row.read()` is the whole row. Ties go to the smaller id."""
    return sorted(rows, key=lambda row: (-(row.read().thinking or "").count(";"), row.id))[:size]
