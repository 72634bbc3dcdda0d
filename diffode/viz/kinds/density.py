"""Density: the law of x_t at several times."""

from __future__ import annotations

from diffode.viz.clocks import times_of, when
from diffode.viz.kinds.section import DEPTH, shades
from diffode.viz.marks import square
from diffode.viz.scene import Scene
from diffode.viz.sections import is_exact, law_of, mesh
from diffode.viz.theme import HEAD, WIDTH, page

PANELS, FINE, COARSE = 4, 240, 64  # cells of a side, where a density is exact and where not


def draw(scene: Scene) -> bytes:
    """The log-density of points with one or two numbers, in nats below its largest value."""
    scene.require_flow("--kind density")
    scene.require_points("--kind density", "--kind section draws a cut through the field", 2)
    law = law_of(scene)
    if law is None:
        raise ValueError(
            f"--kind density needs a density, and that of {scene.title} is not known: its "
            "divergence or its prior's density is not; --kind strip draws samples on their way"
        )
    times = times_of(scene.field, PANELS, scene.times)
    known, columns = is_exact(scene.field), len(times)
    note = "exact log-density" if known else "log-density of the field's flow"
    side, line = FINE if known else COARSE, len(scene.plane.axes) == 1
    note = f"{note.replace('log-', '') if line else note}, from the prior to the data"
    height = 800 if line else HEAD + 130 + (WIDTH - 130) // columns
    with page(scene.title, note + scene.units, height=height, dark=scene.dark) as made:
        row = made.panels(1, columns)
        for done, (axes, t) in enumerate(zip(row, times.tolist(), strict=True), 1):
            view = scene.view(t)
            x = mesh(view.centre, view.half, 4 * side if line else side)
            log = law(scene.plane.points(x), t)
            if scene.progress is not None:
                scene.progress(done, columns)
            axes.set_title(when(scene.field, t))
            if line:
                axes.fill_between(x[:, 0].numpy(), log.exp().numpy(), color=made.theme.accent)
                axes.set(xlabel=scene.plane.labels[0], ylim=(0, None))
                axes.locator_params(nbins=3)
                continue
            image = axes.imshow(
                shades(log).view(side, side).numpy(), origin="lower", cmap=made.theme.heat,
                vmin=-DEPTH, vmax=0, extent=square(axes, view), interpolation="bilinear",
            )  # fmt: skip
        if line:
            row[0].set_ylabel("density")
        else:
            bar = made.figure.colorbar(image, ax=row, shrink=0.8, pad=0.015)
            bar.set_label("log p, nats", labelpad=12)
        return made.bytes(scene.form)
