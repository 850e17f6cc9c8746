"""Cells to stages: a DAG in which equal stages are one, and every mistake that can be seen without running."""

from s1sweep.planning.plan import KINDS, Cell, Plan, Stage

__all__ = ["KINDS", "Cell", "Plan", "Stage"]
