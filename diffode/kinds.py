"""The kinds of things that have names, see `diffode.registry`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of things that have names.

    Attributes:
        noun: what messages call one of them.
        group: of the entry points that bring further ones.
        home: the module that registers diffode's own when it is imported.
        also: what else may be given, as messages say after the names.
    """

    noun: str
    group: str
    home: str
    also: str = ""


_PATHS = (
    "; or give the path of a .npy, .npz, .csv or .parquet file that is there, or of a folder"
    " of images or of IDX files"
)
_CLASSIFIER = ", or the path of a .safetensors file from diffode features"
KINDS = {
    "recipe": Kind("field", "diffode.recipes", "diffode.recipes"),
    "solver": Kind("solver", "diffode.solvers", "diffode.solvers"),
    "grid": Kind("grid", "diffode.grids", "diffode.solvers.grids", ", own"),
    "schedule": Kind("schedule", "diffode.schedules", "diffode.fields.named"),
    "network": Kind("network", "diffode.networks", "diffode.nn", ", auto"),
    "source": Kind("data set", "diffode.sources", "diffode.data", _PATHS),
    "metric": Kind("metric", "diffode.metrics", "diffode.metrics.builtin"),
    "feature": Kind("feature space", "diffode.features", "diffode.metrics.features", _CLASSIFIER),
}
