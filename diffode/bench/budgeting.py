"""The error budgets of a comparison: one for each field of the first seed, kept once made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffode import code
from diffode.analysis.bound import wasserstein_bound
from diffode.analysis.budget import error_budget
from diffode.analysis.stages import exact_field
from diffode.bench.config import BenchConfig
from diffode.bench.models import Model
from diffode.bench.stored import BudgetFigures, read_part, write_part
from diffode.bench.untrained import Subject, Untrained
from diffode.data import Dataset
from diffode.fields import PoissonField
from diffode.fields.affine import AffineField
from diffode.fields.base import Field
from diffode.inputs import file_word
from diffode.rng import Rng
from diffode.runs.keys import key_of, key_of_values

FORMAT = 2
ROWS, BOUNDED = 1500, 200


def budgeted(model: Subject, dataset: Dataset, config: BenchConfig, out: Path) -> dict[str, Any]:
    """The budget of a model, or why it has none.

    Arguments:
        model: a trained one; what was trained elsewhere has none, for its data are not known.
        dataset: its data.
        config: whose ``budget`` names the solver and its evaluations.
        out: the comparison's folder.
    """
    if isinstance(model, Untrained):
        why = "it was not trained here, so that the exact field of its data is not known"
        return {"name": model.name, "refused": why}
    spec, nfe = config.budgeted()
    about = [FORMAT, model.key, key_of_values(dataset.test), spec.text, nfe, ROWS, BOUNDED]
    stem = f"{code.word(model.plan.field)}-{key_of(about)}"
    path = out / "budgets" / file_word(Path(model.plan.data).stem) / f"{stem}.json"
    if not path.exists():
        write_part(path, _measured(model, dataset, config))
    name = model.plan.field
    return {"name": name} | read_part(path, BudgetFigures, name=name)


def _measured(model: Model, dataset: Dataset, config: BenchConfig) -> dict[str, Any]:
    field, seed = model.field().eval(), model.plan.seed
    if model.plan.labels:
        return {"refused": "trained on labels: its exact field is one for each class"}
    spec, nfe = config.budgeted()
    own = field.sampling_defaults is not None
    try:
        made = error_budget(
            field,
            dataset,
            None if own else spec.chosen(),
            n=min(ROWS, len(dataset.train)),
            seed=seed,
            nfe=None if own else nfe,
            grid=None if own else spec.grid,
            name=model.plan.field,
        )
    except ValueError as error:
        return {"refused": " ".join(str(error).split())}
    return made.asdict() | _bound(field, dataset, seed)


def _bound(field: Field, dataset: Dataset, seed: int) -> dict[str, Any]:
    """Theory's bound, for data whose law is known and a start that is not bound to rows."""
    affine = isinstance(field, AffineField) and not isinstance(field, PoissonField)
    if dataset.law is None or not affine:
        return {}
    assert isinstance(field, AffineField)
    x0, _ = dataset.law.sample(BOUNDED, Rng(seed))
    found = wasserstein_bound(field, exact_field(field, dataset), x0, steps=100, seed=seed)
    return {"bound": {k: getattr(found, k) for k in ("value", "measured", "exponent")}}
