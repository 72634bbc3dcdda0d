"""The folder of a diffusers pipeline, here or on the hub: what stands in it, and where.

A folder is data. Its configurations are read as JSON; a class name in them chooses a row of a
fixed table and imports nothing, and a file name in an index of shards is one of the same folder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffode.files import read_json
from diffode.inputs import brief, parse_json, quoted, read_text, require_file
from diffode.interop.configs import KNOWN

INDEX = "model_index.json"
NETWORKS, DECODERS = ("unet", "transformer", "model"), ("vae", "vqvae")
DITS = ("DiTTransformer2DModel", "Transformer2DModel")  # two names of one class
HUB = "hf:"  # before a name on the hub, where a folder might be meant
_ID = re.compile(r"[\w.-]+/[\w.-]+")
_STEM = "diffusion_pytorch_model"
_READ = ["*.json", "*.safetensors"]


@dataclass(frozen=True)
class Part:
    """A model of a pipeline.

    Attributes:
        folder: where its configuration and weights stand.
        config: its configuration.
        kind: the name of its class.
        variant: the word in the names of its weights' files, as "fp16"; None for none.
        safe: whether the weights are safetensors.
    """

    folder: Path
    config: dict[str, Any]
    kind: str
    variant: str | None
    safe: bool


@dataclass(frozen=True)
class Pipeline:
    """A pipeline: its name, its scheduler's configuration, its network and its decoder."""

    name: str
    scheduler: dict[str, Any]
    network: Part
    decoder: Part | None


def is_pipeline(place: str | Path) -> bool:
    """Whether a pipeline's folder is there."""
    return (Path(place) / INDEX).is_file()


def is_hub_id(text: str) -> bool:
    """Whether a text has the form of a name on the hub, owner/name."""
    return _ID.fullmatch(text) is not None and ".." not in text


def located(place: str | Path) -> Path:
    """The folder of a pipeline: itself, or the hub library's copy of owner/name, hf:owner/name.

    Raises:
        ValueError: neither.
    """
    path, name = Path(place), str(place).removeprefix(HUB)
    if is_pipeline(path):
        return path
    if path.exists():
        raise ValueError(f"{place} has no {INDEX}; wanted the folder of a diffusers pipeline")
    if not is_hub_id(name):
        raise ValueError(
            f"{quoted(str(place))} does not exist; wanted the folder of a diffusers pipeline or a "
            "name on the hub, owner/name"
        )
    return _downloaded(name)


def _downloaded(name: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise ValueError(
            f"{name} needs the package huggingface_hub, which is not installed: "
            "pip install 'diffode[diffusers]'"
        ) from None
    try:
        folder = Path(snapshot_download(name, allow_patterns=_READ))
        if is_pipeline(folder) and not list(folder.glob("*/*.safetensors")):
            folder = Path(snapshot_download(name, allow_patterns=[*_READ, "*.bin"]))
    except Exception as error:  # no network, no such name, none in the cache, ...
        raise ValueError(f"{name} cannot be had: {brief(str(error), 300)}") from None
    if not is_pipeline(folder):
        raise ValueError(f"{name} has no {INDEX}; wanted a diffusers pipeline")
    return folder


def stamp(folder: Path) -> list[tuple[str, int, int]]:
    """What shows that a pipeline's folder became another: its files' names, sizes and times."""
    known = []
    for file in sorted((*folder.glob("*.json"), *folder.glob("*/*"))):
        try:
            stat = file.stat()
        except OSError:
            continue  # gone, or a link to nothing
        if file.suffix in (".json", ".safetensors", ".bin"):
            known.append((str(file), stat.st_size, stat.st_mtime_ns))
    return known


def read(folder: Path, variant: str | None = None) -> Pipeline:
    """What stands in a pipeline's folder.

    Arguments:
        folder: with a ``model_index.json``.
        variant: the weights to take where there are several, as "fp16".

    Raises:
        ValueError: a part or a file that is missing or damaged.
    """
    index = _object(folder / INDEX)
    found = [key for key in NETWORKS if _class_of(index, key)]
    if not found:
        raise ValueError(f"{folder / INDEX} names none of {', '.join(NETWORKS)}")
    scheduler = _object(folder / "scheduler" / "scheduler_config.json")
    named = _class_of(index, "scheduler")
    scheduler.setdefault("_class_name", named)
    stated = scheduler["_class_name"]
    if named and stated != named and _row(stated) != _row(named):
        raise ValueError(
            f"{folder / INDEX} says that the scheduler is of class {quoted(named)}, and "
            f"scheduler_config.json says {quoted(stated)}; make the two agree"
        )
    decoders = [key for key in DECODERS if _class_of(index, key)]
    return Pipeline(
        str(index.get("_class_name")),
        scheduler,
        _part(folder, index, found[0], variant),
        _part(folder, index, decoders[0], variant) if decoders else None,
    )


def _row(name: object) -> object:
    """What decides the path of a scheduler's class: classes of one row differ in their solver."""
    return KNOWN.get(name, name) if isinstance(name, str) else None


def _object(path: Path) -> dict[str, Any]:
    content = parse_json(read_text(path))
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged; wanted a JSON object")
    return content


def _class_of(index: Mapping[str, Any], key: str) -> str | None:
    """The class that an index names for a part, ["library", "class"]."""
    entry = index.get(key)
    known = isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], str)
    return entry[1] if known else None  # type: ignore[index]


