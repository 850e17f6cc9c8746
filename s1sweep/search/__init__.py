"""Searches over a grid: rounds of more questions for the arms of which too little is known."""

from s1sweep.search.policy import Options, SearchArm
from s1sweep.search.rounds import SearchOutcome, search

__all__ = ["Options", "SearchArm", "SearchOutcome", "search"]
