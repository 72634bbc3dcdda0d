"""Guidance in a comparison: equal network calls, figures by weight, and what is refused."""

import json

import pytest
import torch

from diffode.bench.affording import Free, affordable
from diffode.bench.config import make_config
from diffode.bench.outline import outline
from diffode.bench.page import page
from diffode.bench.results import read_results
from diffode.bench.rows import allowances, at, network_calls, rows
from diffode.bench.tables import cells_table, markdown
from diffode.cli.app import run
from diffode.config_file import read_config
from diffode.fields import AffineField, Empirical, Field, Karras, PoissonField, classifier_free
from diffode.priors import Normal, StudentT
from diffode.sampling.drawing import sample
from tests.runs import refused, written

TEXT = """
fields = ["edm", "poisson"]
data = ["eight-gaussians"]
solvers = ["default", "dopri5"]
nfe = [6, 11]
tolerances = [0.3]
samples = 60
labels = true
guidance = [1, 2.5]
interval = [0.3, 3]
device = "cpu"

[train]
steps = 2
batch = 16
width = 16
depth = 1
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    assert run(["bench", str(written(folder, TEXT)), "--out", str(folder / "out")]) == 0
    return folder / "out"


def test_cells_are_at_equal_network_calls(done):
    cells = [c for c in read_results(done).cells if c["allowed"] is not None]
    assert len(cells) == 2 * 2 * 2
    for cell in cells:
        assert cell["allowed"] - 1 <= cell["network_calls"] <= cell["allowed"]
        assert (cell["nfe"] < cell["network_calls"]) == ("guidance 2.5" in cell["solver"])


def test_tables_count_network_calls_and_have_a_line_for_each_weight(done):
    results = read_results(done)
    assert allowances(rows(results), "eight-gaussians") == [6, 11]
    text, html = markdown(results), page(results)
    assert "W2 by network calls." in text and "All metrics at 11 network calls:" in text
    for part in ("<h3>W2 by network calls</h3>", '<option value="calls">network calls</option>'):
        assert part in html
    for weight in ("1", "2.5"):
        assert f"default, guidance {weight} at rho 0.3 to 3" in text
        assert f"edm, guidance {weight} at rho 0.3 to 3" in text
    assert "network_calls" in cells_table(results).csv().splitlines()[0].split(",")


def test_an_adaptive_solver_stands_where_its_network_calls_fit(done):
    results = read_results(done)
    cell = next(c for c in results.cells if c["solver"] == "dopri5, guidance 2.5 at rho 0.3 to 3")
    assert cell["nfe"] < network_calls(cell) < 2 * cell["nfe"]
    found = [
        at(rows(results), cell["data"], cell["field"], cell["solver"], n)
        for n in (int(network_calls(cell)) - 1, int(network_calls(cell)) + 1)
    ]
    assert found[0] is None and found[1] is not None


def test_the_configuration_that_it_keeps_makes_it_again(done, monkeypatch):
    monkeypatch.setattr("diffode.bench.comparison.run_cell", lambda *_: 1 / 0)
    assert run(["bench", str(done / "config.yaml"), "--out", str(done)]) == 0
    config = make_config(**read_config(done / "config.yaml"))
    assert config.interval == (0.3, 3.0) and config.guidance == [1.0, 2.5]


def test_an_interval_without_an_upper_end_is_kept(tmp_path):
    config = make_config(labels=True, guidance=[2], interval=[0.5, "inf"])
    (tmp_path / "a.yaml").write_text(config.dump())
    assert make_config(**read_config(tmp_path / "a.yaml")) == config
    assert json.loads(json.dumps(config.model_dump(), allow_nan=False))["interval"] == [0.5, "inf"]


def test_results_from_before_guidance_are_read_as_they_were(done, tmp_path):
    """Their evaluations are their network calls, and their columns are of evaluations."""
    stored = json.loads((done / "results.json").read_text())
    for config in stored["configs"]:
        del config["guidance"], config["interval"]
    stored["cells"] = [c for c in stored["cells"] if "guidance 1 " in c["solver"]]
    for cell in stored["cells"]:
        del cell["network_calls"]
    (tmp_path / "results.json").write_text(json.dumps(stored))
    old = read_results(tmp_path)
    assert all(row.calls == row.nfe for row in rows(old))
    assert "W2 by evaluations." in markdown(old)
    calls = [line["network_calls"] for line in _lines(cells_table(old).csv())]
    assert calls == [str(cell["nfe"]) for cell in old.cells]


def _lines(text):
    import csv

    return list(csv.DictReader(text.splitlines()))


def test_what_would_be_done_is_said(done):
    table, count = outline(make_config(**read_config(done / "config.yaml")))
    assert table.head[3] == "network calls at most"
    assert "2 trainings, 12 cells" in count


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("--guidance 2", "got guidance [2.0] without labels to guide to; give"),
        ("--labels --interval 1 3", "got an interval without guidance"),
        ("--labels --guidance 2 --interval 3 1", "wanted two noise levels"),
        ("--labels --guidance nan", "wanted a finite number"),
        ("--labels --guidance 2 --guidance 2", "name each only once"),
        ("--labels --guidance 2 --set label_drop=0", "edm has no null label to be guided"),
        (
            "--labels --guidance 2 --field gan",
            "but gan does not estimate the data",
        ),
        ("--labels --guidance 2 --interval 100 200", "sigma / alpha of this field, 0.002 to 80"),
        ("--labels --guidance -1", "got weight -1.0; wanted a finite number, 0 or more"),
    ],
)
@pytest.mark.parametrize("dry", ["", "--dry-run"])
def test_what_cannot_be_guided_is_refused_before_anything_is_trained(
    given, words, dry, tmp_path, capsys
):
    more = given if "--field" in given else f"--field edm {given}"
    place = ("--data", "eight-gaussians", "--out", tmp_path / "out", *dry.split())
    assert words in refused(capsys, "bench", *more.split(), *place)
    assert not list(tmp_path.glob("out/models/*"))


POINTS = torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
NORMAL = Empirical(POINTS, Karras(0.05, 20.0), Normal(), labels=torch.arange(30) % 3)
POISSON = PoissonField(
    Empirical(POINTS, Karras(0.05, 20.0), StudentT(4.0), labels=torch.arange(30) % 3)
)


@pytest.mark.parametrize("inner", [NORMAL, POISSON], ids=["normal", "poisson"])
@pytest.mark.parametrize("solver", ["trig", "heun", "dpm-single"])
@pytest.mark.parametrize("interval", [None, (0.2, 2.0)])
def test_the_most_evaluations_that_calls_pay_for(inner, solver, interval):
    field, y = classifier_free(inner, 2.0, interval), torch.zeros(8, dtype=torch.long)
    how = {"solver": solver, "y": y, "seed": 1}
    for calls in (9, 20):
        nfe = affordable(field, calls, 8, **how)
        assert sample(field, 8, nfe=nfe, **how).network_calls <= calls
        more = (sample(field, 8, nfe=k, **how) for k in range(nfe + 1, calls + 1))
        assert all(s.network_calls > calls for s in more)


def test_calls_that_pay_for_no_evaluation_are_refused():
    field = classifier_free(NORMAL, 2.0)
    with pytest.raises(
        ValueError, match="1 network call cannot pay for an evaluation, which takes 2"
    ):
        affordable(field, 1, 4, y=1)
    assert affordable(NORMAL, 1, 4, y=1) == 1


def test_counting_is_free(monkeypatch):
    """No call reaches the field inside."""
    field = classifier_free(NORMAL, 2.0)
    monkeypatch.setattr(NORMAL, "posterior", lambda *_: 1 / 0)
    drawn = sample(Free(field), 4, nfe=7, y=1)
    assert (drawn.nfe, drawn.network_calls) == (7, 14)


class Twice(AffineField):
    """A field of one's own that calls its network twice where the noise is large."""

    calls_per_evaluation = 2

    def __init__(self):
        super().__init__(NORMAL.schedule, NORMAL.noise, *NORMAL.moments)

    def posterior(self, x, t, y=None):
        return NORMAL.posterior(x, t)

    def calls_at(self, t):
        return 1 + bool((t > 1).any())


class Bare(Field):
    """A velocity alone, of which two networks are parts."""

    prior, span, event_shape, calls_per_evaluation = Normal(), (1.0, 0.0), (3,), 2

    def velocity(self, x, t, y=None):
        return -x


def test_fields_of_ones_own_that_call_a_network_twice_are_counted():
    nfe = affordable(Twice(), 20, 8, solver="trig")
    assert 10 < nfe < 20 and sample(Twice(), 8, "trig", nfe=nfe).network_calls <= 20
    assert sample(Twice(), 8, "trig", nfe=nfe + 1).network_calls > 20
    assert affordable(Bare(), 21, 8) == 10
    assert sample(Bare(), 8, nfe=10).network_calls <= 21
    with pytest.raises(ValueError, match="1 network call cannot pay for an evaluation"):
        affordable(Bare(), 1, 8)
