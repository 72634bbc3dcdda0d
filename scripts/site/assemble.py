"""The tree that the site is built from: the pages of docs/, and what they lead to outside."""

import os
import re
import shutil
from pathlib import Path

from scripts.site import ROOT

DOCS = ROOT / "docs"
OUTSIDE = {"README.md": "index.md", "CHANGELOG.md": "changelog.md"}  # pages that are not in docs/
_LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")


def assemble(pages: Path) -> None:
    """Make the tree anew."""
    shutil.rmtree(pages, ignore_errors=True)
    shutil.copytree(DOCS, pages)
    shutil.copytree(Path(__file__).parent / "assets", pages / "assets")
    for page in DOCS.rglob("*.md"):
        _put(page, page.relative_to(DOCS).as_posix(), pages)
    for name, page in OUTSIDE.items():
        _put(ROOT / name, page, pages)


def _put(source: Path, page: str, pages: Path) -> None:
    """Write a page with its links as they are in the tree, and the files that they lead to."""

    def led(match: re.Match[str]) -> str:
        file = Path(os.path.normpath(source.parent / match[2]))
        if match[2].startswith(("http:", "https:", "mailto:")) or not file.is_file():
            return match[0]
        there = place(file)
        if there.startswith("files/"):
            (pages / there).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, pages / there)
        return match[1] + os.path.relpath(there, Path(page).parent) + match[3]

    text = source.read_text(encoding="utf-8")
    (pages / page).write_text(_LINK.sub(led, text), encoding="utf-8")


def place(file: Path) -> str:
    """Where a file of the repository is in the tree."""
    if DOCS in file.parents:
        return file.relative_to(DOCS).as_posix()
    name = file.relative_to(ROOT).as_posix()
    return OUTSIDE.get(name, f"files/{name}")
