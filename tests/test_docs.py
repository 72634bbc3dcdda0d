"""The pages: what they tell a reader to type is run as it stands there, in the order printed."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib

import numpy as np
import pytest
from PIL import Image
from torch import nn
from typer.main import get_command

import diffode
import diffode.analysis
import diffode.code
from diffode import registry
from diffode.bench.config import make_config
from diffode.bench.models import plan_of
from diffode.cli.app import app
from diffode.config_file import read_config
from diffode.data import load
from diffode.metrics.panel import Panel
from tests import edm_pickles
from tests.pages import LEFT_OUT, PAGES, ROOT, carry_out, installs, spans, steps
from tests.test_idx import encoded

TINY = {"steps": 2, "width": 16, "depth": 1, "batch": 16}  # of a training by a block of Python
EXITS = {
    "diffode check mine.py:Mine --data moons": 1,
    "diffode check theirs.py:field --data moons": 1,
}  # it finds a mistake


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A reader's folder: the clone's, with pictures of their own."""
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-1, 1, (40, 8, 8)), np.arange(40) % 4
    np.savez(tmp_path / "my_images.npz", x=x.astype(np.float32), y=y)
    image_sets(tmp_path)
    edm_pickles.write(tmp_path / "network-snapshot.pkl")
    levels = rng.integers(0, 256, (40, 1, 8, 8), np.uint8)
    np.savez(tmp_path / "test-images.npz", x=levels)
    monkeypatch.setenv("DIFFODE_DATA", str(tmp_path / "sets"))
    (tmp_path / "benchmarks").mkdir()
    shutil.copytree(ROOT / "benchmarks/standing", tmp_path / "benchmarks/standing")
    for path in tmp_path.glob("benchmarks/standing/*.toml"):
        path.write_text(without_budget(path.read_text(encoding="utf-8")), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))
    assert all(registry.names(kind) for kind in registry.KINDS)  # so that ours are registered
    monkeypatch.setattr(registry, "_TABLES", {k: dict(v) for k, v in registry._TABLES.items()})
    monkeypatch.setattr(diffode.code, "_RAN", dict(diffode.code._RAN))  # workers run all of it
    fit, budget = diffode.fit, diffode.analysis.error_budget
    monkeypatch.setattr(diffode, "fit", lambda *a, **k: fit(*a, **tiny(**k)), raising=False)
    monkeypatch.setattr(
        diffode.analysis,
        "error_budget",
        lambda *a, **k: budget(*a, **k | {"n": 40}),
        raising=False,
    )
    return tmp_path


def tiny(**given):
    """The options of a training made small; a network that is made already keeps its size."""
    sizes = {"width", "depth"} if isinstance(given.get("network"), nn.Module) else set()
    return {k: v for k, v in TINY.items() if k not in sizes} | given


def image_sets(folder):
    """Forty images each in place of Fashion-MNIST, OpenMoji and a reader's photos."""
    pixels, y = np.random.default_rng(1).integers(0, 256, (80, 28, 28), np.uint8), np.arange(80)
    fashion = folder / "sets" / "fashion-mnist"
    fashion.mkdir(parents=True)
    for part, rows in (("train", slice(40)), ("t10k", slice(40, 80))):
        labels = (y[rows] % 10).astype(np.uint8)
        (fashion / f"{part}-images-idx3-ubyte").write_bytes(encoded(pixels[rows]))
        (fashion / f"{part}-labels-idx1-ubyte").write_bytes(encoded(labels))
    emoji = np.random.default_rng(2).integers(0, 256, (80, 3, 32, 32), np.uint8)
    parts = {"x": emoji[:40], "y": y[:40] % 12, "x_test": emoji[40:], "y_test": y[40:] % 12}
    np.savez(folder / "openmoji-32.npz", **parts)
    for k, colour in enumerate(["red", "blue"] * 20):
        (folder / "photos" / colour).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40 + k, 36), colour).save(folder / "photos" / colour / f"{k}.png")


