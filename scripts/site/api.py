"""The pages of the API: every public name of every public package."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import diffode
from scripts.site.writing import page


def packages() -> list[str]:
    """The packages that say what is public in them, `diffode` first."""
    inside = [f"diffode.{module.name}" for module in pkgutil.iter_modules(diffode.__path__)]
    return ["diffode", *(name for name in inside if _public(name))]


def _public(package: str) -> list[str]:
    if package.endswith("__main__"):
        return []
    module = importlib.import_module(package)
    return sorted(getattr(module, "__all__", [])) if hasattr(module, "__path__") else []


def documented(package: str) -> Iterator[tuple[str, str]]:
    """The public names of a package, each with the place where it is written."""
    module = importlib.import_module(package)
    for name in _public(package):
        thing = getattr(module, name)
        homes = getattr(module, "_HOMES", {})  # of names that are imported when they are used
        home = homes.get(name) or getattr(thing, "__module__", None)
        written = inspect.isclass(thing) or inspect.isroutine(thing)
        known = written and str(home).startswith("diffode")
        yield name, f"{home}.{thing.__qualname__}" if known else f"{package}.{name}"


def api(package: str) -> str:
    """The page of a package; a name of `diffode` itself stands on its page alone."""
    above = {} if package == "diffode" else {place: name for name, place in documented("diffode")}
    about = (inspect.getdoc(importlib.import_module(package)) or "").split("\n\n")[0]
    names = list(documented(package))
    own = [place for _, place in names if place not in above]
    also = [f"[`{above[place]}`][{place}]" for _, place in names if place in above]
    return page(
        package,
        about,
        f"Write `from {package} import NAME`.",
        *([f"Also here: {', '.join(also)}."] if also else []),
        *(f"::: {place}" for place in own),
    )
