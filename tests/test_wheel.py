"""Wheel and sdist: built from the clone, they hold what runs and nothing else, and a plan works in an empty venv."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from tests.helpers import ROOT

pytestmark = pytest.mark.slow


def run(*command: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "S1SWEEP_ROOT", "PYTHONHOME")}
    return subprocess.run(
        command, cwd=cwd, env={**clean, **env}, capture_output=True, text=True, timeout=500, check=False
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel, built from the sdist, built from a copy of what git knows."""
    if importlib.util.find_spec("build") is None:
        pytest.skip("needs the package `build`")
    copy, out = tmp_path_factory.mktemp("copy") / "s1sweep", tmp_path_factory.mktemp("dist")
    copy.mkdir()
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT).stdout.split("\0")
    for name in filter(None, listed):
        source, target = ROOT / name, copy / name
        if not source.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            target.symlink_to(source.readlink())
        else:
            target.write_bytes(source.read_bytes())
    done = run(sys.executable, "-m", "build", "--outdir", str(out), str(copy), cwd=out)
    if done.returncode != 0 and "No matching distribution" in done.stdout + done.stderr:
        pytest.skip("the build backend cannot be had here")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return out


def packaged() -> set[str]:
    """Every file of the package in the clone, as it is named in a wheel."""
    found = set()
    for top in ("s1sweep", "hydra_plugins"):
        for folder, _, files in os.walk(ROOT / top, followlinks=True):
            found |= {
                (Path(folder) / name).relative_to(ROOT).as_posix() for name in files if "__pycache__" not in folder
            }
    return found


def test_the_wheel_holds_the_package_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}
    inside = {name for name in names if ".dist-info/" not in name}
    missing = {name for name in packaged() - inside if not name.endswith((".md", ".gitkeep"))}
    assert not missing and not inside - packaged()
    for name in ("s1sweep/py.typed", "s1sweep/conf/config.yaml", "s1sweep/conf/experiment/quickstart.yaml"):
        assert name in inside
    assert any(name.startswith("s1sweep/testbed/assets/") and name.endswith(".safetensors") for name in inside)
    assert "s1sweep/analysis/templates/report.html" in inside and "hydra_plugins/__init__.py" not in inside
    assert {name for name in names if "dist-info/licenses" in name}


def test_the_sdist_holds_no_tests(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = [member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()]
    tops = {name.split("/")[0] for name in names}
    assert tops <= {
        *("s1sweep", "hydra_plugins", "s1sweep.egg-info", "pyproject.toml", "setup.cfg", "README.md", "LICENSE"),
        *("PKG-INFO", "MANIFEST.in", "CHANGELOG.md", "constraints.txt"),
    }
    assert {"s1sweep/conf/config.yaml", "LICENSE", "CHANGELOG.md"} <= set(names)


@pytest.mark.long
def test_a_plan_in_an_empty_venv_outside_the_clone(built: Path, tmp_path: Path) -> None:
    """Light dependencies only; the same plan as in the clone."""
    (wheel,) = built.glob("*.whl")
    place = tmp_path / "venv"
    venv.create(place, with_pip=True)
    python, command = str(place / "bin/python"), str(place / "bin/s1sweep")
    installed = run(python, "-m", "pip", "install", "--quiet", str(wheel), cwd=tmp_path)
    if installed.returncode != 0 and "No matching distribution" in installed.stderr:
        pytest.skip("dependencies cannot be had here")
    assert installed.returncode == 0, installed.stderr
    there = run(python, "-c", "import s1sweep, sys; print(s1sweep.__file__)", cwd=tmp_path)
    assert str(place) in there.stdout
    grid = ("plan", "--json", "-m", "experiment=quickstart")
    planned = run(command, *grid, cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr
    here = run(sys.executable, "-m", "s1sweep.cli", *grid, cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert planned.stdout == here.stdout and '"cells"' in planned.stdout
    listed = run(python, "-m", "pip", "list", "--format=freeze", cwd=tmp_path).stdout.lower()
    assert not [heavy for heavy in ("torch", "vllm", "ray", "pandas", "numpy") if f"\n{heavy}==" in f"\n{listed}"]
    api = run(python, "-c", "from s1sweep import plan; print(plan('experiment=quickstart').cells)", cwd=tmp_path)
    assert api.stdout.strip().isdigit(), api.stderr
    for more in (["--help"], ["run", "--cfg", "job"], ["ls"], ["inspect", "--help"]):
        assert run(command, *more, cwd=tmp_path).returncode == 0
    assert not list(tmp_path.glob("s1sweep-out"))


def test_every_pin_admits_the_oldest_python() -> None:
    """Debian 12 has 3.11.2: a pin that wants a later patch breaks the set-up there, with no word about Python."""
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        name, _, version = line.partition("==")
        if version:
            with suppress(metadata.PackageNotFoundError):  # pins of other systems
                wants = metadata.distribution(name).metadata.get("Requires-Python")
                assert wants is None or SpecifierSet(wants).contains("3.11.0"), f"{line} wants Python {wants}"
