"""``--guidance``, ``--interval`` and ``--weak``: what they draw, cost, say and refuse."""

import numpy as np
import pytest
import torch

import diffode
from diffode.cli.app import run
from diffode.fields import classifier_free
from diffode.runs import loading
from tests.runs import arrays, figures, made, refused, refused_in_full

DRAWN = ["--device", "cpu", "--seed", "3", "--nfe", "6"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("guided")


@pytest.fixture(scope="module")
def labelled(folder):
    return made(folder / "a", "edm", "eight-gaussians", "--labels")


@pytest.fixture(scope="module")
def plain(folder):
    return made(folder / "b", "edm", "eight-gaussians")


@pytest.fixture(scope="module")
def poisson(folder):
    return made(folder / "c", "poisson", "eight-gaussians", "--labels")


def field(run_folder):
    return loading.load(run_folder).field


def draw(target, out, *given):
    assert run(["sample", str(target), *DRAWN, "--out", str(out), *map(str, given)]) == 0
    return arrays(out)["x"]


@pytest.mark.parametrize("interval", [(), (0.2, 3.0), (1.0, float("inf"))])
def test_sample_draws_what_python_draws_and_says_what_it_cost(
    labelled, tmp_path, interval, capsys
):
    given = ["--guidance", 2.5, *(["--interval", *interval] if interval else [])]
    x = draw(labelled, tmp_path / "x.npz", "--samples", 8, "--label", 3, *given)
    guided = classifier_free(field(labelled), 2.5, interval or None)
    drawn = diffode.sample(guided, 8, nfe=6, seed=3, y=3)
    assert (x == drawn.x.numpy()).all()
    assert (drawn.network_calls == 12) == (not interval)
    said = f"(8 samples, 6 evaluations each, {drawn.network_calls} network calls)\n"
    assert capsys.readouterr().out.endswith(said)


def test_weight_1_is_the_sample_without_guidance_at_its_cost(labelled, tmp_path, capsys):
    given = ("--samples", 8, "--label", 3)
    a = draw(labelled, tmp_path / "a.npz", *given)
    b = draw(labelled, tmp_path / "b.npz", *given, "--guidance", 1)
    assert (a == b).all()
    assert "network" not in capsys.readouterr().out


def test_each_row_of_poisson_is_guided_at_its_own_level(poisson, tmp_path):
    x = draw(poisson, tmp_path / "x.npz", "--per-class", 1, "--guidance", 2, "--interval", 0.5, 5)
    guided = classifier_free(field(poisson), 2.0, (0.5, 5.0))
    assert (x == diffode.sample(guided, 8, nfe=6, seed=3, y=torch.arange(8)).x.numpy()).all()


def test_a_weaker_run_is_told_labels_if_it_knows_them(labelled, plain, folder, tmp_path):
    strong, y = field(labelled), torch.arange(8)
    other_labelled = other(folder, "weaker", "edm", "eight-gaussians", "--labels", "--seed", 1)
    for weak, label in ((plain, None), (other_labelled, y)):
        x = draw(labelled, tmp_path / "x.npz", "--per-class", 1, "--guidance", 2, "--weak", weak)
        reference = field(weak)
        guided = classifier_free(strong, 2.0, weak=reference)
        assert (x == diffode.sample(guided, 8, nfe=6, seed=3, y=y).x.numpy()).all()
        points = torch.ones(8, 2)
        expected = 2 * strong.denoise(points, 1.0, y) - reference.denoise(points, 1.0, label)
        torch.testing.assert_close(guided.denoise(points, 1.0, y), expected)
    draw(plain, tmp_path / "x.npz", "--guidance", 2, "--weak", labelled)  # and no label is needed


def test_a_picture_says_its_guidance(labelled, tmp_path, monkeypatch):
    titles = []
    monkeypatch.setattr(
        "diffode.cli.sampling.samples_picture", lambda *_, title, **__: titles.append(title)
    )
    given = ["--label", "3", "--guidance", "2", "--interval", "0.2", "3"]
    assert run(["sample", str(labelled), *DRAWN, *given, "--out", str(tmp_path / "x.png")]) == 0
    assert "guidance 2 at rho 0.2 to 3, 6 evaluations each, " in titles[0]


def test_eval_draws_by_the_datas_labels_and_keeps_guidances_apart(poisson, tmp_path, capsys):
    found = {}
    for weight in ("2", "3"):
        given = ["--guidance", weight, "--interval", "0.2", "inf", "--nfe", "5"]
        out = tmp_path / weight
        command = ["eval", str(poisson), "--samples", "60", "--device", "cpu", "--out", str(out)]
        assert run([*command, *given]) == 0
        found[weight] = arrays(out / "samples.npz")
        told = figures(out / "eval.json")
        interval = [0.2, "inf"]
        assert told["guidance"] == {"weight": float(weight), "interval": interval, "weak": None}
        assert told["nfe"] == 5 and 5 < told["network_calls"] <= 10
        page = (out / "eval.md").read_text()
        assert page.startswith(
            f"# poisson on eight-gaussians, guidance {weight} at rho 0.2 to inf"
        )
        assert (
            f"5 evaluations each, {told['network_calls']:g} network calls, guidance {weight}"
            in (page)
        )
    assert (np.bincount(found["2"]["y"]) > 5).all()
    assert (found["2"]["y"] == found["3"]["y"]).all()
    assert not (found["2"]["x"] == found["3"]["x"]).any()


OWN = """
import diffode, torch
from diffode.fields import Wrapped, classifier_guided
from torch import nn

class Moved(Wrapped):
    def posterior(self, x, t, y=None):
        x0 = BY * self.inner.denoise(x, t, y)
        return x0, (x - x0) / torch.as_tensor(t).reshape(-1, 1).to(x)

class Slope(nn.Module):
    classes = 8
    def forward(self, u, rho):
        return BY * u.flatten(1)[:, :1].expand(-1, 8) * u.new_tensor(range(8))

field = diffode.load(PLACE).field
weak, by = Moved(field), classifier_guided(field, Slope())
"""


@pytest.mark.parametrize("option", ["weak", "classifier"])
def test_eval_draws_anew_where_the_code_that_guides_has_changed(option, labelled, tmp_path):
    name, found = "weak" if option == "weak" else "by", []
    for by in (0.5, 0.9):
        code = OWN.replace("BY", str(by)).replace("PLACE", repr(str(labelled)))
        (tmp_path / "own.py").write_text(code)
        given = ["--guidance", "2", f"--{option}", f"{tmp_path}/own.py:{name}", "--nfe", "4"]
        command = ["eval", str(labelled), "--samples", "30", "--device", "cpu"]
        assert run([*command, *given, "--out", str(tmp_path / str(by))]) == 0
        found.append(arrays(tmp_path / str(by) / "samples.npz")["x"])
    assert (found[0] != found[1]).any()


def other(folder, name, *given):
    made(folder / name, *given)
    return folder / name / "run"


REFUSED = {
    "no label": ("labelled", "--guidance 2", "without a label to guide to; give --label"),
    "reversed": ("labelled", "--guidance 2 --label 1 --interval 3 1", "wanted two noise levels"),
    "negative": (
        "labelled",
        "--guidance -1 --label 1",
        "got weight -1.0; wanted a finite number, 0",
    ),
    "outside": (
        "labelled",
        "--guidance 2 --label 1 --interval 1000 2000",
        "got interval (1000.0, 2000.0), where nothing is guided; wanted one that meets the noise",
    ),
    "one end": (
        "labelled",
        "--interval 5 --guidance 2 --label 1",
        "got --interval 5 --guidance; wanted --interval LO HI",
    ),
    "not finite": ("labelled", "--guidance nan --label 1", "wanted a finite number"),
    "interval alone": (
        "labelled",
        "--label 1 --interval 1 3",
        "got --interval without --guidance",
    ),
    "weak alone": ("labelled", "--label 1 --weak x", "got --weak without --guidance"),
    "no labels": ("plain", "--guidance 2", "was trained without labels; train it with --labels"),
    "no run": ("labelled", "--guidance 2 --label 1 --weak nowhere", "nowhere does not exist"),
    "other law": ("labelled", "--guidance 2 --label 1 --weak {poisson}", "wanted those of the"),
    "weights": ("poisson", "--guidance 2 --label 1 --weak {labelled}", "got a weaker field on"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("command", ["sample", "eval"])
def test_what_does_not_fit_is_refused_in_one_line(command, case, request, tmp_path, capsys):
    name, given, words = REFUSED[case]
    if command == "eval":
        if case == "no label":
            pytest.skip("eval draws by the data's labels")
        given = given.replace("--label 1 ", "").replace(" --label 1", "")
    refused_in_full(capsys, tmp_path, words, command, name, given, request.getfixturevalue)


def test_a_network_without_a_null_label_is_guided_by_a_weaker_one_alone(
    labelled, folder, tmp_path, capsys
):
    bare = other(folder, "bare", "edm", "eight-gaussians", "--labels", "--set", "label_drop=0")
    given = ("sample", bare, "--label", 1, "--guidance", 2, "--out", tmp_path / "x.npz")
    assert "has no null label to be guided away from, as label_drop is 0" in refused(
        capsys, *given
    )
    draw(bare, tmp_path / "x.npz", "--label", 1, "--guidance", 2, "--weak", labelled)


def test_what_is_guided_already_is_not_guided_again(labelled, tmp_path, capsys):
    code = (
        f"import diffode\nfield = diffode.fields.classifier_free(diffode.load({str(labelled)!r})"
    )
    (tmp_path / "own.py").write_text(code + ".field, 2.0)\n")
    given = ("--label", 1, "--guidance", 2, "--out", tmp_path / "x.npz")
    message = refused(capsys, "sample", f"{tmp_path}/own.py:field", *given)
    assert "own.py:field is guided already (guidance 2); guide the field that" in message


def test_a_classifier_of_other_data_is_refused(plain, folder, tmp_path, capsys):
    by = other(folder, "by", "classifier", "moons", "--labels")
    given = ("--label", 1, "--guidance", 2, "--classifier", by, "--out", tmp_path / "x.npz")
    message = refused(capsys, "sample", plain, *given)
    assert f"--classifier {by} was trained on other data than {plain}, which differ" in message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("edm", "moons"), "trained on other data than {run}, which differ in values; give"),
        (("gan", "eight-gaussians", "--labels"), "got a Generated, which states no E[x_0 | x]"),
        (
            ("classifier", "eight-gaussians"),
            "which is a classifier; give it as --classifier",
        ),
    ],
)
def test_a_weaker_run_of_another_kind_is_refused(labelled, folder, given, words, tmp_path, capsys):
    weak = other(folder, "-".join(given[:2]), *given)
    more = ("--label", 1, "--guidance", 2, "--weak", weak, "--out", tmp_path / "x.npz")
    found = refused(capsys, "sample", labelled, *more)
    assert words.format(run=labelled, weak=weak) in found


