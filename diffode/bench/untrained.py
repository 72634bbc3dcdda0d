"""What a comparison takes as it is: TARGETs, sampled and measured beside fields that it trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from diffode import __version__, code
from diffode.bench.config import BenchConfig
from diffode.bench.models import Model
from diffode.data import Dataset
from diffode.doors import needs_labels
from diffode.fields.base import Field
from diffode.interop.folders import HUB, is_pipeline
from diffode.runs.guiding import Guidance
from diffode.runs.identity import identity
from diffode.runs.keys import key_of
from diffode.runs.plan import MEMORY
from diffode.runs.targets import Target, resolve

AS_IT_IS = "taken as it is"


@dataclass(frozen=True)
class Untrained:
    """A TARGET of a comparison, on one data set.

    Attributes:
        target: what is compared.
        data: the data set.
        seed: of the samples.
        labels: whether it is drawn with the labels of the data.
        key: a name for all that decides it: its identity, and the data.
        folder: of its portrait.
    """

    target: Target
    data: str
    seed: int
    labels: bool
    key: str
    folder: Path

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.target.name

    @property
    def facts(self) -> dict[str, Any]:
        """What a report knows of a training, of which there was none."""
        plan = {
            "field": self.name,
            "data": self.data,
            "labels": self.labels,
            "seed": self.seed,
            "options": {"identity": self.key},
            "training": {},
        }
        none = {"steps": 0, "samples": 0, "seconds": 0.0, "peak_memory": 0}
        kind = f"{AS_IT_IS}, latents" if self.target.latent else AS_IT_IS
        return {"plan": plan, "budget": kind, **none}

    def field(self) -> Field:
        """The field, with the weights that it came with."""
        return self.target.field


Subject = Model | Untrained


def opened(config: BenchConfig, trust: bool = False) -> list[Target]:
    """The TARGETs of a comparison, ready to be sampled.

    Arguments:
        config: what is compared.
        trust: whether code that runs among them name may be run.

    Raises:
        ValueError: a TARGET that cannot be opened.
        TypeError: as `diffode.runs.targets.resolve`.
    """
    null, names = config.null_label, config.targets
    pipelines = [name for name in names if is_pipeline(name) or name.startswith(HUB)]
    if null is not None and not pipelines:
        raise ValueError(f"got null_label {null}, and no target is a pipeline of diffusers")
    return [
        resolve(
            name,
            device=config.device,
            trust=trust,
            null_label=null if name in pipelines else None,
        )
        for name in names
    ]


def guidances_of(config: BenchConfig, trust: bool = False) -> list[Guidance]:
    """How the fields of a comparison are guided, one after the other.

    Arguments:
        config, trust: as for `opened`.

    Raises:
        ValueError, TypeError: as `diffode.runs.targets.resolve`.
    """
    if config.classifier is None:
        return config.guidances
    by = resolve(config.classifier, device=config.device, trust=trust)
    return [replace(guidance, classifier=by) for guidance in config.guidances]


def own_data(targets: Sequence[Target]) -> list[str]:
    """The data set that TARGETs were trained on, where no other is given.

    Raises:
        ValueError: no data of their own, several, or data that no name alone gives again.
    """
    found = list(dict.fromkeys(_own_data(target) for target in targets))
    if len(found) > 1:
        raise ValueError(f"the targets were trained on {', '.join(found)}; give --data")
    return found


def _own_data(target: Target) -> str:
    target.dataset()  # it is there, and the same
    plan = target.plan
    assert plan is not None
    if plan.source == MEMORY or plan.reading:
        raise ValueError(
            f"{target.name} was trained on data that a name alone does not give: in memory, or "
            "read with options of their own; give --data"
        )
    return plan.data if plan.source is None else plan.source


def taken(
    config: BenchConfig, target: Target, name: str, dataset: Dataset, seed: int, out: Path
) -> Untrained:
    """A TARGET on a data set, below a comparison's folder.

    Raises:
        ValueError: data of another shape, other classes or other units than the TARGET's, or a
            field that needs labels where there are none.
    """
    field = target.field
    labels = config.labels and not field.unconditional
    target.beside(dataset, name)
    target.require_fits(dataset, name, labels)
    if needs_labels(field) and not config.labels:
        raise ValueError(
            f"{target.name} draws nothing without a label; give labels = true, or --labels"
        )
    y = dataset.labels(1) if labels else None
    key = key_of([__version__, target.name, name, labels, *identity(target, y)])
    stem = f"{code.word(target.name)}-{code.word(name)}-{seed}-{key}"
    return Untrained(target, name, seed, labels, key, out / "models" / stem)
