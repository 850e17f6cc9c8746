"""The project that a command is given in: the nearest folder, at or above the working directory, with an s1sweep.toml.

Its conf/ adds choices to the packaged ones and replaces none. Knows no Hydra, and nothing of what choices mean.
"""

from __future__ import annotations

import os
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path

from s1sweep.errors import UserError, invalid

MARKER = "s1sweep.toml"
PACKAGED = Path(__file__).parent / "conf"
TEMPLATE = Path(__file__).parent / "template"
_KEYS = ("conf",)
_DOTTED = {"gitignore": ".gitignore"}  # a file of that name in the package would hide the template's own files from git


@dataclass(frozen=True)
class Project:
    """A folder, and the folder of its choices."""

    folder: Path
    conf: Path


def find(start: Path | None = None) -> Project | None:
    """The project around a folder, by default the working directory. Raises UserError if its marker is no good."""
    here = (start or Path.cwd()).absolute()
    folder = next((f for f in (here, *here.parents) if (f / MARKER).is_file()), None)
    if folder is None:
        return None
    marker = folder / MARKER
    try:
        given = tomllib.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f'{marker} cannot be read ({error}). Mend it: it holds conf = "conf".') from error
    for key in given:
        if key not in _KEYS:
            raise invalid(f"a key of {marker}", key, _KEYS)
    conf = folder / str(given.get("conf", "conf"))
    if not conf.is_dir():
        raise UserError(f"{marker}: conf={conf.name!r} is not a folder. Make it, or name the one with your choices.")
    return Project(folder, conf)


def enter() -> Project | None:
    """The project around the working directory, with paths that hold from anywhere below it.

    S1SWEEP_PROJECT becomes its folder, for paths in its conf/, and S1SWEEP_ROOT its store unless it is set.
    Raises UserError where a file of its conf/ has the name of a packaged one, which would silently win.
    """
    project = find()
    if project is None:
        return None
    for path in sorted(project.conf.rglob("*.yaml")):
        name = path.relative_to(project.conf)
        if (PACKAGED / name).exists():
            raise UserError(f"{path} has the name of a packaged choice, {name}. Give it another name.")
    os.environ["S1SWEEP_PROJECT"] = str(project.folder)
    os.environ.setdefault("S1SWEEP_ROOT", str(project.folder / "s1sweep-out"))
    return project


def create(folder: Path) -> list[Path]:
    """Write a new project's files into a folder that is empty or not there; the paths written, relative to it."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{str(folder)!r} is there and not empty. Give the name of a new folder.")
    files = sorted(p for p in TEMPLATE.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    written = []
    for source in files:
        name = source.relative_to(TEMPLATE)
        target = name.with_name(_DOTTED.get(name.name, name.name))
        try:
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / target)
        except OSError as error:
            raise UserError(f"{folder / target} cannot be written ({error.strerror}). Give another folder.") from error
        written.append(target)
    return written
