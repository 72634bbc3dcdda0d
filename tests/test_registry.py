"""The registry: one way to a name, and code only where the user says so."""

import sys

import pytest
import torch

from diffode import code, data, kinds, recipes, registry, sample
from diffode import installed as installed_packages
from diffode.fields import VP, Mixture
from diffode.options import validate
from diffode.solvers import get_solver, stored_solver


@pytest.fixture(autouse=True)
def afresh(monkeypatch):
    """What a test registers is forgotten after it."""
    for kind in kinds.KINDS:
        registry.names(kind)
    for table in ("_TABLES", "_ALIASES"):
        own = {kind: dict(names) for kind, names in getattr(registry, table).items()}
        monkeypatch.setattr(registry, table, own)
    monkeypatch.setattr(code, "_RAN", {})
    monkeypatch.setattr(sys, "path", list(sys.path))


def unstated(given, *, level=1.0, needed):
    """A recipe without types."""


def make(given, *, level: float = 1.0):
    """A recipe of mine.

    More of it.
    """


MINE = """
import diffode
import beside

@diffode.recipe("mine", about="of a file", training={"lr": 1e-3})
def mine(given, *, level: float = beside.LEVEL):
    return level

class Group:
    inner = staticmethod(lambda given: 2)

number = 3
"""


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "beside.py").write_text("LEVEL = 2.0\n")
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


# ------------------------------------------------------------------------------ names in a process


def test_what_is_registered_is_found_and_listed():
    registry.register("recipe", "own", make, reference="here", aliases=("my own",))
    entry = registry.find("recipe", "my own")
    assert (entry.name, entry.value, entry.about) == ("own", make, "A recipe of mine.")
    assert ("own", "A recipe of mine.", "here") in registry.describe("recipe")
    assert registry.aliases("recipe")["my own"] == "own"
    assert recipes.find("own").function is make


def test_a_decorator_registers():
    assert registry.register("recipe", "own", about="one line")(make) is make
    assert registry.find("recipe", "own").about == "one line"


@pytest.mark.parametrize("name", ["edm", "flow"])
def test_a_name_that_is_taken_is_refused(name):
    with pytest.raises(ValueError, match=f"the field name '{name}' is taken"):
        registry.register("recipe", name, make)
    with pytest.raises(ValueError, match=f"the field name '{name}' is taken"):
        registry.register("recipe", "own", make, aliases=(name,))


def test_a_definition_that_runs_again_takes_the_place_of_the_first():
    again = type(make)(make.__code__, make.__globals__, make.__name__)
    registry.register("recipe", "own", make)
    registry.register("recipe", "own", again)
    assert registry.find("recipe", "own").value is again
    with pytest.raises(ValueError, match="is taken"):
        registry.register("recipe", "own", afresh)


def test_unknown_names_and_kinds_are_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"no field named 'emd'; did you mean 'edm'\? fields: vp"):
        registry.find("recipe", "emd")
    with pytest.raises(ValueError, match="no kind 'recipes'; kinds: recipe"):
        registry.register("recipes", "own", make)


def test_options_without_a_type_have_that_of_their_default():
    assert validate("mine", {"level": "2", "needed": 3}, unstated) == {"level": 2.0, "needed": 3}
    with pytest.raises(ValueError, match="mine: needed is missing"):
        validate("mine", {}, unstated)
    with pytest.raises(ValueError, match="mine: got level='high'"):
        validate("mine", {"level": "high", "needed": 3}, unstated)


# ----------------------------------------------------------------------------------- code in files


def test_the_code_at_a_place_runs_only_where_it_is_said(mine):
    with pytest.raises(ValueError, match="is code, which is run only where you say so"):
        registry.find("recipe", f"{mine}:mine")
    assert "beside" not in sys.modules
    entry = registry.find("recipe", f"{mine}:mine", run=True)
    assert (entry.value(None, level=4.0), entry.about) == (4.0, "of a file")
    assert entry.facts["training"] == {"lr": 1e-3}
    assert entry.key == f"{mine}:mine" and entry.origin.startswith("sha256 ")
    assert registry.find("recipe", entry.key).value is entry.value  # it ran
    assert registry.find("recipe", "mine").key == entry.key  # so that a run names the file
    del sys.modules["beside"]


