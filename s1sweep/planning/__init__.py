"""Cells to stages: a DAG in which equal stages are one, and every mistake that can be seen without running."""

from s1sweep.planning.known import KnownIds
from s1sweep.planning.plan import Plan
from s1sweep.planning.stage import KINDS, Cell, Stage

__all__ = ["KINDS", "Cell", "KnownIds", "Plan", "Stage"]