def without_budget(text):
    """A comparison without its error budgets, which take a minute each and tests of their own."""
    return re.sub(r"^budget = .*\n", "", text, flags=re.MULTILINE)


def alike(text):
    """A line of output without its numbers, and without how far two processors agree."""
    text = re.sub(r"\bthe same to .*", "the same", text)
    return re.sub(r"[-+]?\d[\d.]*(e-?\d+)?", "#", " ".join(text.split()))


RUN = [page for page in PAGES if steps(page)]
PARALLEL = [page for page in RUN if any(s.text.startswith("torchrun") for s in steps(page))]


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_what_a_page_says_to_type_does_what_it_says(page, desk, monkeypatch, capsys):
    type_all(page, desk, monkeypatch, capsys, (*LEFT_OUT, "torchrun"))


@pytest.mark.slow
@pytest.mark.parametrize("page", PARALLEL)
def test_so_it_does_with_several_processes(page, desk, monkeypatch, capsys):
    type_all(page, desk, monkeypatch, capsys, LEFT_OUT)


def type_all(page, desk, monkeypatch, capsys, left_out):
    """Everything that a page says to type, but for lines with these beginnings."""
    known = {"__name__": "page"}
    for step in steps(page):
        printed = ""
        if step.kind == "line":
            if step.text.startswith(tuple(left_out)):
                continue
            code, printed = carry_out(step.text, monkeypatch)
            assert code == EXITS.get(step.text, 0), f"{page}: {step.text}: {code}\n{printed}"
        elif step.kind in ("python", "toml"):
            if name := re.match(r"# (\w+\.\w+)\n", step.text):
                (desk / name[1]).write_text(without_budget(step.text), encoding="utf-8")
            if step.kind == "python":
                capsys.readouterr()
                tables = {kind: dict(table) for kind, table in registry._TABLES.items()}
                exec(step.text, known)
                if name:  # the line that names the file registers what is in it
                    monkeypatch.setattr(registry, "_TABLES", tables)
                printed = capsys.readouterr().out
        elif step.kind == "bash":  # tests/test_clusters.py carries it out
            subprocess.run(["bash", "-n", "-c", step.text], check=True)
        else:
            pytest.fail(f"{page}: a block of {step.kind!r} is neither run nor read by any test")
        lines = {alike(line) for line in printed.splitlines()}
        missing = [s for s in step.shown if s != "..." and alike(s) not in lines]
        assert not missing, f"{page}: {step.text}: {missing}\n{printed}"


GROUP = get_command(app)
SHELL = [(page, span) for page in PAGES for span in spans(page)]


@pytest.mark.parametrize(
    ("page", "span"), [(p, s) for p, s in SHELL if s.startswith(("diffode ", "torchrun "))]
)
def test_commands_in_the_running_text_exist_with_their_options(page, span):
    words = shlex.split(span)
    given = words[words.index("diffode") + 1 :]
    command = GROUP if given[0].startswith("--") else GROUP.commands[given[0]]
    known = {name for option in command.params for name in option.opts} | {"--help"}
    assert {word for word in given if word.startswith("--")} <= known


@pytest.mark.parametrize("page", PAGES)
def test_programs_in_the_running_text_exist(page):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for span in spans(page):
        if span.startswith("make "):
            assert span.split()[1] in targets, span
        elif span.startswith("python -m "):
            assert (ROOT / f"{span.split()[2].replace('.', '/')}.py").exists(), span
        elif span.startswith("python "):
            assert (ROOT / span.split()[1]).exists(), span


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
PACKAGES = {
    re.match(r"[\w-]+", wanted)[0].lower()
    for wanted in [*PROJECT["dependencies"], *(w for some in EXTRAS.values() for w in some)]
}


@pytest.mark.parametrize("page", PAGES)
def test_what_pip_shall_install_is_known_to_the_project(page):
    for wanted in installs(page):
        name, extras = re.fullmatch(r"([\w.-]+)(?:\[([\w,]+)\])?", wanted).groups()
        assert name == "." or name.lower() in PACKAGES, f"{page}: pip install {wanted}"
        assert name in (".", "diffode") or not extras, f"{page}: pip install {wanted}"
        assert set((extras or "dev").split(",")) <= set(EXTRAS), f"{page}: pip install {wanted}"