def test_a_file_runs_again_when_it_has_changed(mine):
    path = mine.with_name("other.py")
    path.write_text("def f(given):\n    return 1\n")
    first = registry.find("recipe", f"{path}:f", run=True)
    assert registry.find("recipe", f"{path}:f", run=True) == first
    path.write_text("def f(given):\n    return 2\n")
    second = registry.find("recipe", f"{path}:f", run=True)
    assert second.value(None) == 2 and second.origin != first.origin
    assert registry.find("recipe", f"{path}:f").value(None) == 2


BAD = {
    "absent.py:f": (FileNotFoundError, "absent.py: no such file"),
    "folder.py:f": (ValueError, "is a folder; wanted an ordinary file"),
    "no_such_module_here:f": (ValueError, "cannot be imported: ModuleNotFoundError"),
    "divides.py:f": (ValueError, r"divides.py cannot be imported \(line 3\): ZeroDivisionError"),
    "typo.py:f": (ValueError, r"typo.py cannot be imported \(line 2\): SyntaxError"),
    "leaves.py:f": (ValueError, r"leaves.py cannot be imported \(line 1\): SystemExit: 3"),
    "calls.py:f": (ValueError, r"calls.py cannot be imported \(line 2\): ZeroDivisionError"),
    "sound.py:recipy": (ValueError, "no attribute 'recipy'; did you mean 'recipe'"),
    "sound.py:number": (TypeError, "sound.py:number is an object of type int, no recipe"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_run_is_refused_in_one_line(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "divides.py").write_text("x = 1\ny = 0\nx / y\n")
    (tmp_path / "typo.py").write_text("x = 1\ny = = 2\n")
    (tmp_path / "leaves.py").write_text("raise SystemExit(3)\n")
    (tmp_path / "calls.py").write_text("import divides_it\ndivides_it.by(0)\n")
    (tmp_path / "divides_it.py").write_text("def by(x):\n    return 1 / x\n")
    (tmp_path / "sound.py").write_text("number = 3\ndef recipe(given):\n    pass\n")
    kind, message = BAD[name]
    with pytest.raises(kind, match=message) as caught:
        registry.find("recipe", name, run=True).function  # noqa: B018
    assert "\n" not in str(caught.value)
    assert not code._RAN or name.startswith("sound")


def test_places_are_told_from_other_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(code.place("mine.py:f")) == f"{tmp_path}/mine.py:f"
    assert str(code.place("a.b:c.d")) == "a.b:c.d"
    for name in ("edm", "dpm++", "mine.py", "C:/data.npy", "a:", ":b", "a/b:c", "a b:c", "x.py:1"):
        assert code.place(name) is None
    assert code.short(f"{tmp_path}/mine.py:f") == "mine.py:f"
    assert code.short("edm") == "edm"


# ----------------------------------------------------------------------------- installed packages


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Packages that are installed in a folder of their own."""

    def install(name, *points):
        info = tmp_path / f"{name}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\nSummary: Fields of {name}\n"
        )
        (info / "entry_points.txt").write_text("\n".join(["[diffode.recipes]", *points]))
        installed_packages.points.cache_clear()

    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "good_recipes.py").write_text(
        MINE.replace("beside.LEVEL", "1.0").replace("import beside", "")
    )
    (tmp_path / "bad_recipes.py").write_text("import no_such_module_here\n")
    yield install
    installed_packages.points.cache_clear()


def test_a_package_brings_a_name_and_is_imported_when_it_is_used(installed):
    installed("good", "theirs = good_recipes:mine", "inner = good_recipes:Group.inner")
    assert ("theirs", "Fields of good", "package good 1.2") in registry.describe("recipe")
    assert "good_recipes" not in sys.modules
    entry = registry.find("recipe", "theirs")
    assert (entry.key, entry.origin, entry.about) == ("theirs", "package good 1.2", "of a file")
    assert entry.facts["training"] == {"lr": 1e-3}
    assert registry.find("recipe", "inner").value(None) == 2
    with pytest.raises(ValueError, match="did you mean 'theirs'"):
        registry.find("recipe", "their")


def test_a_package_that_is_broken_is_named_and_leaves_the_others(installed):
    installed("bad", "broken = bad_recipes:mine")
    installed("good", "theirs = good_recipes:mine")
    assert {"broken", "theirs"} <= set(registry.names("recipe"))
    assert registry.find("recipe", "theirs").value(None, level=2.0) == 2.0
    with pytest.raises(
        ValueError, match=r"the field 'broken' of package bad 1.2 cannot be imported: ModuleNotFou"
    ):
        registry.find("recipe", "broken")


def test_a_name_of_two_packages_is_refused_and_one_of_ours_stays(installed, recwarn):
    installed("good", "theirs = good_recipes:mine", "edm = good_recipes:mine")
    installed("bad", "theirs = bad_recipes:mine")
    with pytest.raises(ValueError, match=r"brought by package .* and package .*; uninstall one"):
        registry.find("recipe", "theirs")
    known = registry.names("recipe").count("edm"), registry.find("recipe", "edm").origin
    assert known == (1, "") and "'edm' of package good 1.2 is not used" in str(recwarn[0].message)


# ------------------------------------------------------------------------- what each kind makes

PARTS = """
import numpy as np
from diffode.solvers.grids import Spacing
from diffode.solvers.heun import Heun

class Twice(Heun):
    "Heun's method by another name."

cubic = Spacing(lambda rho: rho ** (1 / 3), lambda u: u**3)

def ramp(seed):
    return np.linspace(-1, 1, 80)[:, None] + seed, np.arange(80) % 2

pair = ramp(0)

def wrong(*arguments, **options):
    return "nothing of the kind"
"""


@pytest.fixture
def parts(tmp_path, monkeypatch):
    (tmp_path / "parts.py").write_text(PARTS)
    monkeypatch.chdir(tmp_path)


def test_a_solver_a_grid_and_data_are_taken_from_a_file(parts, tmp_path):
    field = Mixture(torch.ones(1), torch.zeros(1, 1), torch.ones(1), VP())
    mine = sample(field, 3, "parts.py:Twice", steps=4, grid="parts.py:cubic")
    torch.testing.assert_close(
        mine.x, sample(field, 3, "heun", steps=4, grid="karras").x, rtol=0.1, atol=0.1
    )
    assert type(get_solver("parts.py:Twice")).__name__ == "Twice"
    ramp = data.load("parts.py:ramp", seed=2)
    assert (ramp.name, ramp.source) == ("parts.py:ramp", f"{tmp_path}/parts.py:ramp")
    assert (ramp.event_shape, ramp.classes, float(ramp.train.min() > 0.9)) == ((1,), 2, True)
    assert data.load("parts.py:pair").classes == 2
    assert data.stored(str(ramp.source)).source == ramp.source  # it ran


def test_what_makes_something_else_is_refused(parts):
    with pytest.raises(
        TypeError, match=r"wrong' made an object of type str; wanted a diffode\.sol"
    ):
        get_solver("parts.py:wrong")
    with pytest.raises(TypeError, match=r"wrong' gives a str; wanted a Spacing"):
        sample(
            Mixture(torch.ones(1), torch.zeros(1, 1), torch.ones(1), VP()),
            3,
            "heun",
            steps=4,
            grid="parts.py:wrong",
        )
    with pytest.raises(TypeError, match="is an object of type Spacing, no solver; wanted a funct"):
        get_solver("parts.py:cubic")
    with pytest.raises(ValueError, match="no data set named 'nothing of the kind'"):
        data.load("parts.py:wrong")


@pytest.mark.parametrize("look", [stored_solver, data.stored])
def test_a_name_from_a_file_runs_nothing(look, parts, tmp_path):
    (tmp_path / "parts.py").write_text("raise RuntimeError('it ran')")
    for name in ("parts.py:Twice", f"{tmp_path}/parts.py:Twice", "parts:Twice", "os:system"):
        with pytest.raises(ValueError, match="is code, which is run only where you say so"):
            look(name)
