"""The pictures of the pages in docs/learn are made by the commands that the pages name."""

import importlib.util
import re

import pytest
from PIL import Image

from tests.pages import ROOT

SCRIPTS = sorted((ROOT / "scripts/figures").glob("learn_*.py"))
PAGES = {path: path.read_text(encoding="utf-8") for path in (ROOT / "docs/learn").glob("*.md")}


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_draws_the_picture_of_its_page(script, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(script.parent)  # as for `python SCRIPT`
    spec = importlib.util.spec_from_file_location(f"figure_{script.stem}", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = module.main(out=tmp_path)
    page = next(p for p, text in PAGES.items() if f"scripts/figures/{script.name}" in text)
    assert f"]({made.name})" in PAGES[page]
    with Image.open(made) as new, Image.open(page.with_name(made.name)) as kept:
        assert new.size == kept.size and new.width >= 1200
        assert len(new.convert("RGB").getcolors(2**24)) > 50


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_every_picture_of_a_page_has_its_command(page):
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", PAGES[page])
    commands = re.findall(r"`python (scripts/figures/\S+\.py)", PAGES[page])
    assert len(pictures) == len(commands) >= 1
    for picture in pictures:
        with Image.open(page.parent / picture) as image:
            assert image.width >= 1200
