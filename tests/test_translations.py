"""The Chinese pages say what their source pages say: the same formulas, code, pictures, links."""

import re
from collections import Counter

import pytest

from tests.pages import ROOT, TRANSLATED

PAGES = sorted(path.relative_to(TRANSLATED).as_posix() for path in TRANSLATED.rglob("*.md"))
_BLOCK = re.compile(r"^```.*?^```$|^\$\$$.*?^\$\$$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def both(page):
    """The text of a source page and of its translation."""
    source = ROOT / "docs" / page
    assert source.is_file(), f"docs/zh/{page} translates docs/{page}, which is not there"
    return [path.read_text(encoding="utf-8") for path in (source, TRANSLATED / page)]


def headings(text):
    """The levels of the headings, in order."""
    return [len(marks) for marks in re.findall(r"^(#+) ", _BLOCK.sub("", text), re.MULTILINE)]


def inline(text):
    """The formulas and the code within sentences, each with how often it stands there."""
    return Counter(re.findall(r"\$[^$\n]+\$|`[^`\n]+`", _BLOCK.sub("", text)))


def figures(text):
    """The measured figures of a page, without the zero that Chinese writes before the point."""
    text = re.sub(
        r"\$[^$\n]+\$|`[^`\n]+`|\[arXiv:[^]]*\]|\]\([^)]*\)|http\S+", "", _BLOCK.sub("", text)
    )
    return {found.lstrip("0") for found in re.findall(r"(?<![\w.])\d*\.\d+|\d+ ?%|\d+,\d+", text)}


def anchors(text):
    """What a link may end in: the headings in small letters, with dashes."""
    found = re.findall(r"^#+ (.*)$", _BLOCK.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES)
def test_equations_and_code_are_those_of_the_source(page):
    source, translated = (_BLOCK.findall(text) for text in both(page))
    assert translated == source


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_those_of_the_source(page):
    lines = [
        [line for line in _BLOCK.sub("", text).splitlines() if line.startswith("    ")]
        for text in both(page)
    ]
    assert lines[0] == lines[1]


@pytest.mark.parametrize("page", PAGES)
def test_formulas_and_names_in_sentences_are_those_of_the_source(page):
    source, translated = (inline(text) for text in both(page))
    assert set(translated) == set(source)


@pytest.mark.parametrize("page", PAGES)
def test_figures_are_those_of_the_source(page):
    source, translated = (figures(text) for text in both(page))
    assert translated == source


@pytest.mark.parametrize("page", PAGES)
def test_headings_are_as_many_and_as_deep(page):
    source, translated = (headings(text) for text in both(page))
    assert translated == source


@pytest.mark.parametrize("page", PAGES)
def test_pictures_are_those_of_the_source(page):
    pictures = [
        [(path.parent / name).resolve() for name in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)]
        for path, text in zip((ROOT / "docs" / page, TRANSLATED / page), both(page), strict=True)
    ]
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere_and_both_pages_to_each_other(page):
    there = []
    for path, text in zip((ROOT / "docs" / page, TRANSLATED / page), both(page), strict=True):
        for target in _LINK.findall(text):
            file, _, anchor = target.partition("#")
            if not target.startswith("http"):
                found = (path.parent / file).resolve() if file else path.resolve()
                assert found.exists(), target
                assert not anchor or anchor in anchors(found.read_text(encoding="utf-8")), target
                there.append(found)
    assert {(ROOT / "docs" / page).resolve(), (TRANSLATED / page).resolve()} <= set(there)


def test_a_page_leads_to_the_translation_of_another_where_there_is_one():
    for page in PAGES:
        for target in _LINK.findall(both(page)[1]):
            found = (TRANSLATED / page).parent.joinpath(target.partition("#")[0]).resolve()
            docs = (ROOT / "docs").resolve()
            if found.suffix == ".md" and docs in found.parents and found != docs / page:
                inside = found.relative_to(docs).as_posix()
                assert inside.startswith("zh/") or inside not in PAGES, f"{page}: {target}"


def test_there_are_translations():
    assert "learn/gravity.md" in PAGES
