"""What a searching sweep found, as it is kept in the sweep's folder, and as a table. Knows neither cells nor rounds."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.table import Table

from s1sweep.store import Sweep

from .tables import percent

SEARCH = "search.json"


def write(sweep: Sweep, found: dict[str, Any]) -> None:
    text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    sweep.store.files.replace(f"sweeps/{sweep.name}/{SEARCH}", text.encode())


def read(sweep: Sweep) -> dict[str, Any] | None:
    """The outcome of the sweep's last search; None if it was none."""
    data = sweep.store.files.read(f"sweeps/{sweep.name}/{SEARCH}")
    return None if data is None else json.loads(data)


def show(found: dict[str, Any], console: Console | None = None) -> None:
    """Print each arm with its interval and why it stopped, and what the intervals mean."""
    console = console or Console(highlight=False)
    table = Table("arm", title="The search", title_justify="left")
    for name in ("questions", "accuracy %", "tokens"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("stopped: why")
    for arm in found["arms"]:
        interval = f"{percent(arm['accuracy'])} [{percent(arm['low'])}, {percent(arm['high'])}]"
        asked = f"{arm['questions']:,} of {arm['population']:,}"
        row = (arm["arm"], asked, interval, f"{arm['answer_tokens']:,}", arm["why"])
        table.add_row(*(text.replace("[", "\\[") for text in row))
    console.print(table)
    for line in notes(found):
        console.print(line, style="dim", markup=False, soft_wrap=not console.is_terminal)


def notes(found: dict[str, Any]) -> list[str]:
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
