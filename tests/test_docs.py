"""The code in README and guide runs as it stands there."""

import re
import tomllib
from pathlib import Path

import pytest

import diffode
from diffode.bench.config import make_config
from diffode.bench.config_file import read_config
from diffode.bench.models import plan_of
from diffode.bench.panel import Panel
from diffode.data import load
from diffode.recipes import registry
from diffode.testing import check_field, check_objective
from diffode.training import data_stats

ROOT = Path(__file__).parents[1]


def blocks(name):
    """The python blocks of a Markdown file."""
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)


def test_field_of_the_readme_keeps_the_contract():
    (block,) = (b for b in blocks("README.md") if "class Decay" in b)
    exec(block, {})


def test_python_of_the_readme(monkeypatch):
    fit = diffode.fit
    monkeypatch.setattr(
        diffode, "fit", lambda *a: fit(*a, steps=2, width=16, depth=1), raising=False
    )
    (block,) = (b for b in blocks("README.md") if "diffode.fit" in b)
    names = {}
    exec(block, names)
    assert names["x"].shape == (64, 1, 8, 8)
    assert names["path"].shape == (51, 8, 1, 8, 8)


def test_recipe_of_the_guide(monkeypatch):
    monkeypatch.setattr(registry, "_RECIPES", dict(registry._RECIPES))
    (block,) = blocks("docs/guide.md")
    exec(block, {})
    x = load("moons").train[:64]
    objective = diffode.build("trig", (2,), stats=data_stats(x), width=16, depth=1)
    check_objective(objective, x)
    check_field(objective.field)


def test_links_of_the_pages_lead_somewhere():
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("option", ["--steps", "--set", "--resume", "--labels"])
def test_options_of_the_readme_exist(option, capsys):
    from diffode.cli.app import run

    assert run(["train", "--help"]) == 0
    assert option in capsys.readouterr().out


def test_python_of_the_error_budget(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    fit = diffode.fit
    monkeypatch.setattr(
        diffode, "fit", lambda *a, **k: fit(*a, steps=2, width=16, depth=1, **k), raising=False
    )
    (block,) = blocks("docs/error-budget.md")
    exec(block.replace("n=1437", "n=40"), {})
    assert "prior mismatch" in capsys.readouterr().out


def test_configuration_of_the_comparison_is_valid():
    (text,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/comparing.md").read_text(), re.DOTALL)
    config = make_config(**tomllib.loads(text))
    assert config.options == {"pfgmpp": {"dof": 2048}} and "heun" in config.solvers
    for name in config.data:
        assert len(Panel(load(name), 60, config.features).features) == 2
    for field in config.fields:
        assert plan_of(config, field, config.data[0], 0).training["steps"] == 700


@pytest.mark.parametrize(
    "path", sorted((ROOT / "benchmarks/standing").glob("*.toml")), ids=lambda p: p.stem
)
def test_configurations_of_the_standing_comparison_are_valid(path):
    config = make_config(**read_config(path))
    assert {"poisson", "edm", "rectified"} <= set(config.fields)
