"""The docs site's own part, an mkdocs hook: pages made from what stands elsewhere, and links that leave docs/.

A link to a file of the repository that is no page becomes its name; one to nothing fails the build, as mkdocs fails on
links within docs/. Knows nothing of what pages say.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tools import reference  # noqa: E402

DOCS = ROOT / "docs"
PAGES = {
    "architecture.md": "ARCHITECTURE.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "measurements.md": "benchmarks/RESULTS.md",
}
_LINK = re.compile(r"(?<!!)\[([^]\n]+)\]\(([^)\s]+)\)")
log = logging.getLogger("mkdocs.hooks.s1sweep")


def on_files(files: Any, config: Any) -> Any:
    """Pages whose text is kept elsewhere, and the configuration reference, made anew at each build."""
    for uri, source in PAGES.items():
        files.append(File.generated(config, uri, content=(ROOT / source).read_text(encoding="utf-8")))
    files.append(File.generated(config, "reference.md", content=reference.page()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    uri = page.file.src_uri
    home = (ROOT / PAGES[uri]).parent if uri in PAGES else (DOCS / uri).parent
    return _LINK.sub(lambda found: link(found[1], found[2], home, uri), markdown)


def link(text: str, target: str, home: Path, uri: str) -> str:
    """A link of the page `uri`, written in the folder `home`, as it must read on the site."""
    path, _, anchor = target.partition("#")
    if not path or "://" in target or target.startswith("mailto:"):
        return f"[{text}]({target})"
    file = (home / path).resolve()
    made = {ROOT / source: DOCS / page for page, source in PAGES.items()}
    page = made.get(file, file)
    if page.is_relative_to(DOCS):
        there = os.path.relpath(page, (DOCS / uri).parent)
        return f"[{text}]({there}{'#' + anchor if anchor else ''})"  # mkdocs says if it is not there
    if not file.exists() or not file.is_relative_to(ROOT):
        log.warning("%s links to %s, which is not in the repository", uri, target)
    return text if text.startswith("`") else f"`{text}`"
