"""How long work takes, fitted from a store's finished runs: start-up plus size x tokens over a rate of each device.

Only runs of the same stage, kind of device and about the same model size (within a factor of two) speak for a run.
Knows records and lists of cells; not plans, prices, or how many tokens something will take.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from statistics import median, quantiles

from s1sweep.estimating.jobs import FinishedJob, finished_jobs
from s1sweep.store import Record, Store

NEAR = 2.0  # of model size
SINGLE = 2.0  # one run alone says no more than this, up or down
NEWEST = 100  # records read of each kind of stage
OF_A_CHECKPOINT = 3  # decode records read of each checkpoint: its engine session has many


@dataclass(frozen=True)
class FinishedRun:
    """A finished run: `seconds` in all for `tokens` by a model of so many `parameters` on `width` devices.

    `startup` is the part of it before and after the work, where the record tells them apart.
    """

    kind: str
    device: str
    parameters: float
    tokens: float
    width: int
    seconds: float
    startup: float | None = None

    @property
    def work(self) -> float:
        return self.parameters * self.tokens / self.width


@dataclass(frozen=True)
class Fit:
    """`startup` seconds, then `rate` parameters x tokens a second on each device.

    `error` is the median absolute relative error of a run predicted from the others; `low` and `high` are how much less
    and more than predicted runs took (10th and 90th percentile; of fewer than ten, the least and the greatest).
    """

    startup: float
    rate: float
    runs: int = 0
    error: float | None = None
    low: float = 1 / SINGLE
    high: float = SINGLE

    def seconds(self, work: float) -> float:
        return self.startup + work / self.rate


@dataclass
class CostModel:
    """Fits by stage, device and size, made when they are asked for."""

    runs: Sequence[FinishedRun] = ()
    _fits: dict[tuple[str, str, float], Fit | None] = field(default_factory=dict)

    def fit(self, kind: str, device: str, parameters: float) -> Fit | None:
        """None if no run speaks for it. `device` is `cpu`, `gpu` (any), or a part of a GPU's name."""
        key = kind, device, parameters
        if key not in self._fits:
            near = [run for run in self.runs if run.kind == kind and _same(device, run.device)]
            near = [run for run in near if 1 / NEAR <= run.parameters / parameters <= NEAR]
            self._fits[key] = fitted(near) if near else None
        return self._fits[key]


def fitted(runs: Sequence[FinishedRun]) -> Fit:
    """The fit of some runs, with its leave-one-out error. ValueError if there are none."""
    if not runs:
        raise ValueError("0 runs, at least 1 is needed")
    startup, rate = _line(runs)
    if len(runs) == 1:
        return Fit(startup, rate, 1)
    ratios = []
    for i, run in enumerate(runs):
        others = Fit(*_line([*runs[:i], *runs[i + 1 :]]))
        ratios.append(run.seconds / others.seconds(run.work))
    error = median(abs(1 / ratio - 1) for ratio in ratios)
    spread = quantiles(ratios, n=10) if len(ratios) >= 10 else sorted(ratios)
    return Fit(startup, rate, len(runs), error, min(1.0, spread[0]), max(1.0, spread[-1]))


def _line(runs: Sequence[FinishedRun]) -> tuple[float, float]:
    """Start-up and rate, as medians: of what records say of start-up, else by the median slope of pairs of runs
    (Theil 1950, Sen 1968).
    """
    known = [run.startup for run in runs if run.startup is not None]
    if known:
        startup = median(known)
    else:
        pairs = [(a, b) for a, b in combinations(runs, 2) if a.work != b.work]
        slope = median((b.seconds - a.seconds) / (b.work - a.work) for a, b in pairs) if pairs else 0.0
        startup = max(0.0, median(run.seconds - slope * run.work for run in runs)) if slope > 0 else 0.0
    # A run shorter than the usual start-up tells no rate.
    rates = [run.work / (run.seconds - startup) for run in runs if run.seconds > startup]
    return (startup, median(rates)) if rates else (0.0, median(run.work / run.seconds for run in runs))


def _same(wanted: str, device: str) -> bool:
    if "cpu" in (wanted, device) or wanted == "gpu":
        return (wanted == "cpu") == (device == "cpu")
    return wanted.lower() in device.lower()


def finished(store: Store) -> list[FinishedRun]:
    """The newest finished trainings and engine sessions of a store that a sweep names, sessions once each."""
    parameters, checkpoints = _named(store)
    trained = [name for name in checkpoints if name in parameters][:NEWEST]
    decoded = [name for decodes in checkpoints.values() for name in decodes[:OF_A_CHECKPOINT]][:NEWEST]
    runs = [run for record in filter(None, map(store.record, trained)) for run in _training(record, parameters)]
    sessions = finished_jobs(filter(None, map(store.record, decoded)))
    return [*runs, *(run for session in sessions for run in _session(session, parameters))]


def _named(store: Store) -> tuple[dict[str, float], dict[str, list[str]]]:
    """Model sizes of stages, and the decode stages of each checkpoint, those of the newest sweep first.

    Records hold no size, since it is of no result's identity; cells do.
    """
    parameters: dict[str, float] = {}
    checkpoints: dict[str, dict[str, None]] = {}
    for name in reversed(store.sweep_names()):
        for cell in store.sweep(name).cells():
            size, stages = cell.spec["model"]["parameters"], cell.stages
            checkpoints.setdefault(stages.get("train", f"base {size}"), {})[stages["decode"]] = None
            parameters[stages["decode"]] = size
            if cell.spec["train"]["kind"] == "sft":  # of GRPO, tokens do not tell the time
                parameters[stages["train"]] = size
        if len(checkpoints) >= NEWEST:
            break
    return parameters, {name: list(decodes) for name, decodes in checkpoints.items()}


def _training(record: Record, parameters: Mapping[str, float]) -> Iterator[FinishedRun]:
    cost = record.cost
    tokens, seconds = cost.get("tokens", 0), cost.get("train_seconds", 0.0)
    if tokens > 0 and seconds > 0:
        before = max(0.0, record.provenance.seconds - seconds)
        device = cost.get("device") or _device(record)
        yield FinishedRun(
            "train", device, parameters[record.id], tokens, cost.get("workers", 1), seconds + before, before
        )


def _session(session: FinishedJob, parameters: Mapping[str, float]) -> Iterator[FinishedRun]:
    last, seconds = session.last, session.seconds
    engine, tokens = last.cost.get("engine") or {}, last.cost.get("decoded_tokens", 0)
    if tokens > 0 and seconds > 0:
        device = engine.get("device") or _device(last)
        yield FinishedRun("decode", device, parameters[last.id], tokens, engine.get("tensor_parallel", 1), seconds)


def _device(record: Record) -> str:
    return "cpu" if record.provenance.environment.get("torch", "").endswith("+cpu") else "accelerator"
