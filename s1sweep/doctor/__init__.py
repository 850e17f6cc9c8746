"""Whether a sweep can run on this machine, and what to do where it cannot: `s1sweep doctor`."""

from s1sweep.doctor.base import Asked, CheckResult
from s1sweep.doctor.checks import CHECKS, ask, can_run, examine

__all__ = ["CHECKS", "Asked", "CheckResult", "ask", "can_run", "examine"]
