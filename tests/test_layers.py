"""The layers of ARCHITECTURE.md: imports go downward, and heavy packages stay where they belong."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import ROOT

# Lower layers first; a file may import its own layer's package and anything above it in this list.
LAYERS = [
    [
        *("s1sweep.errors", "s1sweep.project", "s1sweep.typos", "s1sweep.spec"),
        *(f"s1sweep.runtime.{n}" for n in ("job", "policy", "machine", "preemption")),
    ],
    ["s1sweep.identity"],
    ["s1sweep.testbed"],
    ["s1sweep.sources.hub", "s1sweep.sources.lm_eval_tasks"],
    ["s1sweep.store.leases"],
    ["s1sweep.store.storage", "s1sweep.store.objects"],
    ["s1sweep.store", "s1sweep.sources.raw", "s1sweep.data.pool", "s1sweep.data.rules", "s1sweep.grading.graders"],
    ["s1sweep.sources", "s1sweep.decoding.readout", "s1sweep.decoding.engine"],
    ["s1sweep.sources.pins"],
    ["s1sweep.data", "s1sweep.training", "s1sweep.decoding", "s1sweep.grading", "s1sweep.template"],
    ["s1sweep.planning"],
    [
        *(f"s1sweep.{n}" for n in ("compose", "queue", "analysis", "launchers", "runtime", "simulation")),
        *(f"s1sweep.planning.{n}" for n in ("costmodel", "estimate", "remarks")),
        *("s1sweep.sources.prefetch", "s1sweep.store.upkeep", "s1sweep.store.archive"),
    ],
    ["s1sweep.tracking"],
    ["s1sweep.analysis.wandb_report", "s1sweep.analysis.wandb_save", "s1sweep.queue.mirror"],
    ["s1sweep.session", "s1sweep.search"],
    ["s1sweep.doctor"],
    ["s1sweep.api"],
    ["s1sweep.cli"],
]
HOMES = {
    "hydra": ["s1sweep.compose", "s1sweep.compose.composer", "hydra_plugins.s1sweep"],
    "omegaconf": ["s1sweep.compose", "s1sweep.compose.composer", "hydra_plugins.s1sweep"],
    "wandb": ["s1sweep.tracking", "s1sweep.analysis.wandb_save", "s1sweep.analysis.wandb_results"],
    "wandb_workspaces": ["s1sweep.analysis.wandb_report"],
    "ray": ["s1sweep.runtime.ray_backend", "s1sweep.launchers"],
    "vllm": ["s1sweep.decoding.vllm_engine", "s1sweep.testbed"],
    "lm_eval": ["s1sweep.sources.lm_eval_tasks"],
    "httpx": ["s1sweep.decoding.openai_engine"],
    "torch": ["s1sweep.training", "s1sweep.decoding.vllm_engine", "s1sweep.testbed"],
    "trl": ["s1sweep.training"],
    "transformers": ["s1sweep.training", "s1sweep.data.curation.length", "s1sweep.decoding.chat", "s1sweep.testbed"],
    "huggingface_hub": ["s1sweep.sources.hub"],
    "datasets": ["s1sweep.sources.hub", "s1sweep.training"],
    "pyarrow": [
        *("s1sweep.sources.raw", "s1sweep.sources.tasks", "s1sweep.training.encode"),
        *("s1sweep.analysis.grades", "s1sweep.analysis.frame", "s1sweep.store.archive"),
    ],
    "matplotlib": ["s1sweep.analysis.plots"],
    "jinja2": ["s1sweep.analysis.modelcard", "s1sweep.analysis.report", "s1sweep.analysis.datacards"],
    "click": ["s1sweep.cli"],
    "fsspec": ["s1sweep.store.objects"],
}
FILES = sorted(
    path for name in ("s1sweep", "analysis", "launchers", "hydra_plugins") for path in (ROOT / name).rglob("*.py")
)


def module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return f"s1sweep.{name}" if name.startswith(("analysis", "launchers")) else name


MODULES = {module(path) for path in FILES}


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = names & MODULES
            found |= modules if modules == names else {node.module, *names}
    return found


def layer(name: str) -> int | None:
    """The layer of the longest listed prefix of a module's name."""
    best: tuple[int, int] | None = None
    for i, members in enumerate(LAYERS):
        for member in members:
            if (name == member or name.startswith(member + ".")) and (best is None or len(member) > best[0]):
                best = len(member), i
    return None if best is None else best[1]


@pytest.mark.parametrize("path", FILES, ids=module)
def test_imports_go_downward(path: Path) -> None:
    own = layer(module(path))
    if module(path) in ("s1sweep", "hydra_plugins.s1sweep"):
        return
    assert own is not None, f"{module(path)} has no layer: add it to LAYERS and ARCHITECTURE.md"
    for name in imports(path):
        theirs = layer(name)
        assert theirs is None or theirs <= own, f"{module(path)} imports upward: {name}"


@pytest.mark.parametrize("path", FILES, ids=module)
def test_heavy_packages_stay_home(path: Path) -> None:
    for name in imports(path):
        homes = HOMES.get(name.split(".")[0])
        inside = homes is None or any(module(path) == h or module(path).startswith(h + ".") for h in homes)
        assert inside, f"{module(path)} imports {name}; it belongs to {homes}"


def test_the_light_commands_import_nothing_heavy(root: Path) -> None:
    """plan, status and results work where torch, vLLM, Ray, W&B and pandas are not installed."""
    code = """
import sys
banned = {"torch", "vllm", "ray", "trl", "transformers", "wandb", "pandas", "numpy", "matplotlib", "scipy", "datasets"}
banned |= {"fsspec", "s3fs", "boto3", "pyarrow"}
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in banned:
            raise ImportError(f"{name} is not in a light install")
sys.meta_path.insert(0, Refuse())
from s1sweep.cli import main
try:
    main(sys.argv[1:])
except SystemExit as e:
    sys.exit(e.code)
"""
    for arguments, rc in [
        (["plan", "-m", "experiment=quickstart"], 0),
        (["ls"], 0),
        (["status"], 2),
        (["results"], 2),
        (["show"], 2),
        (["completion", "zsh"], 0),
        (["init", str(root.parent / "mine")], 0),
    ]:
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == rc, done.stderr
        assert "Traceback" not in done.stderr
