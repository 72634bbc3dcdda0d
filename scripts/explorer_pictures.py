"""The pictures of docs/explorer.md: the page on a desk, on a phone, in the dark, and with digits.

They are taken by Playwright in Chromium: python scripts/explorer_pictures.py docs
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import typer
from PIL import Image

from diffode.explore import explorer_page
from tests.browser import Opened, opened

PHONE = {
    "viewport": {"width": 390, "height": 780},
    "device_scale_factor": 1.5,
    "is_mobile": True,
    "has_touch": True,
    "color_scheme": "dark",
}


def main(out: Path) -> None:
    """Write the pictures into the folder OUT."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "explorer.html"
        path.write_text(explorer_page(), encoding="utf-8")
        with opened(path, viewport={"width": 1200, "height": 1060}) as found:
            found.choose("field-Right", "vp")
            found.page.locator("#layer-lines").check()
            found.page.locator("#time").fill("480")
            found.page.locator("#canvas-Left").hover(position={"x": 300, "y": 200})
            _save(found, out / "explorer.png")
        with opened(path, viewport={"width": 1200, "height": 1060}, color_scheme="dark") as found:
            found.choose("set", "3")
            found.choose("target", "2")
            found.choose("field-Left", "edm")
            found.choose("field-Right", "edm")
            found.choose("weight-Right", "4")
            found.choose("solver-Right", "dpm++")
            found.page.locator("#layer-arrows").check()
            found.page.locator("#time").fill("560")
            _save(found, out / "explorer-dark.png")
        with opened(path, viewport={"width": 1200, "height": 860}) as found:
            found.choose("set", "6")
            found.choose("field-Left", "poisson")
            found.page.locator("#D-Left").fill("14")
            found.wait()
            found.page.locator("#time").fill("500")
            _save(found, out / "explorer-digits.png")
        with opened(path, **PHONE) as found:
            found.page.locator("#time").fill("520")
            _save(found, out / "explorer-phone.png")


def _save(found: Opened, path: Path) -> None:
    """A picture of what is in view, in 256 colours."""
    found.page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    found.page.wait_for_timeout(1000)
    found.page.screenshot(path=path)
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    typer.echo(f"wrote {path} ({path.stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    typer.run(main)