def _part(folder: Path, index: Mapping[str, Any], key: str, variant: str | None) -> Part:
    place = folder / key
    config = _object(place / "config.json")
    if config.get("quantization_config") is not None:
        raise ValueError(f"{place / 'config.json'}: quantised weights are not read")
    named, stated = _class_of(index, key), config.get("_class_name")
    kind = str(stated or named)
    if stated and stated != named and not (stated in DITS and named in DITS):
        raise ValueError(
            f"{folder / INDEX} says that {key} is of class {quoted(named)}, and its config.json "
            f"says {quoted(stated)}; make the two agree"
        )
    found = {_variant(file): file for file in sorted(place.glob(f"{_STEM}*")) if _kind(file)}
    if not found:
        raise ValueError(f"{place} has no weights; wanted {_STEM}.safetensors or .bin")
    variants = sorted({name for name, _ in found}, key=lambda name: (name != "", name))
    chosen = variants[0] if variant is None else variant
    if chosen not in variants:
        said = ", ".join(name or "none" for name in variants)
        raise ValueError(f"{place} has no weights of the variant {quoted(variant)}; it has {said}")
    for (name, _), file in found.items():
        if name == chosen and file.name.endswith(".json"):
            _require_own(file)
        elif name == chosen:
            require_file(file)
    return Part(place, config, kind, chosen or None, (chosen, True) in found)


def _kind(file: Path) -> bool:
    return re.search(r"\.(safetensors|bin)(\.index(\.[\w-]+)?\.json)?$", file.name) is not None


def _variant(file: Path) -> tuple[str, bool]:
    """The variant of a file of weights, and whether it is safetensors."""
    named = file.name.removeprefix(_STEM)
    safe = ".safetensors" in named
    inside = re.search(r"\.index\.([\w-]+)\.json$", named)
    if inside:
        return inside[1], safe
    word = re.sub(r"(\.safetensors|\.bin)(\.index\.json)?$", "", named)
    word = re.sub(r"-\d+-of-\d+", "", word)
    return word.strip("."), safe


def _require_own(index: Path) -> None:
    """Refuse an index of shards that names files elsewhere.

    Raises:
        ValueError: one that does, or that is damaged.
    """
    shards = read_json(index).get("weight_map")
    names: list[Any] = list(shards.values()) if isinstance(shards, dict) else [None]
    for name in names:
        if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+", name) or ".." in name:
            raise ValueError(f"{index} names the file {quoted(name)}; wanted one of its folder")
    for name in set(names):
        require_file(index.parent / name)
