"""Code of the user's own: what ``mine.py:name`` and ``package.module:name`` lead to.

To open such a name is to run the file, with all that this may do. So only a name that the user
gave is opened, never one because it stands inside a file that is read. A file is known by the
SHA-256 of its content, so that one that has changed is noticed.
"""

from __future__ import annotations

import hashlib
import importlib
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any

from diffode.inputs import brief, file_word, quoted, read_bytes
from diffode.options import suggest

_NAME = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_FORM = re.compile(rf"(.+\.py|{_NAME}):({_NAME})")
_RAN: dict[Path, tuple[str, ModuleType]] = {}  # the files that ran: fingerprint and module
_IMPORTED: set[str] = set()  # the modules that were named, but torch's


@dataclass(frozen=True)
class Place:
    """Where a piece of code stands.

    Attributes:
        module: the absolute path of a Python file, or the name of a module.
        attribute: the name in it, which may have dots.
    """

    module: str
    attribute: str

    def __str__(self) -> str:
        return f"{self.module}:{self.attribute}"

    @property
    def is_file(self) -> bool:
        """Whether the module is a file."""
        return self.module.endswith(".py")


def place(text: str) -> Place | None:
    """The place that a text names as ``file.py:name`` or ``package.module:name``, if it does."""
    form = _FORM.fullmatch(text)
    if form is None:
        return None
    module, attribute = form.groups()
    if module.endswith(".py"):
        module = str(_absolute(Path(module).expanduser()))
    return Place(module, attribute)


def require_name(name: object) -> None:
    """Refuse what cannot be told from code or from nothing when it is asked for.

    Raises:
        ValueError: no text, an empty one, or the form of a place.
    """
    if not isinstance(name, str) or not name.strip() or place(name) is not None:
        raise ValueError(f"got the name {quoted(name)}; wanted a word, without ':'")


def _absolute(path: Path) -> Path:
    """The path of a file from anywhere; a link keeps its own name, which says what it is."""
    return path.parent.resolve() / path.name


def short(name: str) -> str:
    """A name as titles show it: of the place of a file without its folder."""
    found = place(name)
    return f"{Path(found.module).name}:{found.attribute}" if found and found.is_file else name


def word(name: str) -> str:
    """A name as part of a file's name: what code is called, or a path without folder and end."""
    found = place(name)
    return file_word(Path(name).stem if found is None else found.attribute)


def place_of(value: object) -> Place | None:
    """Where a function or class was defined, if it can be found there again."""
    module = sys.modules.get(getattr(value, "__module__", None) or "")
    attribute = getattr(value, "__qualname__", None)
    if module is None or attribute is None or _FORM.fullmatch(f"m:{attribute}") is None:
        return None  # one that was made inside a function
    file = getattr(module, "__file__", None)
    ran = {str(path) for path, (_, other) in _RAN.items() if other is module}
    if ran or (module.__name__ == "__main__" and file):
        return Place(ran.pop() if ran else str(_absolute(Path(file or ""))), attribute)
    return None if module.__name__ == "__main__" else Place(module.__name__, attribute)


def leads_to(place: Place, value: object) -> bool:
    """Whether a thing still stands where it was defined."""
    module = sys.modules.get(getattr(value, "__module__", None) or "")
    try:
        return reduce(getattr, place.attribute.split("."), module) is value
    except AttributeError:
        return False


def fingerprint(place: Place) -> str:
    """The SHA-256 of the file of a place, as it ran or is now; empty where there is no file.

    Raises:
        FileNotFoundError: the file is not there any more.
    """
    module = sys.modules.get(place.module)
    path = Path(place.module if place.is_file else getattr(module, "__file__", None) or "")
    if path in _RAN:
        return _RAN[path][0]
    return hashlib.sha256(read_bytes(path)).hexdigest() if path.suffix == ".py" else ""


