"""The two kinds of failure a person meets: their own mistake, and a stage that failed.

Programmer errors are neither; they raise as usual.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping


class UserError(Exception):
    """Something the user must mend before any work starts. Printed without a traceback; exit code 2."""


class StoreUnavailable(UserError):
    """The store cannot be read or written now: no space, no permission, no answer. Nothing in it is half-written."""


class SweepFailed(Exception):
    """Some stages failed while the rest of the run went on; `failed` is why, by stage. Exit code 1."""

    def __init__(self, message: str, failed: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.failed = dict(failed or {})


def nearest(value: str, valid: Iterable[str]) -> str:
    """` Did you mean 'x'?`, or an empty string if nothing is close."""
    close = difflib.get_close_matches(value, list(valid), n=1)
    return f" Did you mean '{close[0]}'?" if close else ""


def invalid(field: str, value: object, valid: Iterable[str], todo: str = "") -> UserError:
    """The error for a value outside a closed set: names the field, the value, the valid ones and what to do."""
    names = sorted(valid)
    text = f"{field}={value!r} is not valid. Valid: {', '.join(names)}.{nearest(str(value), names)}"
    return UserError(f"{text} {todo}".rstrip())
