"""The quickstart notebook runs from its first cell to its last, as a reader would run it."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "docs" / "quickstart.ipynb"


def test_quickstart_runs_and_ends_with_a_prediction(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 2
    assert (tmp_path / "study" / "report.html").is_file()
    answer = outputs[-1]["text"]
    value, lower, upper = (
        float(number) for number in answer.replace("[", "").replace("]", "").replace(",", "").split()[3:6]
    )
    assert -14 < lower < value < upper < -8


def test_quickstart_is_stored_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)
