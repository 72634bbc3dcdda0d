"""The explorer in a browser, where Chromium and Playwright are there."""

import pytest

from diffode.explore import explorer_page
from tests.browser import CHROMIUM, opened

pytest.importorskip("playwright")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium"),
]
FIELDS = ("vp", "subvp", "ve", "edm", "cosine", "monoflow", "poisson", "rectified")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "explorer.html"
    path.write_text(explorer_page(), encoding="utf-8")
    return path


def clean(found, file):
    """Whether the page said nothing and asked for nothing but itself and its workers."""
    others = [url for url in found.asked if not url.startswith("blob:")]
    return found.said == [] and others == [file.as_uri()]


def test_every_field_answers_and_the_page_is_silent(file):
    with opened(file) as found:
        found.choose("count", "500")
        for field in FIELDS:
            found.choose("field-Left", field)
            found.choose("solver-Right", "heun")
            assert found.text("numbers-Left")
        found.choose("frame", "own")
        found.choose("clock", "own")
        found.choose("set", str(len(found.page.query_selector_all("#set option")) - 2))  # digits
        assert "evaluations" in found.text("error-Right")
        assert clean(found, file)


def test_guidance_and_likelihood_are_told(file):
    with opened(file) as found:
        found.choose("count", "500")
        found.choose("target", "1")
        found.choose("weight-Right", "4")
        assert "Choose another solver" in found.text("error-Right")
        found.choose("solver-Right", "ddim")
        assert "distance from the exact flow" in found.text("error-Right")
        found.page.locator("#canvas-Right").hover()
        found.page.wait_for_selector("#look-Right:not(:empty)")
        assert "nats" in found.text("look-Right") and "score" in found.text("look-Right")
        assert clean(found, file)


def test_all_of_it_can_be_done_with_the_keyboard(file):
    with opened(file) as found:
        page = found.page
        every = page.evaluate(
            "[...document.querySelectorAll('select, input, button, canvas, summary')]"
            ".filter((e) => e.offsetParent).map((e) => e.id || e.tagName)"
        )
        reached = []
        for _ in range(len(every)):
            page.keyboard.press("Tab")
            focused = "document.activeElement.id || document.activeElement.tagName"
            reached.append(page.evaluate(focused))
            style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert style == "solid", reached[-1]
        assert sorted(reached) == sorted(every)
        page.locator("#clear").press("Enter")
        canvas = page.locator("#canvas-Left")
        for key in ("Space", "ArrowRight", "Shift+ArrowUp", "Space", "ArrowLeft", "Enter"):
            canvas.press(key)
        assert page.evaluate("explorer.points.xs.length") == 6
        canvas.press("Delete")
        assert page.evaluate("explorer.points.xs.length") == 4
        assert page.evaluate("explorer.points === explorer.own || explorer.own.xs.length") == 4
        found.wait()
        assert clean(found, file)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_a_phone_in_light_and_dark(file, theme):
    size = {"width": 390, "height": 844}
    with opened(file, viewport=size, color_scheme=theme, has_touch=True, is_mobile=True) as found:
        page = found.page
        assert page.evaluate("document.documentElement.dataset.theme") == theme
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        wide = page.evaluate(
            "[...document.querySelectorAll('body *')].filter((e) => e.offsetParent"
            " && e.getBoundingClientRect().right > 391).map((e) => e.id || e.tagName)"
        )
        assert wide == []
        other = {"light": "dark", "dark": "light"}[theme]
        page.locator("#theme").select_option(other)
        assert page.evaluate("document.documentElement.dataset.theme") == other
        page.locator("#clear").tap()
        page.locator("#canvas-Left").tap()
        assert page.evaluate("explorer.points.xs.length") == 2
        found.wait()
        assert clean(found, file)


def test_who_asked_for_less_motion_gets_few_steps(file):
    with opened(file, reduced_motion="reduce") as found:
        page = found.page
        found.choose("count", "500")
        page.locator("#time").fill("0")
        page.evaluate(
            "window.seen = new Set(); explorer.render = function () {"
            " seen.add(this.u); Object.getPrototypeOf(this).render.call(this); }; null"
        )
        page.locator("#play").click()
        page.wait_for_selector('#play:text("Play")', timeout=120_000)
        assert 2 <= page.evaluate("seen.size") <= 12
