"""What is kept: stages with their attempts and records, sweeps with their cells, over a directory or a URL."""

from s1sweep.store.attempts import CHECKPOINTS, LOG, PROGRESS, TIMING, Failure, FailureKind, HowFar, write_progress
from s1sweep.store.records import SCHEMA, Record, code_version, diff, environment, same_result
from s1sweep.store.store import CLEANER, RecordMismatch, Store
from s1sweep.store.sweeps import SavedCell, Sweep, SweepInfo

__all__ = [
    "CHECKPOINTS", "CLEANER", "LOG", "PROGRESS", "SCHEMA", "TIMING", "Failure", "FailureKind", "HowFar", "Record",
    "RecordMismatch", "SavedCell", "Store", "Sweep", "SweepInfo", "code_version", "diff", "environment", "same_result",
    "write_progress",
]  # fmt: skip
