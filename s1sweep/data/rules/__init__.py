"""The subset rules that ship, and rules in files of the user's own."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from s1sweep.data.rules import domains, plain, s1k
from s1sweep.data.rules.base import VERSION, NoSettings, Rule, rule
from s1sweep.errors import UserError, invalid
from s1sweep.spec import DataSpec
from s1sweep.stages.rows import Entry, Row

RULES: dict[str, Rule] = {
    found.name: found
    for found in (
        *(plain.full, plain.random, plain.random_difficult, plain.longest, plain.shortest),
        *(domains.diverse, domains.domain_quota, s1k.s1k, s1k.s1k_notebook),
    )
}


def rule_of(data: DataSpec) -> Rule:
    """The rule that a spec names. Raises UserError if there is none, or the user's file does not give it."""
    if data.path is not None:
        return _own(Path(data.path).expanduser(), data.rule)
    if data.rule not in RULES:
        raise invalid("data.rule", data.rule, RULES, "Or give one of your own: data.rule=FILE.py:NAME.")
    return RULES[data.rule]


def _own(path: Path, name: str) -> Rule:
    shown = f"data.rule='{path}:{name}'"
    spec = importlib.util.spec_from_file_location(f"s1sweep_rule_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UserError(f"{shown}: {path} is not a Python file. Give data.rule=FILE.py:NAME.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as e:  # whatever the user's file raises is theirs to mend
        raise UserError(f"{shown}: {path} cannot be imported: {type(e).__name__}: {e}.") from e
    found = getattr(module, name, None)
    if not isinstance(found, Rule):
        rules = sorted(n for n, value in vars(module).items() if isinstance(value, Rule))
        raise UserError(f"{shown}: {name} is no rule made with @rule there. Rules there: {', '.join(rules) or 'none'}.")
    return found


__all__ = ["RULES", "VERSION", "Entry", "NoSettings", "Row", "Rule", "rule", "rule_of"]
