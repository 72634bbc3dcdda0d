"""The evaluation of a run: its figures beside those of real data, with all that they depend on."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffode.fields.strength import in_words
from diffode.files import write_text
from diffode.inputs import brief
from diffode.interop.pipelines import LATENTS
from diffode.likelihood.card import LikelihoodCard
from diffode.markup import words
from diffode.metrics.estimates import FEWEST, Estimate, figure, mean
from diffode.metrics.labels import ClassFigures
from diffode.metrics.panel import Panel
from diffode.runs.costs import each_took
from diffode.runs.shards import Drawn
from diffode.solvers.status import refusal
from diffode.tables import Table

BITS = "bits/dim"
FEW = 500  # points below which most distances are chance
_GOOD = {"low": "low", "high": "high", "half": "1/2", "one": "1"}


@dataclass(frozen=True)
class Evaluation:
    """The figures of samples, and what they were compared with.

    Attributes:
        title: field and data.
        settings: how the samples came about, for JSON.
        panel: what was measured.
        metrics: by name.
        card: of the likelihood, if it was asked for.
        by_class: of samples and of real data, class by class, where a classifier tells classes.
    """

    title: str
    settings: dict[str, Any]
    panel: Panel
    metrics: dict[str, Estimate]
    card: LikelihoodCard | None = None
    by_class: Sequence[tuple[ClassFigures, ClassFigures]] = ()

    def table(self, corner: str = "") -> Table:
        """The figures of samples, of real data and of a Gaussian fit, and where good ones lie.

        The figure to look at first is the first.

        Arguments:
            corner: the head of the names.
        """
        columns = (self.metrics, self.panel.floor, self.panel.gaussian)
        about, first = {m.name: m for m in self.panel.metrics}, self.panel.headline
        names = sorted(self.metrics, key=lambda name: name != first)
        lines = [
            [name, *(said(c.get(name)) for c in columns), _GOOD[about[name].better]]
            for name in names
        ]
        meanings = [about[name].about for name in names]
        if self.card is not None:
            lines.append([BITS, said(_bits(self.card)), "", "", "low"])
            points = self.card.figures()["points"]
            meanings.append(f"of {points} test points, see the likelihood card")
        return Table([corner, "samples", "real data", "Gaussian fit", "good"], lines, meanings)

    def class_table(self) -> Table:
        """The figures of each class, beside those of the reference."""
        rows = [
            [self._class(drawn.label), *_class_cells(drawn), *_class_cells(real)]
            for drawn, real in self.by_class
        ]
        head = ["class", "samples", "named so", "share", "real data", "named so", "share"]
        return Table(head, rows)

    def _class(self, label: int) -> str:
        names = self.panel.dataset.class_names
        return str(label) if names is None else f"{label} {brief(names[label], 40)}"

    def notes(self) -> list[str]:
        """What the figures depend on, a sentence each, and why some cannot be had."""
        s, p = self.settings, self.panel.describe()
        spaces = ", ".join(
            f"{f['name']}@{f['hash']}"
            + (f" (a classifier of accuracy {f['accuracy']:.3f})" if "accuracy" in f else "")
            for f in p["features"]
        )
        short = s["shortfall"] and f"{s['shortfall']}: they are measured where they stopped"
        width = "no width" if p["mmd_bandwidth"] is None else f"width {p['mmd_bandwidth']:.3g}"
        fewest = min(p["count"], p["reference_count"])
        few = [
            f"few points: distances of {fewest} are mostly chance; read them beside real data and "
            "measure more"
        ]
        classes = [
            "by class: samples drawn with each label, the share of them that the classifier gives "
            "it, and its share of all; real data are the reference"
        ]
        guided = f"{in_words(**s['guidance'])}, " if s.get("guidance") else ""
        none = [f"no error is stated for fewer than {FEWEST} points, but of shares"]
        latents = [f"samples are {LATENTS}, and measured as such"] if s.get("latents") else []
        return [
            *filter(None, [short]),
            *latents,
            *(f"no {name}: {why}" for name, why in self.refused().items()),
            f"{p['count']} samples with {s['solver']}, "
            f"{each_took(s['nfe'], s.get('network_calls', s['nfe']))}, {guided}seed {s['seed']}, "
            f"{s['weights']} weights of {s['checkpoint']}",
            f"reference {p['reference_hash']}: {p['reference']}; floor: {p['floor']}",
            f"feature spaces: {spaces}; Gaussian kernel of {width}",
            "Gaussian fit: draws of a Gaussian with the training data's mean and covariance, what "
            "nothing learned scores",
            *self.panel.notes,
            "+- is one standard error",
            *(classes if self.by_class else []),
            *(few if fewest < FEW else []),
            *(none if fewest < FEWEST else []),
        ]

    def refused(self) -> dict[str, str]:
        """Why figures cannot be had, by their names."""
        columns = (self.metrics, self.panel.floor, self.panel.gaussian)
        return {name: e.refused for found in columns for name, e in found.items() if e.refused}

    def markdown(self) -> str:
        """The evaluation as a page."""
        lines = [f"# {words(self.title)}", "", self.table().markdown()]
        if self.by_class:
            lines += ["", self.class_table().markdown()]
        lines += ["", *(f"- {words(note)}" for note in self.notes())]
        if self.card is not None:
            lines += ["", *(f"    {line}" for line in str(self.card).splitlines())]
        return "\n".join(lines) + "\n"

    def content(self) -> dict[str, Any]:
        """Everything, for JSON, which knows no NaN."""
        card, names = None, self.panel.dataset.class_names
        if self.card is not None:
            card = {
                k: None if isinstance(v, float) and not math.isfinite(v) else v
                for k, v in self.card.figures().items()
            }
        return {
            **self.settings,
            "metrics": {name: e.asdict() for name, e in self.metrics.items()},
            "floor": {name: e.asdict() for name, e in self.panel.floor.items()},
            "gaussian": {name: e.asdict() for name, e in self.panel.gaussian.items()},
            "headline": self.panel.headline,
            "panel": self.panel.describe(),
            "likelihood": card,
            "classes": [
                {
                    "label": a.label,
                    "name": names and names[a.label],
                    "samples": a.asdict(),
                    "real": b.asdict(),
                }
                for a, b in self.by_class
            ],
        }

    def write(self, folder: Path) -> list[Path]:
        """Write eval.md and eval.json."""
        page, data = folder / "eval.md", folder / "eval.json"
        write_text(page, self.markdown())
        write_text(data, json.dumps(self.content(), indent=2) + "\n")
        return [page, data]


def evaluated(drawn: Drawn, panel: Panel) -> dict[str, Estimate]:
    """The figures of samples.

    Raises:
        ValueError: samples that are not finite, or none that was finished.
    """
    if why := refusal(drawn.status, drawn.nfe_per_row, "samples"):
        raise ValueError(f"{why}; use more evaluations or another solver, or train longer")
    found = panel.measure(drawn.x, drawn.y)
    if drawn.straight is not None:
        found["straightness"] = mean(drawn.straight)
    return found


def said(estimate: Estimate | None) -> str:
    """A figure with as many digits as its error leaves."""
    if estimate is None:
        return ""
    if estimate.refused:
        return "none"
    value, error = estimate.value, estimate.stderr
    if not (math.isfinite(error) and error > 0):
        return f"{value:.4g}"
    return f"{figure(value, error)} +- {figure(error, error)}"


def _class_cells(figures: ClassFigures) -> list[str]:
    return [str(figures.count), said(figures.accuracy), said(figures.share)]


def _bits(card: LikelihoodCard) -> Estimate:
    figures = card.figures()
    return Estimate(figures["bits_per_dim"], figures["bits_stderr"])