def run(place: Place) -> Any:  # noqa: ANN401
    """What stands at a place; its file runs, unless it did already and has not changed.

    A file finds its neighbours, and a module those of the current folder.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that cannot be run, with the line, or that has no such name.
    """
    module = _file(Path(place.module)) if place.is_file else _module(place.module)
    try:
        return reduce(getattr, place.attribute.split("."), module)
    except AttributeError:
        hint = suggest(place.attribute, [n for n in vars(module) if not n.startswith("_")])
        raise ValueError(
            f"{place}: the module has no attribute {place.attribute!r}"
            + (f"; {hint.strip()}" if hint else "")
        ) from None


def ran(place: Place) -> bool:
    """Whether the file or the module of a place was named and ran in this process."""
    return Path(place.module) in _RAN if place.is_file else place.module in _IMPORTED


def files() -> dict[Path, str]:
    """The files that ran, with the SHA-256 of each."""
    return {path: digest for path, (digest, _) in _RAN.items()}


def run_again(ran: Mapping[Path, str]) -> None:
    """Run the files that ran in another process, so that what they define is known here too.

    Raises:
        ValueError: one that has changed since, or cannot be run.
    """
    for path, digest in ran.items():
        _file(path)
        if path in _RAN and _RAN[path][0] != digest:
            raise ValueError(f"{path} has changed while it was used")


def _module(name: str) -> ModuleType:
    if "" not in sys.path:
        sys.path.insert(0, "")
    with _explained(name, None):
        module = importlib.import_module(name)
    if name.partition(".")[0] != "torch":
        _IMPORTED.add(name)
    return module


def _file(path: Path) -> ModuleType:
    content = read_bytes(path)
    digest = hashlib.sha256(content).hexdigest()
    main = sys.modules["__main__"]
    if _absolute(Path(getattr(main, "__file__", None) or "")) == path:
        return main  # the script that runs
    if path in _RAN and _RAN[path][0] == digest:
        return _RAN[path][1]
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    folder = hashlib.sha256(str(path.parent).encode()).hexdigest()[:8]
    module = ModuleType(f"{path.stem}_{folder}")  # a name that no other module has
    module.__file__ = str(path)
    before = _RAN.get(path), sys.modules.get(module.__name__)
    _RAN[path], sys.modules[module.__name__] = (digest, module), module
    try:
        with _explained(str(path), path):
            exec(compile(content, str(path), "exec"), module.__dict__)
    except BaseException:
        _put_back(path, module.__name__, *before)
        raise
    return module


def _put_back(
    path: Path, name: str, ran: tuple[str, ModuleType] | None, module: ModuleType | None
) -> None:
    """Forget a file that failed, and remember what ran before it."""
    del _RAN[path], sys.modules[name]
    if ran is not None and module is not None:
        _RAN[path], sys.modules[name] = ran, module


@contextmanager
def _explained(what: str, path: Path | None) -> Iterator[None]:
    """Say in one line what was wrong in the user's code, and where."""
    try:
        yield
    except (Exception, SystemExit) as error:  # a user's module may raise anything
        line = None if path is None else _line(error, str(path))
        where = "" if line is None else f" (line {line})"
        said = brief(f"{type(error).__name__}: {error}", 500)
        raise ValueError(f"{what} cannot be imported{where}: {said}") from error


def blamed(error: BaseException) -> str:
    """The file of the user's own, with the line, from which an error came; empty if from none."""
    trace, found = error.__traceback__, ""
    files = {str(path) for path in _RAN}
    while trace is not None:
        file, module = trace.tb_frame.f_code.co_filename, trace.tb_frame.f_globals.get("__name__")
        if file in files or module in _IMPORTED:
            found = f"{file} (line {trace.tb_lineno})"
        trace = trace.tb_next
    return found


def _line(error: BaseException, file: str) -> int | None:
    """The line of a file where an error arose."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return error.lineno
    trace, line = error.__traceback__, None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
