"""s1sweep: distributed sweeps and ablations for simple test-time scaling.

`from s1sweep import plan, run, results` is the command line for Python; see `s1sweep.api`. They are imported when they
are asked for, so that `import s1sweep` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from s1sweep.api import Finished, PlanSummary, plan, results, run

__version__ = "0.1.0"
__all__ = ["Finished", "PlanSummary", "__version__", "plan", "results", "run"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from s1sweep import api

        return getattr(api, name)
    raise AttributeError(f"module 's1sweep' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
