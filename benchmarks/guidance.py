"""What guidance samples: the tables and the figure of docs/appendix/guidance.md.

    python -m benchmarks.guidance --out runs/guidance            # six minutes of one core
    python -m benchmarks.guidance --out runs/guidance --only solvers

All fields are exact: six classes in the plane and eight in 8 dimensions, of two normal laws each,
and the training points of the digits. One class is drawn. Poisson flows start on the hemisphere.
"""

import argparse
import math
from pathlib import Path

import torch
from torch import Tensor

from diffode.analysis import GuidanceAudit, audit, tilted
from diffode.analysis.guidance import audit_tables
from diffode.data import load
from diffode.fields import AffineField, Empirical, Karras, Mixture, PoissonField
from diffode.fields.guidance import classifier_free
from diffode.files import write_text
from diffode.priors import Normal, Spherical, StudentT, is_normal
from diffode.rng import Rng
from diffode.sampling.drawing import sample
from diffode.solvers import Solver, get_solver
from diffode.tables import Table
from diffode.viz.canvas import BLUE, INK, ORANGE, PALE, figure, save

LABEL = 0
NOISES: dict[str, Spherical] = {
    "normal": Normal(),
    "D = 128": StudentT(128.0),
    "D = 3": StudentT(3.0),
    "D = 1": StudentT(1.0),
}
WEIGHTS = (0.0, 1.0, 1.5, 2.0, 4.0, 7.5)
INTERVALS = ((0.2, 1.0), (0.0, 1.0), (1.0, 80.0))
SOLVERS: dict[str, Solver] = {
    "default": get_solver(),
    "trig, order 2": get_solver("trig", order=2, corrected=False),
    "dpm++": get_solver("dpm++"),
    "ddim": get_solver("ddim"),
    "heun": get_solver("heun"),
}


def mixture(noise: Spherical, dim: int, stds: tuple[float, float], scale: float = 1.0) -> Mixture:
    """Classes on a ring in the plane, or at random in more dimensions, two components each."""
    rng, classes = Rng(dim), 6 if dim == 2 else 8
    angle = torch.arange(classes, dtype=torch.float64) * (2 * math.pi / classes)
    ring = 1.3 * torch.stack((angle.cos(), angle.sin()), 1)
    centres = ring if dim == 2 else rng.normal("classes", (classes, dim), torch.float64)
    apart = 0.5 * rng.normal("components", (2 * classes, dim), torch.float64)
    low, high = stds
    widths = low + (high - low) * rng.uniform("stds", (2 * classes,))
    weights = 0.5 + rng.uniform("weights", (2 * classes,))
    labels = torch.arange(classes).repeat_interleave(2)
    means = centres.repeat_interleave(2, 0) + apart
    return Mixture(weights, means, scale * widths, Karras(), noise, labels)


def planar(noise: Spherical, scale: float = 1.0) -> AffineField:
    """Six classes that overlap in the plane; ``scale`` widens them."""
    return started(mixture(noise, 2, (0.3, 0.6), scale))


def digits(noise: Spherical) -> AffineField:
    """The training points of the digits."""
    data = load("digits")
    return started(Empirical(data.train, Karras(), noise, labels=data.train_labels))


def started(field: AffineField) -> AffineField:
    """A Poisson flow on the hemisphere, any other as it is."""
    return field if is_normal(field.noise) else PoissonField(field)


def sampled(n: int, weights: tuple[float, ...]) -> list[GuidanceAudit]:
    """The converged flow of each bed, by noise and weight."""
    found = []
    for name, noise in NOISES.items():
        beds = {"plane": planar(noise), "8-D": started(mixture(noise, 8, (0.4, 0.9)))}
        for bed, field in beds.items():
            found += [audit(field, LABEL, w, n=n, nfe=[], name=f"{bed}, {name}") for w in weights]
    return found


def limited(n: int, weights: tuple[float, ...]) -> list[GuidanceAudit]:
    """Intervals and autoguidance in the plane; the weaker field has classes 1.5 times as wide."""
    found = []
    for name in ("normal", "D = 1"):
        field, weak = planar(NOISES[name]), planar(NOISES[name], 1.5)
        for w in weights:
            found += [
                audit(field, LABEL, w, interval=i, n=n, nfe=[], name=name)
                for i in (None, *INTERVALS)
            ]
            found.append(audit(field, LABEL, w, weak=weak, n=n, nfe=[], name=f"{name}, auto"))
    return found


