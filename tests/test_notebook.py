"""The notebook is kept clean, and what it shows works."""

from pathlib import Path

import nbformat
import pytest

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "quickstart.ipynb"


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_the_notebook_is_kept_without_outputs_and_execution_counts():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not [cell.id for cell in code_cells(notebook) if cell.outputs or cell.execution_count is not None]


def shorten(notebook, changes):
    """Less of the same: what a reader waits for is nothing that a test has to."""
    (cell,) = (cell for cell in code_cells(notebook) if all(old in cell.source for old in changes))
    for old, new in changes.items():
        cell.source = cell.source.replace(old, new)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of the notebook's own libraries, in this process too
def test_the_notebook_trains_draws_the_curve_and_judges_answers(tmp_path, monkeypatch):
    from nbclient import NotebookClient

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # with it, ipykernel shows no output of other processes
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    shorten(notebook, {"STEPS = 3": "STEPS = 1", '"evaluation.tasks": 20': '"evaluation.tasks": 4'})
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()

    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "held-out accuracy at temperature 0, untrained -> trained" in printed
    assert "its proposer earned" in printed
    assert [output for output in outputs if "image/png" in output.get("data", {})], "no curve was drawn"
    (run,) = (tmp_path / "runs").glob("demo-*")
    assert (run / "model" / "model.safetensors").is_file()
    judged = code_cells(notebook)[-2].outputs[-1].text.splitlines()
    assert len(judged) == 8
    assert {line.split("\t")[0] for line in judged} <= {
        "correct",
        "wrong",
        "no_answer",
        "unfinished",
        "bad_input",
        "error",
    }
