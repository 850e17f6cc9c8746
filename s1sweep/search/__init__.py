"""Searches over a grid: rounds of more questions for the arms of which too little is known."""

from s1sweep.search.policy import Arm, Options
from s1sweep.search.rounds import Outcome, search

__all__ = ["Arm", "Options", "Outcome", "search"]
