"""Statistics of a sweep: numbers in, numbers out. Knows no cell, no file and no table.

Scores are shares in [0, 1]. Questions are what a benchmark draws, so questions are what is resampled: a question goes
with all its samples, and arms and points of a curve go by the same questions.
"""

from __future__ import annotations

from .best import Best, Choice, best_of_curve, chosen_on_dev
from .bootstrap import Estimate, bootstrap_curve, curve_intervals, paired_bca, paired_bootstrap
from .curves import CurveRuns, contrast_curves
from .power import minimum_detectable, questions_needed
from .runs import Contrast, contrast_runs
from .sequence import confidence_sequence, exceeds
from .tests import Equivalence, benjamini_hochberg, equivalent, equivalent_to_published, holm, mcnemar_exact, sign_flip

__all__ = [
    "Best",
    "Choice",
    "Contrast",
    "CurveRuns",
    "Equivalence",
    "Estimate",
    "benjamini_hochberg",
    "best_of_curve",
    "bootstrap_curve",
    "chosen_on_dev",
    "confidence_sequence",
    "contrast_curves",
    "contrast_runs",
    "curve_intervals",
    "equivalent",
    "equivalent_to_published",
    "exceeds",
    "holm",
    "mcnemar_exact",
    "minimum_detectable",
    "paired_bca",
    "paired_bootstrap",
    "questions_needed",
    "sign_flip",
]
