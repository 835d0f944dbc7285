"""The quickstart notebook runs from its first cell to its last, as a reader would run it."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "docs" / "quickstart.ipynb"
README = NOTEBOOK.parents[1] / "README.md"


@pytest.mark.slow
def test_quickstart_runs_and_ends_with_a_prediction(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    figures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(figures) == 3
    assert (tmp_path / "study" / "report.html").is_file()
    name, *numbers = outputs[-1]["text"].split()
    assert re.fullmatch(r"Snap99ID\d+", name)
    value, lower, upper = map(float, numbers)
    assert -14 < lower < value < upper < -8


def test_quickstart_is_stored_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)


def _code_of_notebook() -> str:
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "code")


def _code_of_readme() -> str:
    return "\n".join(re.findall(r"^```python\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE))


@pytest.mark.parametrize("code", [_code_of_notebook(), _code_of_readme()], ids=["notebook", "README"])
def test_examples_use_the_public_face_alone(code: str) -> None:
    assert re.findall(r"^\s*(?:import|from) .*", code, re.MULTILINE) == ["import ssfr"]