@pytest.mark.parametrize("command", ["sample", "eval"])
def test_what_cannot_be_guided_is_named(folder, labelled, command, tmp_path, capsys):
    gan = other(folder, f"gan-{command}", "gan", "eight-gaussians")
    by = other(folder, f"by-{command}", "classifier", "eight-gaussians")
    out = ("--guidance", 2, "--out", tmp_path / "x.npz")
    line = refused(capsys, command, gan, *out)
    assert f"got --guidance, but {gan} does not estimate the data from a noisy point" in line
    line = refused(capsys, command, by, *out)
    assert f"{by} is guided already (guidance 1 by NoiseClassifier); guide the field" in line
    line = refused(capsys, command, labelled, *out, "--weak", labelled)
    assert f"got --weak {labelled}, which is {labelled} itself" in line


def test_weight_0_draws_and_measures_what_has_no_label(labelled, tmp_path, capsys):
    """Neither names, nor labels, nor an accuracy: no label plays a part."""
    free, zero = ([*DRAWN[2:], "--samples", "8", *given] for given in ([], ["--guidance", "0"]))
    drawn = []
    for given in (free, zero):
        assert run(["sample", str(labelled), *given, "--out", str(tmp_path / "x.npz")]) == 0
        drawn.append(arrays(tmp_path / "x.npz"))
    assert "y" not in drawn[1] and (drawn[0]["x"] == drawn[1]["x"]).all()
    for given in (("--label", 3), ("--per-class", 2)):
        line = refused(capsys, "sample", labelled, *zero[:-2], *given, "--guidance", 0)
        assert "this field knows no labels, as one that was trained without or is guided" in line
    command = ["eval", str(labelled), "--samples", "60", "--nfe", "4", "--device", "cpu"]
    assert run([*command, "--guidance", "0", "--out", str(tmp_path / "eval")]) == 0
    told = figures(tmp_path / "eval" / "eval.json")
    assert not told["labels"] and "y" not in arrays(tmp_path / "eval" / "samples.npz")
    assert not any("accuracy" in name for name in told["metrics"])


def test_a_fitted_grid_is_not_for_a_guided_field(labelled, tmp_path, capsys):
    grid = tmp_path / "grid.json"
    given = ["fit-grid", str(labelled), "--steps", "2", "--pilot", "8", "--device", "cpu"]
    assert run([*given, "--out", str(grid)]) == 0
    out = ("--guidance", "2", "--label", "1", "--out", tmp_path / "x.npz")
    message = refused(capsys, "sample", labelled, "--grid", grid, *out)
    assert "as it was trained, not to one with guidance 2; name a kind of grid" in message


def test_a_likelihood_is_not_of_a_guided_field(labelled, capsys):
    message = refused(capsys, "eval", labelled, "--likelihood", "--guidance", "2")
    assert "got --likelihood and --guidance" in message
