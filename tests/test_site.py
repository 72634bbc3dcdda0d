"""The documentation site: it builds, every page is in it, and it asks for nothing of a network."""

import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
from mkdocs.utils import yaml_load
from typer.main import get_command

from diffode import registry
from diffode.cli.app import app
from diffode.explore import explorer_page
from diffode.meanings import described
from lessons.cells import lessons
from scripts.site import api, check, commands, offline, settings, shell
from scripts.site.assemble import EXPLORER, GALLERY, GENERATED, OUTSIDE
from scripts.site.equations import written
from scripts.site.mathml import convert_page, mathml
from tests.browser import CHROMIUM, Opened
from tests.pages import ROOT


def pages(navigation):
    """The pages of a navigation, in order."""
    if isinstance(navigation, str):
        yield navigation
    else:
        for part in navigation.values() if isinstance(navigation, dict) else navigation:
            yield from pages(part)


def test_every_page_is_in_the_navigation_once():
    listed = list(pages(yaml_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]))
    docs = {path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/**/*.md")}
    told = {f"lessons/{path.stem}.md" for path in lessons()} | {GALLERY, *GENERATED}
    wanted = docs | told | set(OUTSIDE.values())
    assert not wanted ^ set(listed), "add it to the nav of mkdocs.yml"
    assert len(listed) == len(set(listed))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The whole site, with lessons that are not executed."""
    folder = tmp_path_factory.mktemp("made")
    command = ["-m", "scripts.site", "--work", folder, "--out", folder / "site"]
    command += ["--lessons", "text"]
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "site"


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="it needs Chromium")
def test_pages_opened_from_a_file_are_searched_fit_a_phone_and_ask_for_nothing_else(made):
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        seen = Opened(browser.new_page(viewport={"width": 390, "height": 844}))
        seen.page.set_default_timeout(120_000)
        for file in sorted(made.rglob("*.html")):
            seen.page.goto(file.as_uri(), wait_until="load")
            assert seen.page.evaluate("document.documentElement.scrollWidth") <= 390, file
        seen.page.set_viewport_size({"width": 1280, "height": 900})
        seen.page.goto((made / "learn/gravity.html").as_uri())
        seen.page.locator("input.md-search__input").press_sequentially("Poisson")
        seen.page.wait_for_selector(".md-search-result__link[href*=poisson i]")
        for question, page in (("概率流", "zh/glossary"), ("泊松", "zh/learn/gravity")):
            seen.page.goto((made / "zh/start.html").as_uri())
            seen.page.locator("input.md-search__input").press_sequentially(question)
            seen.page.keyboard.press("End")  # as an input method ends
            seen.page.wait_for_selector(f".md-search-result__item:first-child a[href*='{page}']")
        browser.close()
    assert not seen.said
    assert all(address.startswith(("file:", "data:", "blob:")) for address in seen.asked)


@pytest.mark.slow
def test_the_site_builds_and_keeps_its_promises(made):
    assert len(list(made.rglob("*.html"))) >= len(list(ROOT.glob("docs/**/*.md")))
    assert not check.problems(made)
    for page in ("index.html", "explorer.html"):
        assert EXPLORER in check.Page((made / page).read_text(encoding="utf-8")).links
    assert (made / EXPLORER).read_text(encoding="utf-8") == explorer_page()
    for page, language, label in (("start", "en", "Search"), ("zh/start", "zh", "搜索")):
        text = (made / f"{page}.html").read_text(encoding="utf-8")
        assert f'<html lang="{language}"' in text and f'placeholder="{label}"' in text
    above = {place for _, place in api.documented("diffode")}
    for package in api.packages():
        known = check.Page((made / f"reference/{package}.html").read_text(encoding="utf-8")).ids
        own = {place for _, place in api.documented(package)}
        assert own - (set() if package == "diffode" else above) <= known
    assert (made / "search/search_index.js").read_text(encoding="utf-8").startswith("var __index")


def test_a_page_is_described_by_its_first_words_that_are_no_formula():
    page = SimpleNamespace(meta={})
    formula = '<p>Here <span class="arithmatex">x</span> is a point of a plane, or a space.</p>'
    first = '<p>A <b>"field"</b> is a velocity and\na prior. ' + "It moves points. " * 20 + "</p>"
    shell.on_page_content(
        f"<p>中文</p>{formula}{first}<p>Another one of {'words ' * 9}.</p>", page=page
    )
    found = page.meta["description"]
    assert found.startswith("A &quot;field&quot; is a velocity and a prior. It moves points.")
    assert found.endswith("points.") and 160 < len(found) < 190


def test_what_the_search_shows_can_be_read():
    text = r"<p>With \(\alpha_t\, x_0\), see \[ \frac{a}{b} \] in <code>f(x)</code>.</p>"
    assert offline.readable(text) == "<p>With alpha_t x_0, see   in <code>f(x)</code>.</p>"


def test_words_of_chinese_pages_are_told_apart():
    words = offline.chinese_words()
    assert {"求解器", "概率流"} <= set(words) and len(words[0]) > len(words[-1])
    assert offline.apart("先看求解器, x", ["求解器", "求解"]) == "先看\u200b求解器\u200b, x"


def test_the_reference_has_every_option_of_everything_that_has_a_name():
    fields, solvers, parts = (
        settings.field_options(),
        settings.solver_options(),
        settings.part_options(),
    )
    for kind, text in (
        ("recipe", fields),
        ("solver", solvers),
        ("schedule", parts),
        ("network", parts),
    ):
        assert {f"# {name}\n" for name in registry.names(kind)} <= set(re.findall(r"# .*\n", text))
    for recipe in registry.names("recipe"):
        section = fields.partition(f"## {recipe}\n")[2].partition("\n## ")[0]
        for option in described(registry.find("recipe", recipe).value):
            assert f"| `{option.name}` |" in section
    assert "| `dof` | number, above 0 | `128` |" in fields and "`sigma_max`" in parts


def test_the_reference_has_every_command_with_its_options():
    text = commands.commands()
    for name, command in get_command(app).commands.items():
        section = text.partition(f"## {name}\n")[2].partition("\n## ")[0]
        for option in (o for p in command.params for o in p.opts if o.startswith("-")):
            assert f"`{option}`" in section or option == "--help"


def test_formulas_become_mathml_with_their_parts():
    inline = r'<p><span class="arithmatex">\(x_t &lt; \frac{1}{2}\)</span>'
    rows = r"\begin{aligned}a &amp;= b \\ c &amp;= d\end{aligned}"
    text, count, problems = convert_page(f'{inline}<div class="arithmatex">\\[{rows}\\]</div>')
    assert (count, problems) == (2, []) and "arithmatex" not in text
    assert text.count("<math") == 2 and text.count('display="block"') == 1
    assert "<mfrac>" in text and text.count("<mtr>") == 2 and "<mo>&lt;</mo>" in text


@pytest.mark.parametrize(("before", "after"), [("", ", so"), ("(", ") or"), ("见", "。这")])
def test_no_line_begins_with_the_stop_behind_a_formula(before, after):
    text, _, _ = convert_page(f'<p>{before}<span class="arithmatex">\\(x\\)</span>{after}</p>')
    opened, stop, rest = before.strip("见"), after[0], after[1:]
    assert f'<span class="kept">{opened}<span class="math"><math' in text
    assert text.endswith(f"</math></span>{stop}</span>{rest}</p>")


@pytest.mark.parametrize(
    "formula", [r"\frac{1}", r"\left( x", r"\nosuch{x}", r"\begin{what}a & b\end{what}"]
)
def test_a_formula_that_cannot_be_shown_is_a_mistake(formula):
    with pytest.raises(ValueError, match="a formula"):
        mathml(formula)
    _, _, problems = convert_page(f'<span class="arithmatex">\\({formula}\\)</span>')
    assert len(problems) == 1


@pytest.mark.parametrize(
    ("formula", "part"),
    [
        (r"\mathrm{d}x", '<mi mathvariant="normal">d</mi><mi>x</mi>'),
        (r"p_{\mathrm{data}}", '<mi mathvariant="normal">data</mi>'),
        (r"\log p", '<mi>log</mi><mspace width="0.167em" /><mi>p</mi>'),
        (r"\log(p)", '<mi>log</mi><mo stretchy="false">(</mo>'),
        (r"\operatorname{tr} A", '<mi>tr</mi><mspace width="0.167em" /><mi>A</mi>'),
        (r"\boldsymbol{x}", "<mi>\U0001d499</mi>"),
        (r"\mathcal N(0)", '<mi>\U0001d4a9</mi><mo stretchy="false">(</mo>'),
        (r"\mathbb R", "<mi>\u211d</mi>"),
        (r"\mathbf{xy}", "<mi>\U0001d431</mi><mi>\U0001d432</mi>"),
        (r"\max_x f", '<munder><mo movablelimits="true">max</mo><mi>x</mi></munder>'),
        (r"|x|", '<mo stretchy="false" lspace="0" rspace="0">|</mo><mi>x</mi>'),
        (r"\dot{x}", '<mover accent="true">'),
        ("f''(r)", '<mrow><mi>f</mi><mi>\u2033</mi></mrow><mo stretchy="false">(</mo>'),
        ("f_0'", "<mrow><msub><mi>f</mi><mn>0</mn></msub><mi>\u2032</mi></mrow>"),
        ("x'^2", "<msup><mrow><mi>x</mi><mi>\u2032</mi></mrow><mrow><mn>2</mn></mrow></msup>"),
        ("p_{z'}", "<msub><mi>p</mi><mrow><mrow><mi>z</mi><mi>\u2032</mi></mrow></mrow></msub>"),
    ],
)
def test_what_browsers_do_not_know_is_said_as_they_know_it(formula, part):
    assert part in mathml(formula)


def test_docstrings_are_written_with_the_signs_of_pages():
    text = """A path :math:`x_t
    = y`.

    .. math:: a = b

    In ``code``:

    .. math::

        c = d \\\\
        e

    End."""
    made = written(text)
    assert "$x_t = y$" in made and "`code`" in made and ".. math" not in made
    assert "\n    $$\n    a = b\n    $$\n" in made
    assert "$$\n    c = d \\\\\n    e\n    $$\n" in made and made.endswith("\n\n    End.")


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ('<a href="other.html#there">', ""),
        ('<a href="https://arxiv.org/abs/2206.00364">', ""),
        ('<a href="none.html">', "a dead link: none.html"),
        ('<a href="other.html#nowhere">', "a dead anchor: other.html#nowhere"),
        ('<a href="#nowhere">', "a dead anchor: #nowhere"),
        ('<a href="/other.html">', "a link of an unknown kind: /other.html"),
        ('<a href="javascript:alert()">', "a link of an unknown kind: javascript:alert()"),
        ('<img src="none.png">', "a dead link: none.png"),
        ('<script src="https://a.org/b.js"></script>', "a request to another place"),
        ('<link rel="stylesheet" href="//a.org/b.css">', "a request to another place"),
        ('<span class="arithmatex">x</span>', "a formula is left as it was written"),
    ],
)
def test_what_is_wrong_with_a_page_is_seen(tmp_path, body, wrong):
    (tmp_path / "page.html").write_text(body)
    (tmp_path / "other.html").write_text('<h1 id="there">')
    found = check.problems(tmp_path)
    assert len(found) == bool(wrong) and all(wrong in line for line in found)


def test_a_style_that_asks_for_a_font_is_seen(tmp_path):
    (tmp_path / "a.css").write_text("@font-face { src: url(https://a.org/font.woff2) }")
    assert len(check.problems(tmp_path)) == 1
