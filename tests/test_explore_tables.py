"""The explorer applies the solvers' tables as Python applies its solvers."""

import math

import pytest
import torch

from diffode import sample
from diffode.explore import tables
from diffode.fields import Empirical, classifier_free
from diffode.fields.base import Start
from diffode.priors import StudentT
from diffode.rng import Rng
from tests.explorer import Scripts, rows
from tests.test_explore_js import unit


@pytest.fixture(scope="module")
def js():
    return Scripts()


def field_of(schedule, dof=math.inf, labels=None):
    x, y = unit()
    noise = None if dof == math.inf else StudentT(dof=dof)
    field = Empirical(x, schedule, noise, labels=y if labels else None)
    field._principal = 1.0  # as in the tables
    return x, y, field


def ends(js, name, solver, nfe, n, x, dof=math.inf, labels=None, guide=None):
    table = tables.solver_table(tables.SCHEDULES[name], solver, nfe)
    found = js(
        "return solved(cloud(2, xs, labels), n, table, D, guide);",
        xs=x, n=n, table=table, D=dof, labels=labels, guide=guide,
    )  # fmt: skip
    return rows(found), table


def drawn(field, monkeypatch, n, **options):
    """Samples of a field from given noise."""
    sigma = field.schedule.ends()[0][1]
    monkeypatch.setattr(type(field), "start", lambda self, *_: Start(sigma * n, self))
    return sample(field, len(n), **options)


@pytest.mark.parametrize("nfe", [4, 10, 35])
@pytest.mark.parametrize("solver", tables.SOLVERS)
@pytest.mark.parametrize("name", tables.SCHEDULES)
def test_a_table_gives_what_the_solver_gives(js, name, solver, nfe, monkeypatch):
    x, _, field = field_of(tables.SCHEDULES[name])
    n = Rng(1).normal("n", (25, 2), torch.float64)
    found, table = ends(js, name, solver, nfe, n, x)
    wanted = drawn(field, monkeypatch, n, solver=solver, nfe=nfe)
    assert table["nfe"] == wanted.nfe <= nfe
    assert (found - wanted.x).abs().max() < 1e-9


@pytest.mark.parametrize("solver", tables.SOLVERS)
def test_so_it_does_on_a_poisson_field(js, solver, monkeypatch):
    x, _, field = field_of(tables.SCHEDULES["karras"], dof=64.0)
    n = Rng(2).normal("n", (25, 2), torch.float64)
    found, _ = ends(js, "karras", solver, 20, n, x, dof=64.0)
    assert (found - drawn(field, monkeypatch, n, solver=solver, nfe=20).x).abs().max() < 1e-9


@pytest.mark.parametrize("solver", tables.SOLVERS)
def test_so_it_does_with_guidance_that_the_tables_are_made_for(js, solver, monkeypatch):
    x, y, inner = field_of(tables.SCHEDULES["cosine"], labels=True)
    field = classifier_free(inner, 2.0)
    n = Rng(3).normal("n", (25, 2), torch.float64)
    guide = {"label": 1, "weight": 2.0, "low": 0.0, "high": 1e12}
    found, _ = ends(js, "cosine", solver, 10, n, x, labels=y, guide=guide)
    wanted = drawn(field, monkeypatch, n, solver=solver, nfe=10, y=1)
    assert (found - wanted.x).abs().max() < 1e-9


def test_the_tables_of_the_page_are_those_of_every_schedule_and_solver():
    made = tables.tables()
    assert made.keys() == tables.SCHEDULES.keys()
    for of_schedule in made.values():
        assert tuple(of_schedule) == tables.SOLVERS
        for of_solver in of_schedule.values():
            assert [int(nfe) for nfe in of_solver] == list(tables.EVALUATIONS)
            assert all(t["nfe"] <= int(nfe) for nfe, t in of_solver.items())


@pytest.mark.parametrize("name", tables.SCHEDULES)
def test_the_tables_are_for_data_as_wide_in_all_directions(name):
    field = tables.unit_field(tables.SCHEDULES[name])
    assert field.moments[0].tolist() == [0, 0] and field.moments[1] == 1
    assert field.principal_std == pytest.approx(1, abs=1e-12)
