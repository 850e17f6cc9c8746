"""The docs are true: commands compose, messages are in the source, the reference is whole, links lead somewhere."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import BaseModel

from s1sweep.cli import main
from s1sweep.cli.store import store
from s1sweep.compose import cells_of
from s1sweep.spec import CellSpec, Placement, Tracking
from tests.helpers import ROOT
from tools import reference

DOCS = ROOT / "docs"
_COMMAND = re.compile(r"s1sweep (?:run|plan|inspect|doctor|prefetch) ((?:[^`#\n]|(?<=\S)#)+)")  # up to a comment
_PLACEHOLDER = re.compile(r"[A-Z]{3,}|\.\.\.|\{|--cfg|--force|mine|lab\b")


def commands() -> list[str]:
    """The overrides of every command of the pages that can be composed as it stands: no placeholder, no file of one's
    own.
    """
    pages = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
    found = {match.strip() for page in pages for match in _COMMAND.findall(page.read_text(encoding="utf-8"))}
    taken = {line for line in found if "=" in line and not _PLACEHOLDER.search(line)}
    files = ("config-dir", "pool=file", "mine.", "retry-failed", "riddles", "my_tasks", "\\")
    return sorted(line for line in taken if not any(word in line for word in files))


def test_there_are_commands_to_try() -> None:
    assert len(commands()) > 30


@pytest.mark.parametrize("line", commands())
def test_commands_compose(line: str) -> None:
    assert cells_of([word for word in shlex.split(line) if word != "--json"])


def test_every_command_has_its_place_on_the_page_and_one_line_of_help() -> None:
    shown = set(re.findall(r"`(?:s1sweep )?([a-z]+(?: [a-z]+)?)", (DOCS / "commands.md").read_text(encoding="utf-8")))
    said = CliRunner().invoke(main, ["--help"], terminal_width=80).output
    for name in main.commands:
        assert any(name == words.split()[0] for words in shown), name
        (line,) = re.findall(rf"^  {name} +(.+)$", said, re.M)
        assert line.endswith(".") and not line.endswith("..."), line
    assert {f"store {name}" for name in store.commands} <= shown


@cache
def messages() -> str:
    """Every text in the source, with … where a value goes; adjacent literals are one."""
    texts = []
    for path in [*(ROOT / "s1sweep").rglob("*.py"), *(ROOT / "analysis").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [p.value if isinstance(p, ast.Constant) else "…" for p in node.values]
                texts.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join(texts)


TROUBLES = re.findall(r"^### `(.+)`$", (DOCS / "troubleshooting.md").read_text(encoding="utf-8"), re.M)


@pytest.mark.parametrize("message", TROUBLES)
def test_each_message_is_one_that_the_source_says(message: str) -> None:
    assert message.rstrip("… ") in messages()


def test_the_reference_has_every_field_and_choice() -> None:
    page = reference.page()
    for group, field in CellSpec.model_fields.items():
        assert f"## `{group}`" in page
        for model in reference._models(field.annotation):
            missing = [name for name in model.model_fields if f"| `{name}` |" not in page]
            assert not missing, f"{model.__name__}: {missing}"
    for model in (Placement, Tracking):
        section = page.partition(f"### {model.__name__}\n")[2].partition("\n#")[0]
        assert all(f"| `{name}` |" in section for name in model.model_fields)
    for path in (ROOT / "conf").rglob("*/*.yaml"):
        assert f"| `{path.stem}` |" in page


def test_the_reference_says_what_counts() -> None:
    def row(model: type[BaseModel], field: str) -> str:
        section = reference.page().partition(f"### {model.__name__}\n")[2].partition("\n#")[0]
        return next(line for line in section.splitlines() if line.startswith(f"| `{field}` |"))

    cell = {name: field.annotation for name, field in CellSpec.model_fields.items()}
    data, sampling = (next(reference._models(cell[name])) for name in ("data", "sampling"))
    assert row(data, "size").endswith("| yes |") and "≥ 1 or null" in row(data, "size")
    assert "no: the content's sha256" in row(data, "path")
    assert "neutral at `{}`" in row(sampling, "params")
    assert row(Placement, "micro_batch").endswith("| no |") and "whole share" in row(Placement, "micro_batch")


def test_every_table_of_the_paper_has_its_line() -> None:
    page = (DOCS / "reproduce.md").read_text(encoding="utf-8")
    for path in (ROOT / "conf" / "experiment").glob("*.yaml"):
        if re.match(r"(table|fig)\d", path.stem):
            assert f"experiment={path.stem}`" in page and f"experiment={path.stem} scale=paper`" in page


def test_links_that_leave_the_docs_become_names(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    from tools import docs_site

    made = docs_site.link
    assert made("x", "../ARCHITECTURE.md#words", DOCS, "concepts.md") == "[x](architecture.md#words)"
    assert made("x", "docs/data.md", ROOT, "architecture.md") == "[x](data.md)"
    assert made("x", "../data.md#pools", DOCS / "guides", "guides/launcher.md") == "[x](../data.md#pools)"
    assert made("published", "../analysis/published", DOCS, "exhibits.md") == "`published`"
    assert made("x", "https://example.org", DOCS, "data.md") == "[x](https://example.org)"


@pytest.mark.skipif(importlib.util.find_spec("material") is None, reason="the docs extra is not installed")
def test_the_site_builds_and_every_link_leads_somewhere(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    home = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert "googleapis" not in home and "Quickstart" in home
    assert "placement.root" in (tmp_path / "site" / "troubleshooting.html").read_text(encoding="utf-8")


def test_a_dead_link_is_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("mkdocs")
    from tools import docs_site

    with caplog.at_level("WARNING", logger="mkdocs"):
        docs_site.link("x", "../no_such_file.md", DOCS / "guides", "guides/launcher.md")
        assert not caplog.records, "mkdocs itself says what is missing in docs/"
        docs_site.link("x", "../nowhere/at/all.py", DOCS, "data.md")
    assert "nowhere/at/all.py" in caplog.text
