"""Unbiased estimates over subsets of k of a question's n samples, drawn without replacement: counts in, numbers out."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def pass_at_k(n: ArrayLike, c: ArrayLike, k: ArrayLike) -> Floats:
    """Chance that one of k samples is right, c of n being so: 1 - C(n-c, k) / C(n, k) (arXiv:2107.03374, eq. 1).

    Arrays broadcast. Raises ValueError unless 0 <= c <= n and 1 <= k <= n.
    """
    n, c, k = _counts(n, c, k)
    return 1 - _ratio(n - c, k, n, k)


def pass_hat_k(n: ArrayLike, c: ArrayLike, k: ArrayLike) -> Floats:
    """Chance that all of k samples are right, pass^k: C(c, k) / C(n, k) (arXiv:2406.12045)."""
    n, c, k = _counts(n, c, k)
    return _ratio(c, k, n, k)


def g_pass_at_k(n: ArrayLike, c: ArrayLike, k: ArrayLike, tau: float) -> Floats:
    """Chance that at least ceil(tau k) of k samples are right, and at least one (arXiv:2412.13147, eq. 3)."""
    from scipy.stats import hypergeom  # late: it takes a second

    if not 0 <= tau <= 1:
        raise ValueError(f"tau is a share in [0, 1], not {tau}")
    n, c, k = _counts(n, c, k)
    needed = np.maximum(np.ceil(tau * k - 1e-9), 1)
    return np.asarray(hypergeom.sf(needed - 1, n, c, k), dtype=float)


def subset_ratio(a: int, k: int, n: int) -> float:
    """Chance that k of n all are among a of them: C(a, k) / C(n, k)."""
    return math.comb(a, k) / math.comb(n, k)


def short_m_latency(tokens: ArrayLike, m: int, k: int) -> float:
    """Expected tokens until m of k parallel samples have finished: the mean m-th smallest over all k-subsets.

    `tokens` are those of a question's pool of samples. The i-th smallest of n is the m-th of a subset in
    C(i-1, m-1) C(n-i, k-m) of C(n, k) cases. What short-m@k (arXiv:2505.17813) waits for; leave out samples without an
    answer if they do not count as finished. Raises ValueError unless 1 <= m <= k <= n.
    """
    found = np.sort(np.asarray(tokens, dtype=float).ravel())
    n = len(found)
    if not 1 <= m <= k <= n:
        raise ValueError(f"needs 1 <= m <= k <= samples, not m={m}, k={k}, samples={n}")
    place = np.arange(1, n + 1)
    logs = _log_choose(place - 1, m - 1) + _log_choose(n - place, k - m) - _log_choose(n, k)
    return float(np.exp(logs) @ found)


def _counts(n: ArrayLike, c: ArrayLike, k: ArrayLike) -> tuple[Floats, Floats, Floats]:
    n, c, k = np.broadcast_arrays(*(np.asarray(value, dtype=float) for value in (n, c, k)))
    if ((c < 0) | (c > n) | (k < 1) | (k > n)).any():
        raise ValueError(f"needs 0 <= c <= n and 1 <= k <= n, not n={n}, c={c}, k={k}")
    return n, c, k


def _ratio(a: ArrayLike, i: ArrayLike, b: ArrayLike, j: ArrayLike) -> Floats:
    """C(a, i) / C(b, j), exactly 0 where i > a."""
    return np.asarray(np.exp(_log_choose(a, i) - _log_choose(b, j)))


def _log_choose(n: ArrayLike, k: ArrayLike) -> Floats:
    from scipy.special import gammaln

    n, k = np.asarray(n, dtype=float), np.asarray(k, dtype=float)
    possible = k <= n
    kept = np.where(possible, k, 0)
    return np.where(possible, gammaln(n + 1) - gammaln(kept + 1) - gammaln(n - kept + 1), -np.inf)
