"""What all pictures share: a figure without global state, PNG bytes, and a write in one piece."""

from __future__ import annotations

import base64
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from diffode.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, GREY, PALE = "#1f2430", "#6b7280", "#c9cdd6"
BLUE, ORANGE, GREEN, PINK = "#2f6fb5", "#e07b39", "#3f9b6c", "#c2497f"
WHEEL = ("#da4d53", "#e28733", "#c4a829", "#569e4a", "#2a9d98", "#3a7cc4", "#735dbf", "#b94b96")
DPI = 100
WIDTH = 800  # pixels that a picture of samples is wide, at least
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def require_matplotlib() -> None:
    """Refuse to go on without matplotlib.

    Raises:
        ValueError: it is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise ValueError("this picture needs matplotlib: pip install 'diffode[plot]'") from None


def figure(width: int, height: int) -> Figure:
    """An empty figure of so many pixels, drawn by Agg.

    Raises:
        ValueError: matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    new = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(new)
    return new


def box(points: Tensor) -> tuple[Tensor, float]:
    """The centre (N,) and half width of a cube with all but the far tails of points (M, N)."""
    points = points[points.isfinite().all(1)]
    if not len(points):
        return points.new_zeros(points.shape[1]), 1.0
    low, high = torch.quantile(points, points.new_tensor([0.005, 0.995]), dim=0)
    centre, spread = (low + high) / 2, float((high - low).max())
    return centre, max(0.6 * spread, 1e-9 * float(centre.abs().max())) or 1.0


def plane(axes: Axes, centre: Tensor, half: float) -> Axes:
    """Axes with equal units on a square view, without ticks."""
    a, b = centre.tolist()
    axes.set(xlim=(a - half, a + half), ylim=(b - half, b + half), xticks=[], yticks=[])
    axes.set_aspect("equal")
    axes.spines[:].set(color=PALE, linewidth=0.8)
    return axes


def save(drawn: Figure, path: str | Path | None = None) -> bytes:
    """The figure as PNG bytes, written to ``path`` if one is given."""
    buffer = BytesIO()
    drawn.savefig(buffer, format="png", dpi=DPI)
    return write(buffer.getvalue(), path)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """The PNG of pixels (H, W) or (H, W, 1), grey, or (H, W, 3), RGB."""
    return encoded(image(pixels))


def image(pixels: NDArray[np.uint8]) -> Image.Image:
    """Pixels (H, W), (H, W, 1) or (H, W, 3) as a picture of Pillow's."""
    return Image.fromarray(pixels.squeeze(2) if pixels.shape[2:] == (1,) else pixels)


def encoded(picture: Image.Image) -> bytes:
    """The PNG of a picture of Pillow's."""
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def is_png(content: bytes) -> bool:
    """Whether bytes are one PNG and nothing more: its signature, and whole chunks to the last."""
    place, kinds = len(_SIGNATURE), []
    while content.startswith(_SIGNATURE) and len(content) - place >= 12:
        size, kind = struct.unpack_from(">I4s", content, place)
        data = content[place + 4 : place + 8 + size]
        check = content[place + 8 + size : place + 12 + size]
        if check != struct.pack(">I", zlib.crc32(data)):
            return False
        kinds.append(kind)
        place += 12 + size
    whole = place == len(content) and kinds.count(b"IEND") == 1
    return whole and kinds[0] == b"IHDR" and kinds[-1] == b"IEND" and b"IDAT" in kinds


def write(picture: bytes, path: str | Path | None) -> bytes:
    """Write the bytes to ``path``, all or nothing, and return them; only return them for None."""
    if path is not None:
        with replacing(path) as draft:
            draft.write_bytes(picture)
    return picture


def data_uri(picture: bytes) -> str:
    """A PNG as the ``src`` of an HTML image, so that a report is one file."""
    return "data:image/png;base64," + base64.b64encode(picture).decode()


def hues(turns: NDArray[np.float64]) -> NDArray[np.float64]:
    """RGB colours (B, 3) around a circle, of even lightness, at these turns (1 is once around)."""
    anchors = np.array([[int(c[k : k + 2], 16) for k in (1, 3, 5)] for c in (*WHEEL, WHEEL[0])])
    known = np.linspace(0, 1, len(anchors))
    return np.stack([np.interp(turns % 1, known, c) for c in anchors.T], axis=1) / 255
