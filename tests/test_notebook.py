"""The notebook runs from its first cell to the last, and says what its text says."""

import os
import re
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed: pip install -e '.[test]'")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed: pip install -e '.[test]'")
pytest.importorskip("ipykernel", reason="ipykernel is not installed: pip install -e '.[test]'")

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "docs" / "notebooks" / "first_steps.ipynb"


def test_the_page_in_the_site_has_its_results():
    """The site shows the notebook as it is stored, so it is stored with outputs, and whole."""
    cells = [cell for cell in nbformat.read(NOTEBOOK, 4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), "run from top to bottom"
    outputs = [output for cell in cells for output in cell.outputs]
    assert sum("image/svg+xml" in output.get("data", {}) for output in outputs) == 2
    assert not any(output.output_type == "error" or output.get("name") == "stderr" for output in outputs)


@pytest.mark.slow
def test_the_notebook_runs_and_shows_what_it_says(tmp_path, monkeypatch):
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(NOTEBOOK, 4)
    nbclient.NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": str(tmp_path)}}).execute()
    text = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ()))

    def numbers(pattern: str) -> dict[str, float]:
        return {name: float(number) for name, number in re.findall(pattern, text, re.M)}

    gradient = numbers(r"^(\w+) +bottom layer's gradient: +([\d.]+) %")
    assert gradient["post"] < gradient["b2t"] / 2, text
    loss = numbers(r"^(\w+) +loss of the last 10 updates: ([\d.]+)")
    assert loss["b2t"] < loss["post"], text
    right = numbers(r"^(\w+): (\d+) of 30 right")
    assert right["b2t"] > right["post"], text
