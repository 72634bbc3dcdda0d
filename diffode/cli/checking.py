"""``diffode check``."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import typer
from torch import nn

from diffode.cli.comparisons import Check
from diffode.cli.progress import Bar
from diffode.cli.sources import data_of
from diffode.data import Dataset
from diffode.data import load as load_data
from diffode.devices import choose
from diffode.fields.base import Field
from diffode.options import counted
from diffode.runs.loading import load
from diffode.runs.run import CONFIG
from diffode.testing import diagnose
from diffode.testing.attributes import require_stated

_WANTED = "wanted a Field, or a function without arguments that returns one"
_QUIET = 2.0  # seconds before progress is shown


def command(asked: Check) -> int:
    """Check a field, print a line for each check, and return 1 if one is wrong."""
    where = choose(asked.device)
    field, own = _target(asked.target)
    dataset = load_data(asked.data) if asked.data is not None else own
    bar, begun = Bar("check", 1), time.monotonic()

    def progress(done: int, of: int) -> None:
        if time.monotonic() - begun > _QUIET:
            bar.advance(done, total=of)

    try:
        report = diagnose(field.to(where).eval(), dataset, progress=progress)
    finally:
        bar.close()
    typer.echo(str(report))
    if dataset is None:
        typer.echo("no data given, so nothing was compared with an exact field: use --data")
    wrong, unsure = len(report.failures()), sum(f.ok is None for f in report.findings)
    if not wrong:
        doubt = f"no mistake found ({counted(unsure, 'check')} cannot tell)"
        typer.echo(doubt if unsure else "all is well")
        return 0
    named = f": {', '.join(report.mistakes)}" if report.mistakes else ""
    typer.echo(f"{wrong} of {len(report.findings)} checks failed{named}")
    return 1


def _target(target: str) -> tuple[Field, Dataset | None]:
    """The field of a run, a checkpoint or a program, and the run's data."""
    path = Path(target)
    if path.exists():
        objective = load(path)
        run = path if path.is_dir() else path.parent.parent
        return objective.field, data_of(run)[1] if (run / CONFIG).exists() else None
    place, colon, name = target.rpartition(":")
    if not colon or not place or not name:
        raise ValueError(
            f"got {target!r}, which does not exist; give a run directory, a checkpoint, "
            "module:attribute or file.py:attribute"
        )
    return _made(_module(place), name, target), None


def _module(place: str) -> ModuleType:
    """The module of a name or of a file, with the file's folder or the current one in reach."""
    try:
        if not place.endswith(".py"):
            sys.path.insert(0, "")
            return importlib.import_module(place)
        path = Path(place)
        if not path.is_file():
            raise ValueError(f"{place}: no such file; give the path of a Python file")
        sys.path.insert(0, str(path.parent.resolve()))
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
        return module
    except ValueError:
        raise
    except (Exception, SystemExit) as error:  # a user's module may raise anything
        raise ValueError(f"{place} cannot be imported: {type(error).__name__}: {error}") from error


def _made(module: ModuleType, name: str, target: str) -> Field:
    """The field of that name, or the one that a function of that name returns."""
    if not hasattr(module, name):
        raise ValueError(f"{target}: the module has no attribute {name!r}")
    value: Any = getattr(module, name)
    verb = "is"
    if not isinstance(value, Field) and _makes_fields(value, target):
        verb = "returned"
        try:
            value = value()
        except (Exception, SystemExit) as error:  # a user's function may raise anything
            raise ValueError(f"{target} raised {type(error).__name__}: {error}") from error
    if not isinstance(value, Field):
        raise TypeError(f"{target} {verb} an object of type {type(value).__name__}; {_WANTED}")
    require_stated(value, None)
    return value


def _makes_fields(value: object, target: str) -> bool:
    """Whether this may be called for a field: a class of fields, or a function that needs nothing.

    Raises:
        TypeError: another class, or a function with arguments that must be given.
    """
    if isinstance(value, type) and not issubclass(value, Field):
        raise TypeError(f"{target} is a class, and not one of fields; {_WANTED}")
    if not callable(value) or isinstance(value, nn.Module):
        return False
    try:
        given = inspect.signature(value).parameters.values()
    except ValueError:  # of a builtin that does not say
        given = dict[str, inspect.Parameter]().values()
    free = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [p.name for p in given if p.default is p.empty and p.kind not in free]
    if needed:
        raise TypeError(f"{target} takes arguments ({', '.join(needed)}); {_WANTED}")
    return True
