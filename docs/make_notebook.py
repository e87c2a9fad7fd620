"""Writes docs/notebook.md from notebooks/quickstart.ipynb: `python docs/make_notebook.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "quickstart.ipynb"
TARGET = Path(__file__).with_name("notebook.md")
NOTE = """\
*This page is `notebooks/quickstart.ipynb`, without its outputs.
To run it, open that in Jupyter, or in an editor that reads notebooks.*
"""


def page() -> str:
    """The whole page: prose as it is, code in fences, links as they are seen from docs/."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    title, *rest = (_markdown(cell) for cell in cells)
    head, body = title.split("\n", maxsplit=1)
    return "\n".join([head, "", NOTE, body.strip(), "", *rest]).rstrip() + "\n"


def _markdown(cell: dict[str, Any]) -> str:
    text = "".join(cell["source"])
    if cell["cell_type"] == "code":
        return f"```python\n{text}\n```\n"
    return text.replace("](../docs/", "](") + "\n"


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