def of_digits(n: int, weights: tuple[float, ...]) -> list[GuidanceAudit]:
    """The exact field of the digits, half as many of them; the tilted law is the class itself."""
    found = []
    for name in ("normal", "D = 128", "D = 1"):
        field = digits(NOISES[name])
        found += [audit(field, 3, w, n=n // 2, name=name) for w in weights]
    return found


def solved(n: int, weights: tuple[float, ...]) -> list[GuidanceAudit]:
    """Solvers on narrow classes in 8 dimensions, and over the edges of an interval."""
    found = []
    for name in ("normal", "D = 128", "D = 1"):
        field = started(mixture(NOISES[name], 8, (0.15, 0.4)))
        for peer in SOLVERS if name == "normal" else ["default", "trig, order 2"]:
            for w, where in [*((w, None) for w in weights), (4.0, (0.2, 3.0))]:
                row, of = f"{name}, {peer}", SOLVERS[peer]
                found.append(audit(field, LABEL, w, interval=where, n=n, solver=of, name=row))
    return found


def rules(n: int, weights: tuple[float, ...]) -> Table:
    r"""Two rules for Student-t noise: what each label adds, and the potential of the tilted law.

    The potentials :math:`\Phi^{1-w} \Phi_y^w` have field lines along the weighted mean of the two
    x - E[x_0 | x], with the weights (1 - w) / kappa and w / kappa_y, kappa as in
    `diffode.fields.classified`. Medians over points of the class, and where the sum of the
    weights is not positive.
    """
    law, rows = mixture(Normal(), 2, (0.3, 0.6)), []
    labels = torch.arange(n) % 6
    points = law.sample(n, Rng(5), labels)
    for dof in (1.0, 3.0, 128.0):
        field = Empirical(points, Karras(), StudentT(dof), labels=labels)
        for w in weights:
            cells = []
            for rho in (0.3, 1.0, 3.0):
                x, _ = field.corrupt(law.sample(n, Rng(6), LABEL), rho, Rng(7))
                apart, turned = _apart(field, x, rho, w)
                cells.append(f"{apart:.1%} ({turned:.1%})")
            rows.append([f"D = {dof:g}", f"{w:g}", *cells])
    return Table(["", "w", *(f"rho {rho:g}" for rho in (0.3, 1.0, 3.0))], rows)


def _apart(field: Empirical, x: Tensor, rho: float, w: float) -> tuple[float, float]:
    """How far the rules are apart, as a part of what guidance changes, and where one turns."""

    def kappa(y: int | None) -> Tensor:
        return (field.log_potential(x, rho, y) - field.log_marginal(x, rho, y)).exp()[:, None]

    whole, own = 1 / kappa(None), 1 / kappa(LABEL)
    u, told = x - field.denoise(x, rho), x - field.denoise(x, rho, torch.full((len(x),), LABEL))
    added, divisor = w * (told - u), (1 - w) * whole + w * own
    tilted_lines = ((1 - w) * whole * u + w * own * told) / divisor
    apart = (tilted_lines - u - added).norm(dim=1) / added.norm(dim=1)
    return float(apart.median()), float((divisor <= 0).double().mean())


TITLES = {"normal": "normal noise", "D = 1": "Student-t, D = 1"}


def picture(path: Path, n: int, audits: list[GuidanceAudit]) -> None:
    """Guided samples over the tilted law, and the distance of the two over the weight."""
    canvas = figure(1000, 520)
    axes = canvas.subplots(2, 4)
    for row, name in zip(axes, TITLES, strict=True):
        field = planar(NOISES[name])
        law = field.inner if isinstance(field, PoissonField) else field
        for axis, w in zip(row, (1.0, 2.0, 4.0), strict=False):
            guided = sample(classifier_free(field, w), n, "dopri5-rows", y=LABEL, rtol=1e-5).x
            for x, colour in (
                (law.sample(2 * n, Rng(1)), PALE),
                (tilted(law, LABEL, w, n, Rng(2)).x, BLUE),
                (guided, ORANGE),
            ):
                axis.plot(*x.T, ".", color=colour, markersize=5, markeredgewidth=0)
            axis.set_title(f"{TITLES[name]}, w = {w:g}", fontsize=11)
            axis.set(xlim=(-1, 3.2), ylim=(-2, 1.8), xticks=[], yticks=[], aspect="equal")
        own = [a for a in audits if a.name == f"plane, {name}"]
        for part, colour in (("exact", BLUE), ("converged", ORANGE)):
            heights = [getattr(a, part).distance.value for a in own]
            row[3].plot([a.weight for a in own], heights, "o-", color=colour, markersize=4)
        row[3].set(yscale="log", ylim=(0.03, 10), xlabel="w")
        row[3].set_title("W2 to the tilted law", fontsize=11)
    said = "blue: draws of the tilted law   orange: guided samples   grey: all classes"
    canvas.text(0.01, 0.015, said, color=INK, fontsize=11)
    canvas.tight_layout(rect=(0, 0.04, 1, 1))
    save(canvas, path)


AUDITS = {"sampled": sampled, "limited": limited, "solvers": solved, "digits": of_digits}
SHOWN = {  # of the two tables of audits
    "sampled": slice(1),
    "limited": slice(1),
    "solvers": slice(1, 2),
    "digits": slice(2),
}


def tables(name: str, out: Path, n: int, weights: tuple[float, ...]) -> list[Table]:
    """The tables of one part; that of samples has the picture beside it."""
    above = tuple(w for w in weights if w >= 2)
    if name == "rules":
        return [rules(n, above)]
    audits = AUDITS[name](n, weights if name == "sampled" else above)
    if name == "sampled":
        picture(out / "guidance.png", n, audits)
    return list(audit_tables(audits)[SHOWN[name]])


def main() -> None:
    """Make all tables, or those of one part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/guidance"))
    parser.add_argument("--only", choices=[*AUDITS, "rules"])
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--weights", type=float, nargs="+", default=WEIGHTS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for name in [asked.only] if asked.only else [*AUDITS, "rules"]:
        made = tables(name, asked.out, asked.samples, tuple(asked.weights))
        text = "\n\n".join(table.markdown() for table in made)
        write_text(asked.out / f"{name}.md", text + "\n")
        print(f"{name}\n\n{text}\n", flush=True)


if __name__ == "__main__":
    main()
