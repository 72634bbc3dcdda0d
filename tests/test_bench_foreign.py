"""Results that others made: their names are data, their content is checked, their text is text."""

import json
import os

import numpy as np
import pytest

from diffode.bench.page import page
from diffode.bench.results import read_results
from diffode.bench.stored import CellFigures, Pace, Portrait, Reference, Trained, read_part
from diffode.bench.tables import markdown
from diffode.cli.app import run
from diffode.viz import canvas
from tests.runs import refused

PNG = canvas.png(np.zeros((2, 3), np.uint8))
PLACE = {"data": "moons", "field": "edm", "seed": 0, "model": "abc", "solver": "heun"}
CELL = PLACE | {
    "allowed": 5,
    "tolerance": None,
    "picture": "cells/moons/a.png",
    "nfe": 5.0,
    "seconds": 0.1,
    "unfinished": 0,
    "metrics": {"W2": [0.5, 0.01]},
}
MODEL = {
    "plan": {"field": "edm", "data": "moons", "labels": False, "options": {}, "training": {}},
    "budget": "shared",
    "straightness": [0.9, 0.01],
    "prior": "Normal()",
    "parameters": 9,
    "steps": 5,
    "samples": 40,
    "seconds": 1.0,
    "peak_memory": 10,
    "paths": "models/m/paths.png",
}


def content():
    floor = {"about": {"reference": "test"}, "floor": {"W2": [0.1, 0.01]}, "headline": "W2"}
    return {
        "format": 2,
        "configs": [{"fields": ["edm"], "seconds": None}],
        "references": {"moons": floor | {"picture": "floors/moons.png"}},
        "metrics": {"moons": [{"name": "W2", "about": "a distance", "better": "low"}]},
        "models": {"abc": dict(MODEL)},
        "cells": [dict(CELL)],
        "budgets": {},
    }


@pytest.fixture
def folder(tmp_path):
    """The folder of a finished comparison, as small as one can be."""
    place = tmp_path / "got"
    for name in ("cells/moons/a.png", "floors/moons.png", "models/m/paths.png"):
        canvas.write(PNG, place / name)
    return stored(place, content())


def stored(place, what):
    (place / "results.json").write_text(what if isinstance(what, str) else json.dumps(what))
    return place


def test_what_is_read_is_reported(folder, tmp_path):
    assert run(["bench", "--merge", str(folder), "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "cells" / "moons" / "a.png").read_bytes() == PNG
    assert canvas.data_uri(PNG) in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    "name",
    ["../secret.png", "cells/../../secret.png", "/ABSOLUTE", "..\\secret.png", "C:/x.png", "a\0b"],
)
@pytest.mark.parametrize("where", ["cell", "floor", "paths"])
def test_names_of_pictures_lead_nowhere_else(folder, tmp_path, capsys, name, where):
    canvas.write(PNG, tmp_path / "secret.png")
    name = str(tmp_path / "secret.png") if name == "/ABSOLUTE" else name
    what = content()
    place = {
        "cell": (what["cells"][0], "picture"),
        "floor": (what["references"]["moons"], "picture"),
        "paths": (what["models"]["abc"], "paths"),
    }[where]
    place[0][place[1]] = name
    before = set(tmp_path.rglob("*"))
    said = refused(capsys, "bench", "--merge", stored(folder, what), "--out", tmp_path / "b/out")
    assert "wanted a name inside" in said and set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("link", ["cells", "cells/moons", "cells/moons/a.png"])
def test_links_are_not_followed(folder, tmp_path, capsys, link):
    target = (folder / link).rename(tmp_path / "elsewhere")
    (folder / link).symlink_to(target)
    said = refused(capsys, "bench", "--merge", folder, "--out", tmp_path / "out")
    assert f"{link} is a link" in said and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "picture",
    [b"TOP SECRET", PNG[:8] + b"TOP SECRET", PNG + b"TOP SECRET", PNG[:-1], PNG[:8], b""],
)
def test_a_picture_is_a_whole_png(folder, tmp_path, capsys, picture):
    (folder / "floors" / "moons.png").write_bytes(picture)
    said = refused(capsys, "bench", "--merge", folder, "--out", tmp_path / "out")
    assert "moons.png is not a whole PNG" in said and not (tmp_path / "out").exists()


