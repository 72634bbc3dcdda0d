"""What a comparison is told: its configuration, the plans and cells that follow, and refusals."""

import os

import pytest

from diffode.bench.cells import cells_of
from diffode.bench.config import make_config
from diffode.bench.models import model_of, paced, plan_of
from diffode.bench.specs import SolverSpec
from diffode.config_file import dump, read_config
from diffode.data import load
from diffode.runs.keys import key_of_values
from diffode.runs.suited import suited
from tests.runs import refused, written


def test_another_seed_or_option_is_another_model(tmp_path):
    data = load("moons")
    values = key_of_values(data.train, data.train_labels)
    base = {"fields": ["edm"], "train": {"steps": 5}}

    def key(seed=0, values=values, **changed):
        return model_of(
            plan_of(make_config(**base | changed), "edm", "moons", seed), values, tmp_path
        ).key

    keys = {
        key(),
        key(seed=1),
        key(values="other"),
        key(train={"steps": 6}),
        key(train={"steps": 5, "lr": 1e-3}),
        key(options={"edm": {"sigma_max": 2.0}}),
    }
    assert len(keys) == 6
    assert key(train={"steps": 5, "save_every": 7}) == key()


def test_recipes_with_training_options_of_their_own_keep_them():
    config = make_config(fields=["gan", "edm"], train={"steps": 5, "width": 16})
    assert plan_of(config, "edm", "moons", 0).training["steps"] == 5
    assert plan_of(config, "gan", "moons", 0).training["steps"] == 4000


def test_seconds_become_steps_once(tmp_path):
    config = make_config(fields=["edm"], train={"batch": 32, "width": 16, "depth": 1}, seconds=0.5)
    plan = suited(plan_of(config, "edm", "moons", 0), load("moons"))
    first = paced(plan, load("moons"), 0.5, tmp_path)
    assert first.training["steps"] > 1
    assert paced(plan, load("moons"), 0.5, tmp_path) == first
    assert paced(plan, load("moons"), 5.0, tmp_path).training["steps"] == pytest.approx(
        10 * first.training["steps"], rel=0.1
    )


def test_cells_of_an_own_grid_are_thinned_and_not_filled_in(tmp_path):
    config = make_config(fields=["gan"], nfe=[5, 20], solvers=["heun", "dopri5"])
    one = model_of(plan_of(config, "gan", "moons", 0), "v", tmp_path)
    assert [c.nfe for c in cells_of(config, one, 1)] == [1]
    assert [c.nfe for c in cells_of(config, one, 8)] == [5, 8]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ('fields = ["edn"]', "did you mean 'edm'"),
        ('solvers = ["hein"]', "did you mean 'heun'"),
        ('solvers = ["heun:eta=1"]', "has no option 'eta'"),
        ('solvers = ["heun:eta"]', "wanted name:key=value"),
        ("nfe = []", "at least 1 item"),
        ("nfe = [5, 5]", "name each only once"),
        ("seconds = 3\n[train]\nsteps = 4", "give one of the two"),
        ("[train]\nwidht = 4", "did you mean 'width'"),
        ("[options.subvp]\nbeta_max = 3", "not among the fields"),
        ("colour = 1", "a comparison has no 'colour'"),
        ('data = ["mons"]', "did you mean 'moons'"),
        ("data = [", "does not parse"),
        ("tolerances = []", "at least 1 item"),
        ("seeds = [100000000000000000000000]", "less than"),
        ("train = 3", "valid dictionary"),
        ("[train]\nseed = 3", "got 'seed' among the options of a training"),
        ("[options.edm]\ndevice = 3", "got 'device' among the options of a training"),
        ('budget = "heun@0"', "wanted solver@nfe"),
        ('budget = "heun@"', "wanted solver@nfe"),
        ('device = "tpu"', "tpu"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused_in_one_line(tmp_path, capsys, change, said):
    path = written(tmp_path, change + "\n")
    assert said in refused(capsys, "bench", path, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_solvers_are_named_by_their_text():
    spec = SolverSpec.parse("dopri5:clock=native,rtol=1e-3")
    solver = spec.make()
    assert (solver.name, solver.clock, solver.rtol) == ("dopri5", "native", 1e-3)
    assert spec.grid is None and spec.key != SolverSpec.parse("dopri5").key
    other = SolverSpec.parse("dpm++:grid=t2")
    assert other.grid == "t2" and other.key != SolverSpec.parse("dpm++").key
    with pytest.raises(ValueError, match="grids: native"):
        SolverSpec.parse("dpm++:grid=t3")


def test_options_are_found_by_any_name_of_a_recipe():
    config = make_config(fields=["pfgm"], options={"pfgm": {"sigma_max": 3.0}})
    assert plan_of(config, "poisson", "moons", 0).options["sigma_max"] == 3.0


def test_options_of_the_default_solver_are_used():
    assert SolverSpec.parse("default").chosen() is None
    assert SolverSpec.parse("default:order=1").chosen().order == 1


LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcd", "bcde", strict=True)
)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.yaml", LAUGHS, r"the alias \*a is not taken; write the value out \(line 2, column 8"),
        ("a.yaml", "a: &a {x: 1}\nb: {<<: *a}", r"the alias \*a is not taken"),
        ("a.yaml", "nfe: [5]\nnfe: [6]", "the key 'nfe' is given twice"),
        ("a.json", '{"nfe": [5], "nfe": [6]}', "the key 'nfe' is given twice"),
        ("a.yaml", "[" * 9000, "nested too deeply"),
        ("a.json", '{"a":' * 9000, "nested too deeply"),
        ("a.toml", "a = " + "[" * 9000, "nested too deeply"),
        ("a.yaml", "a: " + "9" * 9999, "it has a value that cannot be read"),
        ("a.toml", "a = " + "9" * 9999, "it has a value that cannot be read"),
        ("a.yaml", "a: \x01", "characters that YAML does not allow"),
        ("a.yaml", "a: !!python/name:os.system", "could not determine a constructor"),
        ("a.yaml", "# \n" * 99_999, "has 299,997 bytes; wanted 262,144 at most"),
        ("a.toml", b"\xff", "is not a text in UTF-8"),
    ],
)
def test_a_text_made_to_harm_is_refused_at_once(tmp_path, name, text, said):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=said) as caught:
        read_config(path)
    assert len(str(caught.value)) < 400


def test_pipes_and_folders_are_no_configuration(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "folder.yaml").mkdir()
    for name, kind in (("pipe.toml", "a pipe or a device"), ("folder.yaml", "a folder")):
        said = refused(capsys, "bench", tmp_path / name, "--out", tmp_path / "out")
        assert f"is {kind}; wanted an ordinary file" in said


def test_what_is_quoted_is_short():
    for given in (["x" * 10**6], [["y"] * 10**6], {f"k{n}": 1 for n in range(10**5)}, 10**4000):
        with pytest.raises(ValueError) as caught:
            make_config(fields=given)
        assert len(str(caught.value)) < 500


def test_a_configuration_is_written_without_aliases(tmp_path):
    same = {"width": 16}
    path = tmp_path / "a.yaml"
    path.write_text(dump({"options": {"edm": same, "vp": same}}))
    assert read_config(path) == {"options": {"edm": same, "vp": same}}