def test_what_pip_shall_install_is_found_in_lines_and_in_sentences():
    assert list(installs("README.md")) == ["torch", "torch", ".[dev]", ".", ".[plot]"]
    assert list(installs("docs/data.md")) == ["diffode[parquet]", "resvg-py", "pillow"]


@pytest.mark.parametrize("page", PAGES)
def test_names_in_the_running_text_are_there_after_import_diffode(page):
    """In a process of its own, where no other test has imported more."""
    lines = ["import diffode"]
    for span in spans(page):
        if dotted := re.match(r"(diffode(?:\.[a-z_A-Z]+)+)(\(.*\))?$", span):
            lines.append(dotted[1])
    imports = [span for span in spans(page) if span.startswith("from diffode")]
    subprocess.run([sys.executable, "-c", "\n".join(lines + imports)], check=True)


def anchors(path):
    """What a link may end in: the headings of a page in small letters, with dashes."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_of_the_pages_lead_somewhere():
    for page in PAGES:
        path = ROOT / page
        for target in re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8")):
            file, _, anchor = target.partition("#")
            if not target.startswith("http"):
                found = path.parent / file if file else path
                assert found.exists(), f"{page}: {target}"
                assert not anchor or anchor in anchors(found), f"{page}: {target}"


def test_the_guide_leads_to_every_page():
    text = (ROOT / "docs/guide.md").read_text(encoding="utf-8")
    others = {page.removeprefix("docs/") for page in PAGES} - {"README.md", "guide.md"}
    assert others <= set(re.findall(r"\]\(([^)#]+)", text))


TERMS = ("law", "draw", "flow", "prior", "velocity", "ODE", "field", "noise level", "sigma", "rho")
TERMS += ("training objective", "run", "solver", "step", "evaluation", "grid", "score")


@pytest.mark.parametrize("term", TERMS)
def test_the_start_page_explains_a_term_where_it_first_uses_it(term):
    text = (ROOT / "docs/start.md").read_text(encoding="utf-8")
    prose = re.sub(
        r"```.*?```|`[^`]*`|^    [^\n]*$|\([^)\s]*\.(md|png)[^)]*\)", "", text, flags=re.S | re.M
    )
    first = re.search(rf"\b{term}s?\b", prose)
    explained = re.search(rf"\*\*{term}s?\*\*", prose)
    assert first and explained, term
    between = prose[first.start() : explained.start()]
    assert not re.search(r"[.!?:]\s|\n\n", between), between  # in one sentence


def test_every_row_of_the_printed_table_is_explained():
    text = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
    _, table = text.split("## Rows of the table")
    explained = re.findall(r"^\| ([^|]+) \|", table.partition("\n## ")[0], re.MULTILINE)
    source = (ROOT / "diffode/metrics/builtin.py").read_text(encoding="utf-8")
    printed = re.findall(r'^@metric\("([^"]+)"', source, re.MULTILINE)
    assert printed and set(printed) <= set(registry.names("metric"))
    assert sorted(explained[1:]) == sorted(printed)


def test_the_python_of_the_readme_makes_what_it_says(desk):
    made = {}
    (block,) = (s.text for s in steps("README.md") if "diffode.fit" in s.text)
    exec(block, made)
    assert made["x"].shape == (64, 1, 8, 8)
    assert made["path"].shape == (51, 8, 1, 8, 8)


def test_configuration_of_the_comparison_is_valid():
    (text,) = (s.text for s in steps("docs/comparing.md") if s.kind == "toml")
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


@pytest.mark.parametrize("page", PAGES[1:])
def test_code_in_a_page_is_no_wider_than_the_page(page):
    """Longer lines scroll on the site; docs/ruff.toml has them wrapped."""
    blocks = [step.text for step in steps(page) if step.kind in ("python", "toml")]
    assert [line for text in blocks for line in text.splitlines() if len(line) > 84] == []
