"""What a curve, a set of samples or a pool of answers amounts to: one number each. Knows no cell, no file, no noise.

Points of a curve are (mean thinking tokens, accuracy in percent), in any order.
"""

from __future__ import annotations

from .at_k import g_pass_at_k, pass_at_k, pass_hat_k, short_m_latency
from .curve import (
    area_under_curve,
    control,
    monotonicity_violations,
    performance,
    saturation_point,
    scaling,
    slope_per_doubling,
)
from .length import Overshoot, overshoot, sample_control
from .pool import Expected, Sample
from .votes import best_of_n_at_k, maj_at_k, shortest_m_at_k, weighted_at_k

__all__ = [
    "Expected",
    "Overshoot",
    "Sample",
    "area_under_curve",
    "best_of_n_at_k",
    "control",
    "g_pass_at_k",
    "maj_at_k",
    "monotonicity_violations",
    "overshoot",
    "pass_at_k",
    "pass_hat_k",
    "performance",
    "sample_control",
    "saturation_point",
    "scaling",
    "short_m_latency",
    "shortest_m_at_k",
    "slope_per_doubling",
    "weighted_at_k",
]
