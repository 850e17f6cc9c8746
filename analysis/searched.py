"""What a searching sweep found: a file in the sweep's folder, and an exhibit. Knows neither cells nor rounds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from s1sweep.store import Sweep

if TYPE_CHECKING:
    from .exhibits.base import Exhibit

SEARCH = "search.json"
COLUMNS = ("arm", "questions", "accuracy, %", "at least", "at most", "tokens", "stopped: why")


def write(sweep: Sweep, found: dict[str, Any]) -> None:
    text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    sweep.store.files.replace(f"sweeps/{sweep.name}/{SEARCH}", text.encode())


def read(sweep: Sweep) -> dict[str, Any] | None:
    """The outcome of the sweep's last search; None if it was none."""
    data = sweep.store.files.read(f"sweeps/{sweep.name}/{SEARCH}")
    return None if data is None else json.loads(data)


def exhibit(found: dict[str, Any]) -> Exhibit:
    """Each arm with its interval and why it stopped, and what the intervals mean."""
    from .exhibits.base import Exhibit, Number, Table, TableRow  # late: `plan` reads searches without numpy

    rows = []
    for arm in found["arms"]:
        asked = f"{arm['questions']:,} of {arm['population']:,}"
        shares = (Number(100 * arm[name]) for name in ("accuracy", "low", "high"))
        rows.append(TableRow((arm["arm"], asked, *shares, Number(arm["answer_tokens"], "tokens"), arm["why"])))
    table = Table("Arms of the grid", COLUMNS, tuple(rows), tuple(_notes(found)))
    return Exhibit("search", "The search", "", "How much was asked of each arm, and why no more.", (table,))


def _notes(found: dict[str, Any]) -> list[str]:
    """What was spent, and what may be made of the intervals."""
    options, rounds = found["options"], found["rounds"]
    budget, spent = options["token_budget"], found["decoded_tokens"]
    of = "" if budget is None else f" of a budget of {budget:,.0f}"
    over = (
        "" if budget is None or spent <= budget else f": {spent - budget:,.0f} more, since a round took more than usual"
    )
    return [
        f"Spent: {spent:,} decoded tokens{of} in {len(rounds)} round{'' if len(rounds) == 1 else 's'}{over}. Tokens in "
        "the table are of each arm as if alone; the sum here has what arms share once.",
        f"With {100 * (1 - options['alpha']):g} % confidence all of these intervals hold together, at every look, and "
        "with them all that is called beaten. Each is of the arm's accuracy on all questions of its task, which a run "
        "without a search would give.",
        "The arm that looks best was chosen by the same answers, so its accuracy is likely too high: quote its "
        "interval, which holds for it too.",
    ]
