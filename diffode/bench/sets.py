"""The data sets of a comparison: of memory where they are given, else loaded."""

from __future__ import annotations

from collections.abc import Mapping

from diffode import data as datasets
from diffode.bench.config import BenchConfig
from diffode.data import Dataset, as_dataset
from diffode.data.memory import Data


def datasets_of(config: BenchConfig, data: Mapping[str, Data]) -> dict[str, Dataset]:
    """The sets that a configuration names, in its order.

    Arguments:
        config: what is compared.
        data: what is in memory of them, by their names.

    Raises:
        ValueError: data of another name, or labels asked of a set that has none.
        TypeError: data in memory that are none.
    """
    given = {name: as_dataset(value, name) for name, value in data.items()}
    if unknown := given.keys() - set(config.data):
        raise ValueError(f"got data for {sorted(unknown)}; the sets compared are {config.data}")
    found = {
        name: given[name] if name in given else datasets.stored(datasets.source_of(name))
        for name in config.data
    }
    for dataset in found.values():
        if config.labels and dataset.train_labels is None:
            raise ValueError(f"data set {dataset.name!r} has no labels; compare without them")
    return found
