"""What the weight of guidance trades on digits: table and picture of docs/appendix/guidance.md.

    python -m benchmarks.guidance_digits --out runs/guidance-digits

Each field is trained with labels, as long as is usual, and draws as many digits as it was trained
on, in their shares, with 35 evaluations. A support vector machine that has seen real digits alone
says how many are of their label. Cells are kept, so a stopped run goes on where it was.
"""

import argparse
import json
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

import diffode
from diffode.data import load
from diffode.fields import classifier_free
from diffode.files import write_text
from diffode.metrics import Panel
from diffode.tables import Table
from diffode.training.checkpoint import newest
from diffode.viz import canvas

CURVES = ("edm", "poisson")
WEIGHTS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0)
CELLS = [
    *((field, weight) for field in CURVES for weight in WEIGHTS),
    *((field, weight) for field in ("pfgmpp", "rectified") for weight in (1.0, 2.0)),
]
FIGURES = ("Frechet", "precision", "recall")


@cache
def panel() -> Panel:
    """What samples are measured against: digits that are held out."""
    return Panel("digits", features=["pixels"], labels=True)


def of_their_label(x: Tensor, y: Tensor) -> float:
    """The share of digits (n, 1, 8, 8) that a support vector machine gives their label (n,)."""
    from sklearn.svm import SVC

    digits = load("digits")
    judge = SVC(C=10).fit(digits.train.flatten(1).numpy(), digits.train_labels.numpy())
    return float((judge.predict(x.flatten(1).numpy()) == y.numpy()).mean())


def measured(x: Tensor, y: Tensor) -> dict[str, float]:
    """The figures of digits and of their labels."""
    found = {name.partition("[")[0]: e.value for name, e in panel().measure(x, y).items()}
    return {name: found[name] for name in FIGURES} | {"of their label": of_their_label(x, y)}


def cell(field: str, weight: float, out: Path) -> None:
    """Draw and measure the samples of a weight, unless that was done; train what is missing."""
    path = out / f"{field}-{weight:g}.json"
    if path.exists():
        return
    if newest(out / field) is None:
        diffode.fit(field, "digits", labels=True, device="cpu", out=out / field)
    y = load("digits").labels(panel().count)
    guided = classifier_free(diffode.load(out / field).field, weight)
    drawn = diffode.sample(guided, len(y), y=y, seed=0, batch=500)
    write_text(path, json.dumps(measured(drawn.x, y) | {"calls": drawn.network_calls}) + "\n")
    print(f"{field}, w = {weight:g}: {path.read_text().strip()}", flush=True)


def read(field: str, weight: float, out: Path) -> dict[str, float]:
    """The figures of a cell."""
    found: dict[str, float] = json.loads((out / f"{field}-{weight:g}.json").read_text())
    return found


def real() -> dict[str, float]:
    """The figures of as many real digits, which no field has seen; the judge has seen none."""
    floor = {name.partition("[")[0]: e.value for name, e in panel().floor.items()}
    digits = load("digits")
    share = of_their_label(digits.test, digits.test_labels)
    return {name: floor[name] for name in FIGURES} | {"of their label": share}


def table(out: Path) -> Table:
    """The figures of all cells."""
    head = ["field", "w", "network calls", "of their label", *FIGURES]
    lines = [["*real digits*", "", "", *_said(real())]]
    for field, weight in CELLS:
        figures = read(field, weight, out)
        line = [field, f"{weight:g}", f"{figures['calls']:.0f}"]
        lines.append([*line, *_said(figures | {"weight": weight})])
    return Table(head, lines)


def _said(figures: dict[str, float]) -> list[str]:
    told = f"{100 * figures['of their label']:.1f} %" if figures.get("weight", 1) else ""
    return [told, *(f"{figures[k]:.3f}" for k in FIGURES)]


def picture(out: Path, path: Path) -> None:
    """Recall and precision by the weight, and the share that is of its label."""
    figure = canvas.figure(1200, 520)
    figure.set_layout_engine("constrained")
    trade, share = figure.subplots(1, 2)
    floor, told = real(), slice(1, None)  # at w = 0 no label is told
    for field, colour in zip(CURVES, (canvas.BLUE, canvas.ORANGE), strict=True):
        found = [read(field, weight, out) for weight in WEIGHTS]
        style = {"color": colour, "marker": "o", "markersize": 5}
        for name, dashes in (("precision", "--"), ("recall", "-")):
            trade.plot(
                WEIGHTS, [f[name] for f in found], dashes, label=f"{name}, {field}", **style
            )
        judged = [100 * f["of their label"] for f in found]
        share.plot(WEIGHTS[told], judged[told], label=field, **style)
    for name, dashes in (("precision", "--"), ("recall", "-")):
        trade.axhline(
            floor[name], color=canvas.GREY, lw=1, ls=dashes, label=f"{name}, real digits"
        )
    share.axhline(100 * floor["of their label"], color=canvas.GREY, lw=1, label="real digits")
    trade.set(xlabel="weight w", title="Precision is gained little, recall is lost")
    share.set(xlabel="weight w", ylabel="%", title="Digits that a judge gives their label")
    for axes in (trade, share):
        axes.legend(frameon=False, loc="lower left" if axes is trade else "lower right")
        axes.spines[["top", "right"]].set_visible(False)
    canvas.save(figure, path)


def main() -> None:
    """Fill the cells that are missing, then print the table and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/guidance-digits"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    for field, weight in CELLS:
        cell(field, weight, options.out)
    print(table(options.out).markdown())
    picture(options.out, path := options.out / "guidance-tradeoff.png")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
