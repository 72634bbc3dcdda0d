"""How pictures for slides and pages look: colours, sizes, and a page that is written in one piece.

All sizes are for a page that is projected: 1,600 pixels wide, no text below 19 points, which are
14 points on a page of 1,200 pixels. Classes have the colours of Okabe and Ito
(https://jfly.uni-koeln.de/color/), which readers with any kind of colour vision tell apart;
densities have maps whose lightness grows with the value.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffode.inputs import brief
from diffode.viz import canvas
from diffode.viz.text import ALPHA, SIGMA, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KEPT = SIGMA + ALPHA + "∞→²√"  # characters that are no ASCII and that the font has
FORMS = ("png", "svg", "pdf")
WIDTH, HEAD = 1600, 128  # pixels: of a page, and of its title
TEXT = 19  # points, of the smallest text
_UNDATED: dict[str, dict[str, Any]] = {  # so that the same picture has the same bytes
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


@dataclass(frozen=True)
class Theme:
    """The colours of a page.

    Attributes:
        paper, ink, grey, pale: of the background, text, lesser text, and lines and data behind.
        lines: of field lines.
        accent: of what is shown, where it has no classes.
        classes: of classes, one after the other.
        heat: matplotlib's name of a map for densities.
    """

    paper: str
    ink: str
    grey: str
    pale: str
    lines: str
    accent: str
    classes: tuple[str, ...]
    heat: str


# so ordered that the first four differ most to eyes that take red for green
_OKABE_ITO = ("#e69f00", "#0072b2", "#009e73", "#56b4e9", "#d55e00", "#cc79a7", "#b5a900")
LIGHT = Theme(
    "#ffffff",
    "#1f2430",
    "#565e6c",
    "#c9cdd6",
    "#0072b2",
    "#d55e00",
    (*_OKABE_ITO, "#5b5b5b"),
    "YlGnBu",
)
DARK = Theme(
    "#14171f",
    "#f2f4f8",
    "#aab2c0",
    "#4a5160",
    "#56b4e9",
    "#ffb000",
    (*_OKABE_ITO, "#e8e8e8"),
    "magma",
)


class Page:
    """A figure under a title; `page` makes one.

    Attributes:
        figure: matplotlib's.
        theme: its colours.
    """

    def __init__(self, width: int, height: int, theme: Theme) -> None:
        self.figure = canvas.figure(width, height)
        self.figure.set_facecolor(theme.paper)
        self.figure.set_layout_engine("constrained")
        self.theme = theme
        self.width, self.height = width, height

    def head(self, title: str, note: str = "") -> None:
        """Write a title and, smaller, a line below it; names from outside are shortened."""
        lines = [(title, 26, 0, "ink", "bold"), (note, TEXT, 50, "grey", "normal")]
        for text, size, down, colour, weight in lines:
            at = 1 - (20 + down) / self.height
            said = brief(text, int(self.width / (0.86 * size)))
            self.figure.text(
                24 / self.width, at, said, size=size, va="top", weight=weight,
                color=getattr(self.theme, colour), parse_math=False,
            )  # fmt: skip
        engine: Any = self.figure.get_layout_engine()
        top = HEAD / self.height
        engine.set(rect=(0.008, 0.01, 0.984, 0.99 - top), w_pad=0.12, h_pad=0.08)

    def panels(self, rows: int, columns: int, **options: Any) -> list[Axes]:  # noqa: ANN401
        """Axes in rows, in reading order."""
        made = self.figure.subplots(rows, columns, squeeze=False, **options)
        return [axes for row in made for axes in row]

    def lay_out(self) -> None:
        """Place the axes once, at rounded places: the last digits differ from draw to draw."""
        self.figure.draw_without_rendering()
        self.figure.set_layout_engine("none")
        for axes in self.figure.axes:
            x, y, width, height = axes.get_position(original=True).bounds
            axes.set_position((round(x, 5), round(y, 5), round(width, 5), round(height, 5)))

    def margin(self, bottom: int) -> None:
        """Leave so many pixels free below the panels."""
        engine: Any = self.figure.get_layout_engine()
        low = bottom / self.height
        engine.set(rect=(0.008, low, 0.984, 1 - low - HEAD / self.height))

    def pixels(self) -> NDArray[np.uint8]:
        """The page as it is now, (height, width, 3)."""
        agg: Any = self.figure.canvas
        agg.draw()
        shown: NDArray[np.uint8] = np.asarray(agg.buffer_rgba())[..., :3]
        return shown.copy()

    def bytes(self, form: str) -> bytes:
        """The page as PNG, SVG or PDF; the same page has the same bytes."""
        self.lay_out()
        buffer = BytesIO()
        metadata = _UNDATED[form]
        self.figure.savefig(buffer, format=form, dpi=canvas.DPI, metadata=metadata)
        return buffer.getvalue()


@contextmanager
def page(
    title: str, note: str = "", *, height: int = 900, width: int = WIDTH, dark: bool = False
) -> Iterator[Page]:
    """A page with a title, for the length of a block, in which it is drawn and written.

    Matplotlib's settings are as before when the block ends.

    Raises:
        ValueError: matplotlib is not installed.
    """
    canvas.require_matplotlib()
    import matplotlib
    from cycler import cycler

    theme = DARK if dark else LIGHT
    settings = {
        "font.size": TEXT,
        "axes.titlesize": 21,
        "axes.labelsize": 20,
        "figure.labelsize": 20,
        "xtick.labelsize": TEXT,
        "ytick.labelsize": TEXT,
        "legend.fontsize": TEXT,
        "axes.prop_cycle": cycler(color=theme.classes),
        "legend.frameon": False,
        "text.color": theme.ink,
        "axes.labelcolor": theme.ink,
        "axes.titlecolor": theme.ink,
        "axes.edgecolor": theme.grey,
        "axes.facecolor": theme.paper,
        "savefig.facecolor": theme.paper,
        "xtick.color": theme.grey,
        "ytick.color": theme.grey,
        "axes.axisbelow": True,
        "grid.color": theme.pale,
        "svg.hashsalt": "diffode",
        "image.interpolation": "nearest",
    }
    with matplotlib.rc_context({"axes.formatter.useoffset": False, **settings}):
        made = Page(width, height, theme)
        made.head(plain_lines(title), plain_lines(note))
        yield made


def plain_lines(text: str) -> str:
    """A text in characters that the font has: Greek letters and ASCII."""
    return "".join(c if c in KEPT else plain(c) for c in text)


def class_colours(theme: Theme, count: int) -> Sequence[str] | None:
    """A colour for each of so many classes; None where they are too many to be told apart."""
    return theme.classes[:count] if count <= len(theme.classes) else None
