"""Tensors in a pickle that was read as data: checked against the bytes that there are."""

from __future__ import annotations

import io
import math
import warnings
import zipfile
from typing import Any

import torch
from torch import Tensor

from diffode.inputs import quoted
from diffode.interop.edm_pickle import (
    BYTES,
    PARAMETER,
    PERSISTENT,
    STORAGE,
    TENSOR,
    Record,
    Refused,
    read_next,
)

_TYPES = {"Half": torch.float16, "Float": torch.float32, "Double": torch.float64}
_TYPES["BFloat16"] = torch.bfloat16
_MOST_VISITS, _MOST_DEPTH = 50_000, 30


class Storages:
    """The numbers behind tensors: in the pickle itself, or beside it in an archive of torch.

    Arguments:
        archive: that archive, and the folder in it; None where the pickle holds them.
    """

    def __init__(self, archive: tuple[zipfile.ZipFile, str] | None = None) -> None:
        self.archive = archive
        self.known: dict[object, Tensor] = {}

    def tensor(self, value: object) -> Tensor:
        """The tensor of a record, float32.

        Raises:
            Refused: no tensor of real numbers, or one that is not inside its storage.
        """
        if type(value) is Record and value.name == PARAMETER and value.args:
            value = value.args[0]
        if type(value) is not Record or value.name != TENSOR or len(value.args) < 4:
            raise Refused("it has something else where a tensor should be")
        storage, start, size, stride = value.args[:4]
        numbers = self._numbers(storage)
        if not (_counts((start,)) and _counts(size) and _counts(stride)):
            raise Refused("it has a tensor of no shape")
        last = start + sum((n - 1) * step for n, step in zip(size, stride, strict=False))
        count = math.prod(size)
        if len(size) != len(stride) or count > len(numbers) or (count and last >= len(numbers)):
            raise Refused("it has a tensor that is larger than its storage")
        found = numbers.as_strided(size, stride, start).float()
        if not bool(found.isfinite().all()):
            raise Refused("it has weights that are not finite")
        return found

    def _numbers(self, storage: object) -> Tensor:
        """A storage as a vector."""
        if type(storage) is not Record or not storage.args:
            raise Refused("it has a tensor without a storage")
        key = storage.args[1] if storage.name == STORAGE else id(storage)
        if key not in self.known:
            packed = storage.name == BYTES
            self.known[key] = (_packed if packed else self._beside)(storage)
        return self.known[key]

    def _beside(self, storage: Record) -> Tensor:
        """The numbers of a storage in the archive."""
        if self.archive is None or storage.name != STORAGE:
            raise Refused("it has a tensor without a storage")
        dtype, size = _extent(storage)
        archive, folder = self.archive
        data = bytearray(read_part(archive, f"{folder}data/{storage.args[1]}", size))
        if len(data) != size:
            raise Refused(f"its storage {quoted(storage.args[1])} is not as large as it says")
        return torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)

    def require_apart(self, tensors: dict[str, Tensor]) -> None:
        """Refuse many tensors of few numbers.

        Raises:
            Refused: more numbers in tensors than in storages.
        """
        if sum(t.numel() for t in tensors.values()) > sum(map(len, self.known.values())):
            raise Refused("its tensors share their numbers, as those of no such network do")


def _counts(values: object) -> bool:
    """Whether these are whole numbers from 0 on."""
    return type(values) is tuple and all(type(n) is int and 0 <= n < 2**40 for n in values)


def read_part(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """A file of an archive.

    Raises:
        Refused: it is not there, larger than so many bytes, or packed.
    """
    try:
        entry = archive.getinfo(name)
    except KeyError:
        raise Refused(f"it lacks {quoted(name)}") from None
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
        raise Refused("its parts are packed, which torch never does")
    if entry.file_size > most:
        raise Refused(f"its {quoted(name)} is not as large as it says, or larger than any")
    return archive.read(entry)


def _extent(storage: Record) -> tuple[torch.dtype, int]:
    """The type of the numbers of a storage, and how many bytes it says that it has."""
    kind, _, count = storage.args
    dtype = _TYPES.get(kind.removeprefix("torch.").removesuffix("Storage"))
    if dtype is None:
        raise Refused("it has a storage of something else than weights")
    return dtype, count * dtype.itemsize


def _packed(storage: Record) -> Tensor:
    """The numbers of a storage that torch has put into bytes.

    They are four pickles and the numbers. What those say of themselves is looked at, and then
    torch reads it, weights only.
    """
    data = storage.args[0]
    if type(data) is not bytes:
        raise Refused("it has a storage that is none")
    stream = io.BytesIO(data)
    try:
        said = [read_next(stream, stored=True) for _ in range(4)][3]
    except Refused:
        raise Refused("it has a damaged storage") from None
    if type(said) is not Record or said.name != STORAGE or _extent(said)[1] > len(data):
        raise Refused("it has a storage that is not as large as it says")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
            numbers = torch.empty(0, dtype=found.dtype).set_(found)
    except Exception:  # torch raises anything for damaged bytes
        raise Refused("it has a damaged storage") from None
    return numbers


def network_tensors(module: Record, storages: Storages) -> dict[str, Tensor]:
    """The parameters and buffers of a module and of those inside it, by their names.

    Raises:
        Refused: modules that are none, inside each other without end, or tensors that are none.
    """
    found: dict[str, Tensor] = {}
    waiting: list[tuple[str, int, object]] = [("", 0, module)]
    visits = 0
    while waiting:
        prefix, depth, part = waiting.pop()
        state = state_of(part)
        visits += 1
        if visits > _MOST_VISITS or depth > _MOST_DEPTH:
            raise Refused("it has modules inside modules without end")
        for kind in ("_parameters", "_buffers", "_modules"):
            for name, value in _table(state, kind).items():
                if type(name) is not str or not name.replace("_", "").isalnum():
                    raise Refused(f"it has a module or tensor of the name {quoted(name)}")
                if value is None:
                    continue
                if kind == "_modules":
                    waiting.append((f"{prefix}{name}.", depth + 1, value))
                    continue
                visits += 1
                found[prefix + name] = storages.tensor(value)
    storages.require_apart(found)
    return found


def state_of(module: object) -> dict[str, Any]:
    """What a module of a file has in itself.

    Raises:
        Refused: it is no module.
    """
    state = module.state if type(module) is Record else None
    if type(module) is Record and module.name == PERSISTENT:
        state = _meta(module).get("state")
    if type(state) is not dict:
        raise Refused("it has something else where a module should be")
    return state


def class_of(module: object) -> str:
    """The name of the class of a module that came with its source; empty for another one."""
    if type(module) is not Record or module.name != PERSISTENT:
        return ""
    name = _meta(module).get("class_name")
    return name if type(name) is str else ""


def _meta(module: Record) -> dict[str, Any]:
    found = module.args[0] if len(module.args) == 1 else None
    return found if type(found) is dict else {}


def _table(state: dict[str, Any], kind: str) -> dict[Any, Any]:
    found = state.get(kind)
    if type(found) is not dict:
        raise Refused("it has a module without its tables")
    return found
