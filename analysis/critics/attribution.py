"""Gains of training and of forcing told apart: a two-way layout over the same questions."""

from __future__ import annotations

import numpy as np

from .resample import Floats, mean

EFFECTS = ("training", "forcing", "interaction")


def effects(weights: Floats, values: Floats) -> Floats:
    """(draws, arms - 1, ways - 1, EFFECTS) of `values` (arms, ways, questions); arm 0 and way 0 are the baselines.

    Each of the 2 x 2 layouts {arm 0, arm a} x {way 0, way f}: the main effect of training is the mean over both ways of
    arm a less arm 0, that of forcing the mean over both arms of way f less way 0, and the interaction what forcing
    gains in arm a beyond what it gains in arm 0. The gain of both together is their sum: training + forcing.
    """
    if values.ndim != 3 or min(values.shape[:2]) < 2:
        raise ValueError(f"values are (arms, ways, questions) of two each at least, not {values.shape}")
    points = mean(weights, values)
    none, way = points[:, :1, :1], points[:, :1, 1:]
    arm, both = points[:, 1:, :1], points[:, 1:, 1:]
    training = ((arm - none) + (both - way)) / 2
    forcing = ((way - none) + (both - arm)) / 2
    return np.stack([training, forcing, (both - arm) - (way - none)], axis=-1)
