"""``--config FILE``: options from a file, taken as if they were typed before the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from diffode.code import place
from diffode.config_file import read_config
from diffode.files import to_home
from diffode.inputs import quoted

_TYPED = {"config", "dry_run", "help", "resume", "set", "trust"}  # on the command line alone
_READ = {"label": "label_column"}  # options of reading that are typed by another name
_RUN = {"field", "data", "options", "training"}  # what the config.json of a run has


def typed(path: Path, parameters: Iterable[Any], values: Mapping[str, Any]) -> list[str]:
    """What to type for a file's options, without those that the command line states.

    Arguments:
        path: a file that `read_config` reads, or the config.json of a run.
        parameters: those of the command, as typer has them.
        values: what the command line states, by the parameters' names.

    Raises:
        ValueError: an option that a file cannot state, or a value that is none.
    """
    options: dict[str, Any] = {}
    given = {text.partition("=")[0].strip() for text in values.get("assignments") or []}
    for parameter in parameters:
        names = {name.removeprefix("--").replace("-", "_") for name in parameter.opts}
        if parameter.param_type_name == "option":
            options |= dict.fromkeys(names, parameter)
        if values.get(parameter.name) is not None:
            given |= {(parameter.metavar or "").lower(), *names}
    words = []
    for name, value in _flat(read_config(path), path, "data" in given).items():
        key = name.replace("-", "_")
        if key in _TYPED:
            raise ValueError(f"{path}: {name} is an option of the command line alone")
        if value is not None and key not in given:
            words += _words(path, key, value, options.get(key))
    return words


def _flat(content: dict[str, Any], path: Path, moved: bool) -> dict[str, Any]:
    """The options of a file; of a run's config.json what its command line could have stated."""
    if not content.keys() >= _RUN:
        return content
    source = content.get("source")
    if source == "memory" and not moved:
        raise ValueError(f"{path} is of a run with data in memory; give DATA, where they are now")
    reading = content.get("reading") or {}  # of runs of earlier versions there is none
    parts = {key: content[key] for key in ("options", "training")} | {"reading": reading}
    for part, value in parts.items():
        if not isinstance(value, dict):
            raise ValueError(f"{path}: got {part} = {quoted(value)}; wanted options")
    own = {key: content.get(key) for key in ("field", "labels", "seed", "solver")}
    start = content.get("prior_source") or content.get("prior_data")
    places = {"data": source or content["data"], "prior_data": start}
    own |= {k: to_home(place) if isinstance(place, str) else place for k, place in places.items()}
    if own["prior_data"] == "memory":
        raise ValueError(
            f"{path} is of a run that starts from points in memory; begin such a run in Python"
        )
    read = {_READ.get(key, key): value for key, value in reading.items()}
    return {**own, **read, **content["options"], **content["training"]}


def _words(path: Path, key: str, value: object, parameter: Any) -> list[str]:  # noqa: ANN401
    """What to type for one option; without a parameter of its own it goes behind --set."""
    if isinstance(value, list) and all(isinstance(v, str) and "," not in v for v in value):
        value = ",".join(value)
    if not isinstance(value, bool | int | float | str):
        raise ValueError(
            f"{path}: got {key} = {quoted(value)}; wanted one value, or a list of names"
        )
    if isinstance(value, str) and place(value) is not None:
        raise ValueError(
            f"{path}: {key} is the code {quoted(value)}, which is run only where you say so: "
            f"give {key} on the command line"
        )
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if parameter is None:
        return ["--set", f"{key}={text}"]
    if not parameter.is_flag:
        return [f"{parameter.opts[-1]}={text}"]
    if not isinstance(value, bool):
        raise ValueError(f"{path}: got {key} = {quoted(value)}; wanted true or false")
    return [parameter.opts[0] if value else parameter.secondary_opts[0]]
