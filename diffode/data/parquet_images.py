"""Images in parquet files, as the Hugging Face hub has them.

A column of images is one of bytes, or of ``{bytes, path}``, of which the path is never opened.
Labels stand in the column that is asked for, else in ``label``, else in the only one that the
metadata of the hub call a class. Numbers are called as these metadata say; texts are names. A file
belongs to the split that its name, or its folder, begins with: ``train-00000-of-00002.parquet``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from diffode.data import imagetable
from diffode.data.base import Dataset
from diffode.data.imagetable import Piece, columns_of
from diffode.data.reading import Reading
from diffode.inputs import brief, parse_json, quoted, require_file

_ROWS = 256  # that are read at once


def holds_images(path: str | Path) -> bool:
    """Whether a parquet file has a column of images.

    Raises:
        FileNotFoundError, ValueError: as `dataset`.
    """
    return bool(_image_columns(opened(Path(path)).schema_arrow))


def dataset(
    name: str, folder: str | Path, paths: Sequence[str], reading: Reading, seed: int = 0
) -> Dataset:
    """The data set of parquet files; `seed` chooses what is held out where no file is.

    Arguments:
        name: of the set.
        folder: where the files stand.
        paths: of the files in the folder, with slashes.
        reading: how they are read; ``columns`` and ``label`` name columns.
        seed: of the choice.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: one that cannot be read, pyarrow is not installed, or no set of images.
    """
    files = {path: opened(Path(folder) / path) for path in paths}
    schema = files[paths[0]].schema_arrow
    columns = columns_of(_image_columns(schema), schema.names, _classes(schema), reading)
    wanted = [column for column in (columns.image, columns.label) if column is not None]
    for path, file in files.items():
        lacking = sorted(set(wanted) - set(file.schema_arrow.names))
        if lacking:
            raise ValueError(f"{quoted(path)} has no column {quoted(lacking[0])}")
    pieces = [
        Piece(path, file.metadata.num_rows, partial(_rows, path, file, *wanted))
        for path, file in files.items()
    ]
    return imagetable.dataset(name, pieces, columns, reading, seed)


def _rows(path: str, file: Any, image: str, label: str | None = None) -> Iterator[tuple[Any, Any]]:  # noqa: ANN401
    """The image and the label of each row of a file, some rows at a time."""
    columns = [image] if label is None else [image, label]
    with damage_named(path):
        batches = file.iter_batches(_ROWS, columns=columns)
    while True:
        with damage_named(path):
            batch = next(batches, None)
            rows = None if batch is None else batch.to_pydict()
        if rows is None:
            return
        yield from zip(rows[image], rows.get(label, [None] * len(rows[image])), strict=True)


@contextmanager
def damage_named(path: str | Path) -> Iterator[None]:
    """Say which file it is where pyarrow cannot read what stands in it.

    Raises:
        ValueError: in place of whatever pyarrow raises, which has many kinds.
    """
    try:
        yield
    except Exception as error:
        raise ValueError(f"{quoted(str(path))} is damaged: {brief(str(error), 200)}") from None


def opened(path: Path) -> Any:  # noqa: ANN401
    """A parquet file, read by pyarrow.

    Raises:
        FileNotFoundError: no such file.
        ValueError: pyarrow is not installed, or no parquet file.
    """
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise ValueError(
            f"{path} needs pyarrow, which is not installed: pip install 'diffode[parquet]'"
        ) from None
    try:
        return ParquetFile(require_file(path))
    except FileNotFoundError:
        raise
    except Exception as error:  # of pyarrow's own kinds
        raise ValueError(f"{path} is no parquet file: {brief(str(error), 200)}") from None


def _image_columns(schema: Any) -> list[str]:  # noqa: ANN401
    """The columns of bytes, or of structures with bytes in them."""
    return [field.name for field in schema if _holds_bytes(field.type)]


def _holds_bytes(kind: Any) -> bool:  # noqa: ANN401
    from pyarrow import types

    if types.is_struct(kind):
        place = kind.get_field_index("bytes")
        return place >= 0 and _holds_bytes(kind.field(place).type)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def within_others(kind: Any) -> bool:  # noqa: ANN401
    """Whether a type of arrow has bytes within lists or structures."""
    inner = [kind.field(k).type for k in range(kind.num_fields)]
    return any(_holds_bytes(one) or within_others(one) for one in inner)


def _classes(schema: Any) -> dict[str, tuple[str, ...]]:  # noqa: ANN401
    """The columns that the metadata of the hub call classes, with the names of these."""
    found = parse_json((schema.metadata or {}).get(b"huggingface", b"{}"))
    for key in ("info", "features"):
        found = found.get(key) if isinstance(found, dict) else None
    features = found.items() if isinstance(found, dict) else ()
    known = {name: _names(feature) for name, feature in features}
    return {name: names for name, names in known.items() if names and name in schema.names}


def _names(feature: object) -> tuple[str, ...]:
    """The names of the classes of a column; none where it is of no classes."""
    if not isinstance(feature, dict) or feature.get("_type") != "ClassLabel":
        return ()
    names = feature.get("names")
    texts = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return tuple(names) if isinstance(names, list) and texts else ()
