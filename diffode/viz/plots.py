"""Pictures of a field: one function, and the kinds that it draws."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from diffode.fields.base import Field
from diffode.options import suggest
from diffode.viz import canvas
from diffode.viz.kinds import KINDS
from diffode.viz.scene import Scene
from diffode.viz.theme import FORMS


def plot(field: Field, kind: str, path: str | Path | None = None, **asked: Any) -> bytes:  # noqa: ANN401
    """Draw a picture of a field, 1,600 pixels wide.

    Arguments:
        field: learned or exact.
        kind: a key of ``KINDS``: samples, paths, field-lines, density, strip, section, loss or
            interpolation.
        path: where to write, a .png, .svg or .pdf file; None writes nothing, and draws a PNG.
        asked: of `diffode.viz.scene.Scene`: ``title``, ``data`` (points in the field's units that
            are drawn behind), ``data_labels``, ``names``, ``samples``, ``seed``, ``y``, ``times``,
            ``axes``, ``dark`` and ``moves``, the options of `diffode.sample`.

    Returns:
        The picture's bytes; the same picture has the same bytes.

    Raises:
        ValueError: a kind that there is not or that does not apply to the field, another ending,
            or matplotlib is missing.
    """
    form = form_of(path) if path is not None else asked.pop("form", "png")
    scene = Scene(field=field, form=form, **{"title": type(field).__name__, **asked})
    return canvas.write(drawing(kind, scene), path)


def drawing(kind: str, scene: Scene) -> bytes:
    """The picture of a scene.

    Raises:
        ValueError: as by `plot`.
    """
    if kind not in KINDS:
        hint = suggest(kind, list(KINDS))
        raise ValueError(f"got --kind {kind}; {hint}wanted one of {', '.join(KINDS)}")
    canvas.require_matplotlib()
    module = import_module(f"diffode.viz.kinds.{kind.replace('-', '_')}")
    made: bytes = module.draw(scene)
    return made


def form_of(path: str | Path) -> str:
    """The form of a picture by its file's ending.

    Raises:
        ValueError: another ending.
    """
    form = Path(path).suffix.removeprefix(".").lower()
    if form not in FORMS:
        raise ValueError(f"got {path}; wanted a name that ends in .png, .svg or .pdf")
    return form
