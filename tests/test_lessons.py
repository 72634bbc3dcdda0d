"""The lessons run at small size, and become pages, figures and notebooks that are whole."""

import ast
import json
import os
import sys
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from lessons.__main__ import main
from lessons.cells import FOLDER, cells, lessons
from lessons.running import LessonError, run

LESSONS = lessons()
NEEDED = {"diffode", "matplotlib", "numpy", "scipy", "torch"}  # by diffode[plot]


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_runs_and_draws(path, tmp_path):
    done = run(path, tmp_path, small=True)
    page = done.page.read_text(encoding="utf-8")
    assert done.figures
    for file, alt in done.figures:
        assert f"![{alt}]({file.name})" in page
        with Image.open(file) as image:
            pixels = np.asarray(image)[..., :3]
        assert pixels.shape[1] >= 1200 and pixels.std() > 5, file.name
    assert {p.name for p in tmp_path.iterdir()} == {
        done.page.name,
        f"{path.stem}.ipynb",
        *(file.name for file, _ in done.figures),
    }


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_asks_explains_and_ends_with_exercises_and_answers(path):
    lesson = cells(path)
    text = [cell.body for cell in lesson if cell.is_text]
    assert text[0].startswith(f"# Lesson {int(path.stem[:2])}. ") and "Question" in text[0]
    headings = [line for body in text for line in body.splitlines() if line.startswith("## ")]
    assert any("Exercise" in line for line in headings) and "nswer" in "".join(headings)
    assert sum(cell.body.count("assert ") for cell in lesson if not cell.is_text) >= 5


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_needs_no_more_than_the_extra_for_pictures(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    modules |= {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    rooms = {name.split(".")[0] for name in modules}
    assert rooms - set(sys.stdlib_module_names) <= NEEDED


def test_the_page_of_the_lessons_leads_to_each():
    text = (FOLDER.parent / "docs/lessons.md").read_text(encoding="utf-8")
    assert all(f"](../lessons/{path.name})" in text for path in LESSONS)


def written(folder, text):
    path = folder / "01_small.py"
    path.write_text(text, encoding="utf-8")
    return path


SMALL = """\
# %% [markdown]
# # Lesson 1. Small
#
# The line $x = 1$.

# %%
import os

import matplotlib.pyplot as plt

x = 1
print(os.environ["DIFFODE_LESSONS"])
x + 1

# %% One line | Another line
for k in (1, 2):
    plt.figure(figsize=(5, 2 * k))
    plt.plot([0, k])
plt.show()
"""


def test_a_page_has_text_code_output_and_figures(tmp_path):
    done = run(written(tmp_path, SMALL), tmp_path / "out")
    page = done.page.read_text(encoding="utf-8")
    assert page.startswith("# Lesson 1. Small\n\nThe line $x = 1$.\n\n")
    assert "```text\nfull\n2\n```" in page
    assert page.endswith(
        "plt.show()\n```\n\n![One line](01_small-1.png)\n\n![Another line](01_small-2.png)\n"
    )
    for (file, _), size in zip(done.figures, [(1500, 600), (1500, 1200)], strict=True):
        with Image.open(file) as image:
            assert image.size == size


def test_a_notebook_holds_the_cells_and_one_that_installs(tmp_path):
    path = written(tmp_path, SMALL)
    run(path, tmp_path / "out")
    made = json.loads((tmp_path / "out/01_small.ipynb").read_text(encoding="utf-8"))
    assert (made["nbformat"], made["nbformat_minor"]) == (4, 5)
    assert "pip install" in "".join(made["cells"][0]["source"])
    bodies = ["".join(cell["source"]) for cell in made["cells"][1:]]
    assert bodies == [cell.body for cell in cells(path)]
    kinds = [cell["cell_type"] for cell in made["cells"]]
    assert kinds == ["code", "markdown", "code", "code"]
    assert len({cell["id"] for cell in made["cells"]}) == 4
    assert all(("outputs" in c) == (c["cell_type"] == "code") for c in made["cells"])


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = 1\nassert x == 2", "cell 2, line 5: assert x == 2\nAssertionError"),
        ("def f():\n    return 1 / 0\n\n\nf()", "cell 2, line 5: return 1 / 0\nZeroDivision"),
        ("import math\n\nmath.sqrt(-1)", "cell 2, line 6: math.sqrt"),
        ("x = (", "cell 2, line 4: SyntaxError"),
        (
            "import matplotlib.pyplot as plt\n\nplt.plot([1, 2]);",
            "cell 2, line 3: got 1 figures and the titles",
        ),
    ],
)
def test_an_error_names_lesson_cell_and_line(code, message, tmp_path):
    path = written(tmp_path, f"# %% [markdown]\n# # Broken\n# %%\n{code}\n")
    with pytest.raises(LessonError) as caught:
        run(path, tmp_path / "out")
    assert str(caught.value).startswith(f"01_small.py, {message}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "the first line begins no cell"),
        ("# %% [markdwon]\n", r"line 1: got '# %% \[markdwon\]'"),
        ("# %% [markdown]\n# text\ncode = 1\n", "line 3: got 'code = 1' in a cell of text"),
    ],
)
def test_a_file_that_is_not_one_of_cells_is_refused(text, message, tmp_path):
    with pytest.raises(ValueError, match=f"01_small.py.*{message}"):
        cells(written(tmp_path, text))


def test_lessons_are_found_by_number_and_name():
    assert all(
        lessons([name]) == [path] for path in LESSONS for name in (path.stem, path.stem[:2])
    )
    with pytest.raises(ValueError, match="got the lesson '99'; wanted one of"):
        lessons(["99"])


def test_the_command_says_what_it_wrote_and_what_failed(tmp_path, monkeypatch, capsys):
    path = written(tmp_path, SMALL)
    monkeypatch.setattr("lessons.cells.FOLDER", tmp_path)
    assert main(["01", "--small", "--out", str(tmp_path / "out")]) == 0
    assert f"wrote {tmp_path / 'out/01_small.md'}, 2 figures" in capsys.readouterr().out
    assert main(["02", "--out", str(tmp_path)]) == 2
    assert "got the lesson '02'" in capsys.readouterr().err
    written(tmp_path, SMALL + "assert x == 3\n")
    assert main(["--out", str(tmp_path / "out")]) == 1
    assert f"{path.name}, cell 3, line 20: assert x == 3" in capsys.readouterr().err


def test_a_lesson_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.delenv("DIFFODE_LESSONS", raising=False)
    monkeypatch.chdir(tmp_path)
    before = matplotlib.rcParams["font.size"]
    code = "\nplt.rcParams['font.size'] = 20\nopen('mine.txt', 'w').close()\n"
    run(written(tmp_path, SMALL + code), tmp_path / "out")
    assert matplotlib.rcParams["font.size"] == before and not plt.get_fignums()
    assert not (tmp_path / "mine.txt").exists() and Path.cwd() == tmp_path
    assert "DIFFODE_LESSONS" not in os.environ


def test_every_script_of_the_folder_is_a_lesson():
    others = {"__init__.py", "__main__.py", "cells.py", "notebook.py", "running.py"}
    assert {p.name for p in FOLDER.glob("*.py")} == others | {p.name for p in LESSONS}