def test_text_from_outside_is_text_in_pages(folder):
    bad = "</script><!--<script>alert(1)</script>|\n# x [y](z) " + "\u2028`"
    what = content()
    what["references"] = {bad: what["references"]["moons"]}
    what["metrics"] = {bad: what["metrics"]["moons"]}
    what["cells"][0] |= {"data": bad, "solver": bad, "field": bad}
    what["models"]["abc"]["plan"] = MODEL["plan"] | {"data": bad, "field": bad}
    found = read_results(stored(folder, what))
    made = page(found, bad)
    assert made.count("</script") == made.count("<script") == 2 and "<!--" not in made
    assert "\u2028" not in made.split('id="results">')[1].split("</script>")[0]
    lines = markdown(found).splitlines()
    assert not any("<script" in line or "](" in line for line in lines)
    tables = [line for line in lines if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in tables} <= {4, 3, 12}


DAMAGES = {
    "no object": (lambda c: "[1, 2]", "no JSON"),
    "cut": (lambda c: json.dumps(c)[:-30], "no JSON"),
    "deep": (lambda c: "[" * 200_000, "no JSON"),
    "other format": (lambda c: c.update(format=7), "has format 7, this version reads 2"),
    "cells a number": (lambda c: c.update(cells=3), "got cells=3"),
    "no floor": (lambda c: c["references"]["moons"].pop("floor"), "floor is missing"),
    "headline unknown": (lambda c: c["references"]["moons"].update(headline="x"), "without its"),
    "cell elsewhere": (lambda c: c["cells"][0].update(data="x"), "which has no reference"),
    "a figure alone": (lambda c: c["cells"][0].update(metrics={"W2": [1.0]}), "metrics.W2.1 is"),
    "no figures": (lambda c: c["cells"][0].pop("nfe"), "got none of 'nfe'"),
    "no plan": (lambda c: c["models"]["abc"].pop("plan"), "plan is missing"),
    "picture a list": (lambda c: c["cells"][0].update(picture=[1]), "picture"),
    "budget cut": (lambda c: c.update(budgets={"moons": [{"name": "a"}]}), "got none of 'solver'"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_results_are_named_in_one_line(folder, tmp_path, capsys, damage):
    change, said = DAMAGES[damage]
    what = content()
    changed = change(what)
    stored(folder, changed if isinstance(changed, str) else what)
    assert said in refused(capsys, "bench", "--merge", folder, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_pipe_as_results_is_not_waited_for(folder, tmp_path, capsys):
    (folder / "results.json").unlink()
    os.mkfifo(folder / "results.json")
    said = refused(capsys, "bench", "--merge", folder, "--out", tmp_path / "out")
    assert "has no results.json" in said


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        (CellFigures, "{}", "data is missing"),
        (CellFigures, json.dumps({k: v for k, v in CELL.items() if k != "nfe"}), "none of 'nfe'"),
        (CellFigures, json.dumps(CELL | {"nfe": "9" * 5000}), "got nfe='999"),
        (Reference, '{"about": {}, "floor": {"W2": []}}', "floor.W2.0 is missing"),
        (Trained, '{"steps": 3}', "got none of 'samples' and no reason for it"),
        (Portrait, '{"straightness": 7}', "got straightness=7"),
        (Pace, '{"seconds_per_step": 0}', "greater than 0"),
        (Pace, "[" * 10**5, "delete it and run the same command again"),
        (Pace, "[]", "delete it and run the same command again"),
    ],
)
def test_a_damaged_part_is_named_with_what_is_wrong(tmp_path, kind, text, said):
    path = tmp_path / "part.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"part\.json is damaged") as caught:
        read_part(path, kind)
    assert said in str(caught.value) and len(str(caught.value)) < 400


def test_a_whole_part_comes_back_as_it_is(tmp_path):
    (tmp_path / "part.json").write_text(
        json.dumps(CELL | {"metrics": {"W2": [0.5, float("nan")]}})
    )
    found = read_part(tmp_path / "part.json", CellFigures, extra=1)
    assert found["extra"] == 1 and found["metrics"]["W2"][0] == 0.5 and found["nfe"] == 5
