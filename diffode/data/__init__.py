"""Data sets: 2-D toys whose density is known, 8x8 digits inside the package, and your own.

Importing this module, listing the sets and describing them needs neither torch nor numpy.

>>> from diffode.data import load
>>> moons = load("moons")
>>> moons
Dataset(moons: 20000 train and 4000 test points of shape (2,), 2 classes, log-density known)
>>> moons.log_density(moons.test[:1]).shape
torch.Size([1])
"""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffode import code, registry
from diffode.inputs import quoted
from diffode.options import nearby, require_takes

if TYPE_CHECKING:
    from diffode.data.base import Dataset
    from diffode.data.memory import Data
    from diffode.data.reading import Reading

__all__ = ["Dataset", "as_dataset", "load", "names"]

_PATHS = ".npy", ".npz"
_TABLE = ".parquet"
_TEXTS = ".csv", ".tsv"
_CLOTHES = (
    "t-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag",
    "ankle boot",
)  # fmt: skip
_TOYS = {
    "eight-gaussians": (
        "eight equal Gaussians on a ring, 8 classes, exact density",
        "Metz et al. (2017), Unrolled GANs, https://arxiv.org/abs/1611.02163",
    ),
    "blobs": (
        "four Gaussians of weights .50, .25, .15 and .10, far apart, 4 classes, exact density",
        "diffode",
    ),
    "moons": (
        "two interleaved half circles with noise, 2 classes, exact density",
        "Pedregosa et al. (2011), scikit-learn, https://jmlr.org/papers/v12/pedregosa11a.html",
    ),
    "swiss-roll": (
        "a spiral with noise, exact density",
        "Sohl-Dickstein et al. (2015), https://arxiv.org/abs/1503.03585",
    ),
    "pinwheel": (
        "five Gaussian arms twisted around the origin, 5 classes, exact density",
        "Johnson et al. (2016), https://arxiv.org/abs/1603.06277",
    ),
    "checkerboard": (
        "uniform on the eight dark squares of a board, exact density",
        "Grathwohl et al. (2019), FFJORD, https://arxiv.org/abs/1810.01367",
    ),
}


def _digits(seed: int) -> Dataset:
    from diffode.data import digits

    return digits.dataset()


def _black_and_white(seed: int) -> Dataset:
    from diffode.data import digits

    return digits.black_and_white()


def _fashion(seed: int) -> Dataset:
    from diffode.data import idx

    return dataclasses.replace(
        idx.named("fashion-mnist"), classes=len(_CLOTHES), class_names=_CLOTHES
    )


for _name, (_about, _reference) in _TOYS.items():
    registry.register(
        "source",
        _name,
        "diffode.data.toys:dataset",
        about=_about,
        reference=_reference,
        arguments=(_name,),
    )
registry.register(
    "source",
    "digits",
    _digits,
    about="1797 gray 8x8 images of handwritten digits, 10 classes, kept inside the package",
    reference="Alpaydin and Kaynak (1998), UCI repository, https://doi.org/10.24432/C50P49",
)
registry.register(
    "source",
    "digits-binary",
    _black_and_white,
    about="the digits in black and white: a pixel is 1 from half of the full ink on, 10 classes",
    reference="Alpaydin and Kaynak (1998), UCI repository, https://doi.org/10.24432/C50P49",
)
registry.register(
    "source",
    "dna",
    "diffode.data.strings:dataset",
    about="strings of six letters A, C, G, T by two Markov chains, 2 classes, exact probability",
    reference="diffode",
)
registry.register(
    "source",
    "fashion-mnist",
    _fashion,
    about="70000 gray 28x28 images of clothes, 10 classes, where its files are (diffode.data.idx)",
    reference="Xiao et al. (2017), https://arxiv.org/abs/1708.07747",
)


def names() -> list[str]:
    """The names that `load` knows, in the order in which they are listed."""
    return registry.names("source")


def source_of(name_or_path: str | Path) -> str:
    """What finds a data set from any folder: its name, or the absolute path of what is there."""
    name = str(name_or_path)
    path = os.path.expanduser(name)
    if name not in names() and os.path.exists(path):
        return os.path.abspath(path)
    return str(code.place(name) or name)


def load(name_or_path: str | Path, seed: int = 0, **reading: Any) -> Dataset:  # noqa: ANN401
    """The data set of that name, or the one in a file or a folder.

    Arguments:
        name_or_path: one of `names()`, the path of an array file (see `diffode.data.arrays`), of
            a folder of images (`diffode.data.folder`) or of IDX files (`diffode.data.idx`), of
            parquet files with images (`diffode.data.parquet_images`), a set of the Hugging Face
            hub as ``hf:owner/name``, or the place of code, as ``mine.py:points``, which is run: a
            function of the seed that returns what `as_dataset` takes.
        seed: chooses the points of a toy, or the held-out rows of a file. The split of the digits
            is fixed, so that their test set is the same everywhere.
        reading: how it is read, as ``scale="none"``, see `diffode.data.reading.Reading`.

    Raises:
        ValueError: no such name, a file that cannot be used, or an option that it does not have.
        FileNotFoundError: no such file, or a named set whose files are not on this machine.
    """
    return _load(str(name_or_path), seed, _reading(reading), run=True)


