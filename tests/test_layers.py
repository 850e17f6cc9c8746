"""The layers of ARCHITECTURE.md: imports go downward, and heavy packages stay where they belong."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import ROOT

# From the bottom up: a folder (or single module) imports only from itself and from those before it.
LAYERS = (
    *("errors", "typos", "project", "testbed", "spec", "identity", "policy", "answers", "store", "stages", "servers"),
    *("sources", "decoding", "grading", "data", "training", "planning", "compose", "runtime", "simulation"),
    *("estimating", "analysis", "launchers", "tracking", "queue", "search", "session", "doctor", "api", "cli"),
)
OUTSIDE = (
    "template",
    "hydra_plugins",
)  # nothing imports these: files for users to edit, and what Hydra finds by itself
HOMES = {
    "hydra": ["compose", "hydra_plugins"],
    "omegaconf": ["compose", "hydra_plugins"],
    "wandb": ["tracking"],
    "wandb_workspaces": ["tracking"],
    "ray": ["runtime", "launchers"],
    "vllm": ["decoding", "testbed"],
    "lm_eval": ["sources"],
    "httpx": ["servers"],
    "torch": ["training", "decoding", "testbed"],
    "trl": ["training"],
    "transformers": ["training", "data", "decoding", "testbed"],
    "huggingface_hub": ["sources"],
    "datasets": ["sources", "training"],
    "pyarrow": ["sources", "training", "analysis", "store"],
    "matplotlib": ["analysis"],
    "jinja2": ["analysis"],
    "click": ["cli"],
    "fsspec": ["store"],
}
ONE_FILE = {  # packages that a single file imports
    "ray": "s1sweep.runtime.ray_backend",
    "vllm": "s1sweep.decoding.engines.vllm",
    "lm_eval": "s1sweep.sources.lm_eval_tasks",
    "huggingface_hub": "s1sweep.sources.hub",
    "fsspec": "s1sweep.store.objects",
    "matplotlib": "s1sweep.analysis.plots",
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


def folder(name: str) -> str:
    """The folder or single module below the package that a module belongs to."""
    first, _, rest = name.partition(".")
    return rest.partition(".")[0] if first == "s1sweep" else first


def test_every_folder_has_its_place() -> None:
    there = {folder(name) for name in MODULES} - {""}
    assert there == {*LAYERS, *OUTSIDE}, "add the folder to LAYERS here and to ARCHITECTURE.md"


@pytest.mark.parametrize("path", FILES, ids=module)
def test_imports_go_downward(path: Path) -> None:
    own = folder(module(path))
    below = LAYERS if own in OUTSIDE else LAYERS[: LAYERS.index(own) + 1] if own else ("api",)
    for name in imports(path):
        theirs = folder(name)
        if name in MODULES or theirs in LAYERS:
            assert not theirs or theirs in below or theirs == own, f"{module(path)} imports upward: {name}"


@pytest.mark.parametrize("path", FILES, ids=module)
def test_heavy_packages_stay_home(path: Path) -> None:
    name = module(path)
    for package in {imported.split(".")[0] for imported in imports(path)} & HOMES.keys():
        assert folder(name) in HOMES[package], f"{name} imports {package}; it belongs to {HOMES[package]}"
        only = ONE_FILE.get(package)
        if only is not None and folder(name) == folder(only):
            assert name == only, f"{name} imports {package}; only {only} does"


RAW = {  # what only one module may do: pattern of the source -> that module
    r"""(\[|\.(get|pop)\()["'](result|provenance)["']""": "s1sweep.store.records",
    r"""\.(startswith|removeprefix)\(\(?f?["'](pool|curate|select|train|decode|grade)-|\.(split|partition)\(["']-""": (
        "s1sweep.identity"
    ),
}


def raw(text: str) -> list[str]:
    """Modules to which some of a source text belongs."""
    return [home for pattern, home in RAW.items() if re.search(pattern, text)]


@pytest.mark.parametrize("path", [*FILES, *(ROOT / "benchmarks").glob("*.py")], ids=module)
def test_records_and_ids_are_read_in_one_place(path: Path) -> None:
    """A record is read by its fields, not by the keys of its JSON, and what an id says by `identity.kind_of`."""
    assert set(raw(path.read_text())) <= {module(path)}


@pytest.mark.parametrize(
    ("text", "home"),
    [
        ('record["result"]["summary"]', "s1sweep.store.records"),
        ("record.get('provenance', {})", "s1sweep.store.records"),
        ('name.split("-", 1)[0]', "s1sweep.identity"),
        ('stage.startswith("grade-")', "s1sweep.identity"),
        ("select_id.removeprefix('select-')", "s1sweep.identity"),
    ],
)
def test_reading_them_elsewhere_is_found(text: str, home: str) -> None:
    assert raw(text) == [home]


def test_a_public_class_name_has_one_meaning() -> None:
    places: dict[str, list[str]] = {}
    for path in FILES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(module(path))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


@pytest.mark.parametrize("path", [path for path in FILES if path.name == "__init__.py"], ids=module)
def test_a_door_holds_no_behaviour(path: Path) -> None:
    """What a folder does is in its modules; its `__init__.py` names what others may use."""
    lines = path.read_text().splitlines()
    assert len(lines) <= 60, f"{len(lines)} lines"


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
