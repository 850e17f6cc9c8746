"""The notebook of docs/notebooks, run from its first cell to its last on a sweep that was made up."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tests.test_analysis import fabricate

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
NOTEBOOK = ROOT / "docs" / "notebooks" / "analysis.ipynb"


def test_the_notebook_ships_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code and not any(cell.outputs or cell.execution_count for cell in code)
    assert NOTEBOOK.stat().st_size < 20_000


def test_the_notebook_runs(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fabricate(
        root,
        *("data=random,s1k", "extrapolation=none,wait", "task=tiny_calc", "task.limit=30"),
        "method.max_thinking_tokens=32,64,128",
        skill=lambda cell, _: 0.9 if cell.data.rule == "s1k" else 0.2,
    )
    kernel = tmp_path / "share" / "kernels" / "python3"  # this interpreter's, not one that is installed elsewhere
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text(
        json.dumps(
            {
                "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
                "display_name": "Python 3",
                "language": "python",
            }
        )
    )
    for name, value in {"JUPYTER_PATH": tmp_path / "share", "IPYTHONDIR": tmp_path, "PYTHONPATH": ROOT}.items():
        monkeypatch.setenv(name, str(value))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    ran = nbclient.NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in ran.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in shown if output.output_type == "error" or output.get("name") == "stderr"]
    text = "".join(output.text for output in shown if output.output_type == "stream")
    rich = {kind for output in shown if "data" in output for kind in output["data"]}
    assert "12 of 12 cells have a number" in text and "0 claims declared" in text
    # s1k was planted far above random, so the interval of the largest difference does not hold zero.
    assert float(text.split("95 % [")[1].split(",")[0]) > 0
    assert {"text/html", "text/markdown", "image/svg+xml"} <= rich
