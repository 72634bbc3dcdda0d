"""What a frame of the explorer costs the main thread while its time is dragged, in Chromium.

Two views of 2,000 particles each, with the layers that are on at first, and with all of them. CPU
milliseconds of the main thread a frame are counted by Chromium itself (thread ticks), its layout
and its own bookkeeping included.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import typer

from diffode.explore import explorer_page
from tests.browser import opened

COUNTED = """
window.frames_drawn = 0;
explorer.render = function () {
  frames_drawn += 1;
  Object.getPrototypeOf(this).render.call(this);
};
null"""


def dragged(found: Any, moves: int) -> float:  # noqa: ANN401
    """CPU milliseconds a frame of a drag along the slider and back."""
    page = found.page
    box = page.locator("#time").bounding_box()
    client = page.context.new_cdp_session(page)
    client.send("Performance.enable", {"timeDomain": "threadTicks"})

    def spent() -> float:
        metrics = client.send("Performance.getMetrics")["metrics"]
        return float({m["name"]: m["value"] for m in metrics}["TaskDuration"])

    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    before, frames = spent(), page.evaluate("frames_drawn")
    for k in range(moves):
        part = abs(2 * k / moves - 1)
        page.mouse.move(box["x"] + box["width"] * (0.02 + 0.96 * part), middle)
        page.wait_for_timeout(20)
    drawn = page.evaluate("frames_drawn") - frames
    cost = 1000 * (spent() - before) / drawn
    page.mouse.up()
    return float(cost)


def main(moves: int = 150) -> None:
    """Print the figures."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "explorer.html"
        path.write_text(explorer_page(), encoding="utf-8")
        with opened(path, viewport={"width": 1200, "height": 1000}) as found:
            found.page.evaluate(COUNTED)
            dragged(found, 30)
            print(f"first layers: {dragged(found, moves):.2f} CPU ms a frame")
            for layer in ("arrows", "lines"):
                found.page.locator(f"#layer-{layer}").check()
            dragged(found, 30)
            print(f"all layers: {dragged(found, moves):.2f} CPU ms a frame")
            print(f"console: {found.said}")


if __name__ == "__main__":
    typer.run(main)
