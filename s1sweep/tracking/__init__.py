"""The W&B mirror of a sweep, its report and its workspace: from records, never a source of results."""

from s1sweep.tracking.mirror import mode_of, publish

__all__ = ["mode_of", "publish"]
