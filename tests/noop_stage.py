"""A stage for tests of the scheduler: writes one file, or fails as its spec says."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from s1sweep.identity import payload, stage_id
from s1sweep.planning import Stage
from s1sweep.spec import Spec
from s1sweep.store import write_progress

KIND = "tests.noop_stage"


class Noop(Spec):
    name: str
    mode: Literal["ok", "bug", "oom", "die", "die_once", "slow", "wait", "hang", "hang_once"] = "ok"
    mark: str = ""
    seconds: float = 0.0


def run(spec: Noop, inputs: Mapping[str, Path], out: Path, **_: Any) -> dict[str, Any]:
    print(f"running {spec.name} in {os.readlink('/proc/self/ns/net')}")
    for path in inputs.values():
        assert (path / "out.txt").exists(), "an input must be finished"
    if spec.mode == "bug":
        raise ValueError(spec.mark or "a planted bug")
    if spec.mode == "oom":
        raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
    if spec.mode == "die" or (spec.mode == "die_once" and not Path(spec.mark).exists()):
        if spec.mark:
            Path(spec.mark).touch()
        os._exit(1)
    if spec.mode == "hang" or (spec.mode == "hang_once" and not Path(spec.mark).exists()):
        if spec.mark:
            Path(spec.mark).touch()
        write_progress(out, done=1, total=2)
        time.sleep(600)
    if spec.mode == "slow":
        time.sleep(60)
    while spec.mode == "wait" and not Path(spec.mark).exists():
        time.sleep(0.1)
    time.sleep(spec.seconds)
    if spec.mode == "ok" and spec.mark:
        with open(spec.mark, "a") as f:
            f.write(f"{spec.name}\n")
    (out / "out.txt").write_text(
        spec.name + "".join(sorted(p.read_text() for p in (i / "out.txt" for i in inputs.values())))
    )
    return {"name": spec.name}


def stage(name: str, *inputs: Stage, mode: str = "ok", mark: str = "", seconds: float = 0.0, kind: str = KIND) -> Stage:
    spec = Noop(name=name, mode=mode, mark=mark, seconds=seconds)  # type: ignore[arg-type]
    named = {f"in{i}": s.id for i, s in enumerate(inputs)}
    hashed = payload(kind, spec, named, {}, {"noop": 1})
    return Stage(stage_id(name, hashed), kind, spec, named, hashed)
