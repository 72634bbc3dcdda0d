"""The pages of the lessons, with their figures and notebooks."""

import subprocess
import sys
from pathlib import Path

from lessons.cells import cells, lessons
from scripts.site import ROOT


def write(made: Path, pages: Path, length: str) -> None:
    """Put the page of each lesson into a folder, executed anew where its file has changed.

    Arguments:
        made: the folder of executed lessons, kept from one build of the site to the next.
        pages: the folder of the site's pages.
        length: "full", "small" for little work, or "text" for lessons that are not executed.
    """
    pages.mkdir(parents=True)
    for lesson in lessons():
        if length == "text":
            parts = [c.body if c.is_text else f"```python\n{c.body}\n```" for c in cells(lesson)]
            (pages / f"{lesson.stem}.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
            continue
        page = made / f"{lesson.stem}.md"
        if not page.exists() or page.stat().st_mtime < lesson.stat().st_mtime:
            small = ["--small"] if length == "small" else []
            command = [sys.executable, "-m", "lessons", lesson.stem, "--out", str(made), *small]
            subprocess.run(command, check=True, cwd=ROOT)
        for file in (page, *made.glob(f"{lesson.stem}-*.png"), page.with_suffix(".ipynb")):
            (pages / file.name).write_bytes(file.read_bytes())
