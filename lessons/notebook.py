"""A lesson as a Jupyter notebook, without outputs."""

from __future__ import annotations

import json

from lessons.cells import Cell

INSTALL = (
    "# This notebook needs diffode with its extra for pictures. Where it is not installed yet,\n"
    "# take away the first two characters of the next line.\n"
    '# %pip install "diffode[plot]"'
)


def notebook(lesson: list[Cell]) -> str:
    """The notebook of these cells: nbformat 4.5, the cell that installs first."""
    made = [_cell("install", False, INSTALL)]
    made += [_cell(f"cell-{cell.number}", cell.is_text, cell.body) for cell in lesson]
    python = {"name": "python3", "display_name": "Python 3", "language": "python"}
    about = {"kernelspec": python, "language_info": {"name": "python"}}
    whole = {"cells": made, "metadata": about, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _cell(name: str, is_text: bool, body: str) -> dict[str, object]:
    made: dict[str, object] = {
        "cell_type": "markdown" if is_text else "code",
        "id": name,
        "metadata": {},
        "source": body.splitlines(keepends=True),
    }
    return made if is_text else made | {"execution_count": None, "outputs": []}