def stored(source: str, reading: Mapping[str, Any] | None = None) -> Dataset:
    """As `load`, for a name that stands in a file: no code of a place is run for it."""
    return _load(source, 0, _reading(reading or {}), run=False)


def as_dataset(data: Data, name: str = "memory", seed: int = 0, **reading: Any) -> Dataset:  # noqa: ANN401
    r"""The data set that is meant: itself, one by its name or path, or one of what is in memory.

    Arguments:
        data: a data set, its name or path, or what is in memory: an array or a tensor
            (M, \*event), a pair (x, labels), a list or a map-style `torch.utils.data.Dataset` of
            samples, each alone or with its label; `diffode.data.arrays` says what is made of
            numbers, `diffode.data.pictures` of images of Pillow.
        name: of data in memory.
        seed, reading: as for `load`.

    Raises:
        TypeError: something that holds no data.
        ValueError: no data set of that name, or data that cannot be used.
        FileNotFoundError: as for `load`.
    """
    from diffode.data import memory
    from diffode.data.base import Dataset

    if isinstance(data, Dataset):
        _reading(reading).require(data.name)
        return data
    if isinstance(data, str | Path):
        return load(data, seed, **reading)
    return memory.dataset(data, name, seed, _reading(reading))


def _reading(options: Mapping[str, Any]) -> Reading:
    from diffode.data.reading import Reading

    return Reading.of(options) if options else Reading()


def _load(name: str, seed: int, reading: Reading, run: bool) -> Dataset:
    found = _found(name, seed, reading, run)
    return dataclasses.replace(found, source=source_of(name), reading=reading)


def _found(name: str, seed: int, reading: Reading, run: bool) -> Dataset:
    if name.lower().endswith(_PATHS):
        from diffode.data import arrays

        return arrays.dataset(name, seed, reading)
    if os.path.isdir(name) and name not in names():
        return _of_folder(name, seed, reading)
    if name.lower().endswith(_TEXTS):
        from diffode.data import tables

        return tables.dataset(Path(name).expanduser(), seed, reading)
    if name.lower().endswith(_TABLE):
        return _of_table(Path(name).expanduser(), seed, reading)
    if name.startswith("hf:"):
        from diffode.data import hub

        return hub.dataset(name, reading, seed)
    others = [] if registry.is_known("source", name) else nearby(name)
    entry = registry.find("source", name, run=run, others=others)
    value = entry.value
    if callable(value):
        arguments = (*entry.facts.get("arguments", ()), *([seed] if _takes_any(value) else []))
        require_takes(f"the data set {quoted(name)}", value, *arguments)
        value = value(*arguments)
    try:
        return as_dataset(value, code.short(name), seed, **reading.stated())
    except (TypeError, ValueError) as error:
        raise type(error)(f"the data set {quoted(name)}: {error}") from None


def _of_folder(name: str, seed: int, reading: Reading) -> Dataset:
    from diffode.data import folder, idx, parquet_images

    if (Path(name) / "checkpoints").is_dir() and (Path(name) / "config.json").is_file():
        raise ValueError(
            f"{quoted(name)} is a run, which holds no data; diffode train --resume goes on with "
            "it, and diffode sample, eval and plot take it"
        )
    if idx.is_idx(name):
        reading.require(name)
        return idx.dataset(name)
    files = folder.listed(Path(name))
    tables = [path for path in files.paths if path.endswith(_TABLE)]
    try:
        if tables and parquet_images.holds_images(Path(name) / tables[0]):
            title = os.path.basename(files.folder)
            return parquet_images.dataset(title, files.folder, tables, reading, seed)
        return folder.dataset(files, reading, seed)
    except ValueError as error:
        raise ValueError(f"{quoted(name)}: {error}") from None


def _of_table(path: Path, seed: int, reading: Reading) -> Dataset:
    from diffode.data import parquet_images, tables

    if not parquet_images.holds_images(path):
        return tables.dataset(path, seed, reading)
    try:
        return parquet_images.dataset(path.name, path.parent, [path.name], reading, seed)
    except ValueError as error:
        raise ValueError(f"{quoted(str(path))}: {error}") from None


def _takes_any(function: Callable[..., object]) -> bool:
    try:
        return bool(inspect.signature(function).parameters)
    except ValueError:  # of a builtin, which does not say
        return True


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name == "Dataset":
        from diffode.data.base import Dataset

        return Dataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
