"""The tree that the site is built from: the pages of docs/, and what they lead to outside."""

import os
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from diffode.explore import explorer_page
from scripts.site import ROOT, api, commands, examples, lessons, settings

DOCS = ROOT / "docs"
OUTSIDE = {"CHANGELOG.md": "changelog.md"}  # pages that are not in docs/
GALLERY = "gallery.md"
EXPLORER = "open-explorer.html"
OPEN = "<!-- the site opens the explorer here -->"  # in pages: a link to it
GENERATED: dict[str, Callable[[], str]] = {
    **{f"reference/{package}.md": partial(api.api, package) for package in api.packages()},
    "reference/commands.md": commands.commands,
    "reference/fields.md": settings.field_options,
    "reference/solvers.md": settings.solver_options,
    "reference/parts.md": settings.part_options,
}  # pages that are made from code
_LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")


def assemble(pages: Path, made: Path, length: str = "full") -> None:
    """Make the tree anew.

    Arguments:
        pages: its folder.
        made: a folder with what was drawn before: `examples`, and `lessons`.
        length: of the lessons, see `lessons.write`.
    """
    shutil.rmtree(pages, ignore_errors=True)
    shutil.copytree(DOCS, pages)
    shutil.copytree(Path(__file__).parent / "assets", pages / "assets")
    for page in DOCS.rglob("*.md"):
        _put(page, page.relative_to(DOCS).as_posix(), pages)
    for name, page in OUTSIDE.items():
        _put(ROOT / name, page, pages)
    lessons.write(made / "lessons", pages / "lessons", length)
    for name, make in GENERATED.items():
        (pages / name).parent.mkdir(parents=True, exist_ok=True)
        (pages / name).write_text(make(), encoding="utf-8")
    gallery = examples.gallery(made / "examples", pages)
    (pages / GALLERY).write_text(gallery, encoding="utf-8")
    (pages / EXPLORER).write_text(explorer_page(), encoding="utf-8")


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

    text = _LINK.sub(led, source.read_text(encoding="utf-8"))
    there = os.path.relpath(EXPLORER, Path(page).parent)
    said = "**[Open the explorer]({})**, here in the browser."
    if page.startswith("zh/"):
        said = "**[打开探索器]({})**，在浏览器中即可使用。"  # noqa: RUF001
    text = text.replace(OPEN, said.format(there))
    (pages / page).write_text(text, encoding="utf-8")


def place(file: Path) -> str:
    """Where a file of the repository is in the tree."""
    if DOCS in file.parents:
        return file.relative_to(DOCS).as_posix()
    name = file.relative_to(ROOT).as_posix()
    if re.fullmatch(r"lessons/\d\d_\w+\.py", name):
        return f"{name.removesuffix('.py')}.md"
    return OUTSIDE.get(name, f"files/{name}")
