"""A package outside of the repository, installed beside diffode: its parts by their names.

Each command is a process of its own, so a run is opened anew by every one after the first.
"""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent / "plugin"
TINY = "--steps 2 --set batch=16 --device cpu"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Where the package is installed, as an installer does it: its files and its metadata."""
    place = tmp_path_factory.mktemp("site")
    about = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    shutil.copytree(PACKAGE / "diffode_plugin", place / "diffode_plugin")
    info = place / f"diffode_plugin-{about['version']}.dist-info"
    info.mkdir()
    lines = [f"{key}: {about[k]}" for key, k in (("Name", "name"), ("Version", "version"))]
    lines += ["Metadata-Version: 2.1", f"Summary: {about['description']}"]
    (info / "METADATA").write_text("\n".join(lines) + "\n")
    groups = about["entry-points"].items()
    points = {group: [f"{name} = {value}" for name, value in own.items()] for group, own in groups}
    texts = ["\n".join([f"[{group}]", *own]) for group, own in points.items()]
    (info / "entry_points.txt").write_text("\n\n".join(texts) + "\n")
    return place


@pytest.fixture(scope="module")
def desk(tmp_path_factory, place):
    """A folder with a run of the package's recipe, network and data."""
    folder = tmp_path_factory.mktemp("desk")
    done = diffode(
        folder, place, f"train quarter spiral --network sine {TINY} --samples 20 --out run"
    )
    assert done.returncode == 0, done.stderr
    assert "on spiral" in done.stderr + done.stdout + (folder / "run/config.json").read_text()
    return folder


def diffode(folder, place, line):
    """A command line in a process of its own, with the package installed at a place or not."""
    paths = [str(PACKAGE.parents[1]), *([str(place)] if place else [])]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "diffode", *line.split()]
    return subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("kind", "name"), [("fields", "quarter"), ("solvers", "halves"), ("data", "spiral")]
)
def test_lists_show_what_a_package_brings_without_importing_it(kind, name, place, tmp_path):
    broken = tmp_path / "site"
    shutil.copytree(place, broken)
    for path in (broken / "diffode_plugin").glob("*.py"):
        path.write_text("raise RuntimeError('imported')")
    done = diffode(tmp_path, broken, kind)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith(name)]
    assert done.returncode == 0 and "package diffode-plugin 0.1" in line


@pytest.mark.slow
def test_a_run_is_sampled_by_a_solver_of_the_package(desk, place):
    line = "sample run --solver halves --set part=.4 --nfe 6 --samples 8 --out x.npz --device cpu"
    done = diffode(desk, place, line)
    assert done.returncode == 0, done.stderr
    assert "8 samples, 5 evaluations each" in done.stdout


@pytest.mark.slow
def test_it_is_measured_by_a_metric_of_the_package(desk, place):
    line = "eval run --metric spread --solver halves --nfe 4 --samples 40 --device cpu"
    done = diffode(desk, place, line)
    assert done.returncode == 0, done.stderr
    assert any(line.startswith("spread ") for line in done.stdout.splitlines())


@pytest.mark.slow
def test_a_comparison_takes_all_of_them(desk, place):
    line = f"bench --field quarter --data spiral --solver halves --nfe 4 --metric spread {TINY}"
    done = diffode(desk, place, f"{line} --set network=sine --samples 50 --out bench")
    assert done.returncode == 0, done.stderr
    report = (desk / "bench/report.md").read_text()
    assert all(name in report for name in ("quarter", "spiral", "halves", "spread"))


@pytest.mark.slow
def test_without_the_package_its_run_says_what_is_missing(desk):
    done = diffode(desk, None, "sample run --out x.npz --device cpu")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "the field 'quarter' came from package diffode-plugin 0.1, which is not" in done.stderr
