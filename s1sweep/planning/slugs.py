"""The readable parts of stage ids. No label but a model's name is in one: slugs are part of what inputs are called."""

from __future__ import annotations

from s1sweep.spec import COMPUTE, DataSpec, ExtrapolationSpec, ForcedSpec, MethodSpec, PoolSpec

SHORT = {"token_conditional": "tcc", "step_conditional": "scc", "class_conditional": "ccc"}  # as in the paper


def pool_slug(pool: PoolSpec) -> str:
    """`s1K` of `simplescaling/s1K`."""
    return (pool.hub or "file").rsplit("/", 1)[-1]


def data_slug(data: DataSpec) -> str:
    """`random-1000-seed1`."""
    return data.rule + (f"-{data.size}" if data.size else "") + (f"-seed{data.seed}" if data.seed else "")


def method_slug(method: MethodSpec, extrapolation: ExtrapolationSpec) -> str:
    """Short and readable: what differs most often between the stages of a task."""
    parts: list[str] = [] if method.kind == "budget_forcing" else [SHORT.get(method.kind, method.kind)]
    if isinstance(method, ForcedSpec):
        parts += [] if method.dialect == "s1_harness" else [method.dialect]
        strings = "-".join(s.strip() or "empty" for s in extrapolation.strings)
        parts.append(f"{strings}-x{extrapolation.num_ignore}" if extrapolation.num_ignore else "none")
    parts += [str(value) for group, name in COMPUTE if group == "method" and (value := getattr(method, name, None))]
    parts += ["forced"] if getattr(method, "force_steps", False) else []
    return "-".join(parts)
