"""Pictures of fields: files that are valid, sizes for a projector, and kinds that refuse."""

from io import BytesIO

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from diffode.data import load
from diffode.data.scaling import Scaling
from diffode.fields import VP, Empirical, Karras, Mixture, MonoFlow, PoissonField
from diffode.rng import Rng
from diffode.runs.exact import exact
from diffode.sampling import sample
from diffode.viz import plot
from diffode.viz.clocks import factor, nearest, times_of, when
from diffode.viz.kinds import KINDS, USUAL, of_each
from diffode.viz.kinds.section import shades
from diffode.viz.plane import plane_of
from diffode.viz.scene import Scene
from diffode.viz.sections import law_of, mesh, until, velocities
from diffode.viz.text import several
from diffode.viz.units import name_axes
from tests.fields import Point

POINTS = {n: Rng(0).normal("x", (40, n)) for n in (1, 2, 3)}
IMAGES = Rng(0).normal("x", (20, 1, 4, 4)).clamp(-1, 1)
FLOWS = [kind for kind in KINDS if kind != "loss"]
FEW = {"samples": 5, "moves": {"steps": 4}}


def pixels(png):
    return np.asarray(Image.open(BytesIO(png)).convert("RGB"))


def field_of(n, noise=None):
    return Empirical(POINTS[n], Karras(0.01, 20.0), noise)


class TestKinds:
    @pytest.mark.parametrize("kind", FLOWS)
    @pytest.mark.parametrize("n", [1, 2, 3])
    def test_points_of_any_size_have_a_picture(self, kind, n):
        if kind == "density" and n == 3:
            with pytest.raises(
                ValueError, match="of 2 numbers at most, and Empirical makes points of 3"
            ):
                plot(field_of(n), kind, data=POINTS[n], **FEW)
            return
        page = pixels(plot(field_of(n), kind, data=POINTS[n], **FEW))
        assert page.shape[1] == 1600 and page.shape[0] >= 500
        assert (page[-1] == 255).all() and len(np.unique(page.reshape(-1, 3), axis=0)) > 20

    @pytest.mark.parametrize("kind", FLOWS)
    def test_images_have_rows_or_are_refused_in_a_line(self, kind):
        field = Empirical(IMAGES, Karras(0.01, 20.0))
        if kind in ("paths", "field-lines", "density"):
            with pytest.raises(
                ValueError, match=rf"--kind {kind} is for points.* makes images; --"
            ):
                plot(field, kind, data=IMAGES, **FEW)
        else:
            assert pixels(plot(field, kind, data=IMAGES, **FEW)).shape[1] == 1600

    @pytest.mark.parametrize("kind", ["paths", "strip", "field-lines", "section"])
    def test_a_field_that_is_not_affine(self, kind):
        assert pixels(plot(Point(), kind, **FEW)).shape[1] == 1600

    def test_without_data_nothing_is_behind(self):
        assert plot(field_of(2), "samples", **FEW) != plot(
            field_of(2), "samples", data=POINTS[2], **FEW
        )

    def test_dark_pages_are_dark(self):
        page = pixels(plot(field_of(2), "paths", data=POINTS[2], dark=True, **FEW))
        assert page[:5].max() < 60 and page.max() > 200

    @pytest.mark.parametrize("kind", ["samples", "density", "field-lines"])
    @pytest.mark.parametrize("form", ["png", "svg", "pdf"])
    def test_the_same_picture_has_the_same_bytes(self, kind, form, tmp_path):
        one, two = (tmp_path / f"{k}.{form}" for k in "ab")
        for path in (one, two):
            plot(field_of(2), kind, path, data=POINTS[2], **FEW)
        starts = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
        assert one.read_bytes() == two.read_bytes() and one.read_bytes().startswith(starts[form])

    def test_matplotlib_is_left_as_it_was(self):
        before = dict(matplotlib.rcParams)
        plot(field_of(2), "samples", dark=True, **FEW)
        assert dict(matplotlib.rcParams) == before

    def test_kinds_and_endings_that_there_are_not(self, tmp_path):
        with pytest.raises(ValueError, match="got --kind path; did you mean 'paths'"):
            plot(field_of(2), "path")
        with pytest.raises(ValueError, match=r"ends in \.png, \.svg or \.pdf"):
            plot(field_of(2), "paths", tmp_path / "a.jpg")

    def test_loss_needs_a_run(self):
        with pytest.raises(ValueError, match="has no losses"):
            plot(field_of(2), "loss")

    def test_names_from_outside_are_text(self):
        plot(field_of(2), "samples", title=r"$\frac{猫 $_{", **FEW)

    def test_labels_are_rows_or_colours(self):
        labels = torch.arange(20) % 2
        field = Empirical(IMAGES, VP(), labels=labels)
        y = torch.tensor([0, 0, 0, 1, 1, 1])
        plain = pixels(plot(field, "samples", moves={"steps": 3}, y=y, names=("cat", "dog")))
        assert plain.shape[0] < plain.shape[1]
        with pytest.raises(ValueError, match="got 2 classes"):
            plot(field, "section", data=IMAGES, y=y)


class TestWhatIsDrawn:
    def test_times_lie_between_prior_and_data(self):
        for field in (field_of(2), Empirical(POINTS[2], VP()), Point()):
            times = times_of(field, 5)
            start, end = field.span
            assert (times.diff() * (end - start) > 0).all()
            assert ((times - start) * (times - end) <= 1e-12).all()
        assert times_of(field_of(2), 3, [5.0, 1.0]).tolist() == [5.0, 1.0]
        for wrong in ([1.0, 5.0], [21.0], []):
            with pytest.raises(ValueError, match="the prior"):
                times_of(field_of(2), 3, wrong)

    def test_what_times_are_called(self):
        assert when(field_of(2), 0.25) == "\u03c3 = 0.25"
        vp = Empirical(POINTS[2], VP())
        assert when(vp, 1.0) == "t = 1\n\u03c3/\u03b1 = 152" and factor(vp, 0.0) == 1.0
        assert nearest(torch.tensor([3.0, 2.0, 1.0]), torch.tensor([2.9, 3.0, 1.2])) == [0, 2]

    def test_a_plane_gives_points_back(self):
        known = POINTS[3].double()
        for chosen in (None, (0, 2), (1,)):
            plane = plane_of(3, known, chosen)
            u = torch.tensor([[0.5, -2.0]]).double()[:, : len(plane.axes)]
            torch.testing.assert_close(plane.flat(plane.points(u)), u)
            torch.testing.assert_close(
                plane.axes @ plane.axes.T, torch.eye(len(plane.axes)).double()
            )
        for wrong in ((0, 3), (1, 1), (0, 1, 2), ()):
            with pytest.raises(ValueError, match="one or two of the coordinates 0 to 2"):
                plane_of(3, known, wrong)

    def test_a_mesh_is_in_the_order_of_a_picture(self):
        x = mesh(torch.tensor([1.0, 10.0]).double(), 2.0, 3)
        assert x[:4].tolist() == [[-1, 8], [1, 8], [3, 8], [-1, 10]]

    def test_velocities_are_the_fields(self):
        field, x = field_of(2), POINTS[2][:7].double()
        found = velocities(Scene(field=field, title=""), x, 0.5)
        torch.testing.assert_close(found, field.velocity(x, 0.5), rtol=1e-4, atol=1e-5)

    def test_the_density_of_a_flow_is_the_exact_one(self):
        """A field that does not say its density, cut at a time, has that of its states there."""
        law = Mixture(
            torch.tensor([0.3, 0.7]), torch.tensor([[-1.0, 0.0], [1.0, 0.5]]),
            torch.tensor([0.4, 0.6]), Karras(0.01, 40.0),
        )  # fmt: skip

        class Hidden(type(until(law, 0.01))):
            pass

        hidden = Hidden(law, 0.01)
        x = POINTS[2][:20].double()
        for t in (0.2, 0.8):
            found = law_of(Scene(field=hidden, title=""))(x, t)
            torch.testing.assert_close(found, law.log_marginal(x, t), rtol=0, atol=2e-3)
        exactly = law_of(Scene(field=law, title=""))(x, 0.8)
        torch.testing.assert_close(exactly, law.log_marginal(x, 0.8))

    def test_shades_begin_at_the_largest(self):
        log = torch.tensor([-5.0, -7.0, -100.0, -torch.inf])
        assert shades(log).tolist() == [0, -2, -8, -8]
        with pytest.raises(ValueError, match="finite nowhere"):
            shades(torch.full((3,), -torch.inf))

    def test_a_flow_without_a_density_says_so(self):
        class Steps(torch.nn.Module):
            event_shape = (2,)

            def forward(self, x, t, y=None):
                return x.relu().sum(1)

        with pytest.raises(ValueError, match="needs a density, and that of critic is not known"):
            plot(MonoFlow(Steps()), "density", title="critic")


class TestExact:
    @pytest.mark.parametrize("name", ["poisson", "vp", "edm", "rectified", "morph"])
    def test_it_makes_the_data(self, name):
        data = load("digits")
        field = exact(name, data)
        x = sample(field, 8, nfe=40).x.flatten(1).float()
        near = torch.cdist(x, data.train.flatten(1)).min(1).values
        assert near.median() < 0.5  # of an exact field of points, which returns them

    def test_it_is_on_the_path_of_the_recipe(self):
        field = exact("poisson", load("moons"), dof=4)
        assert isinstance(field, PoissonField) and field.noise.dof == 4

    @pytest.mark.parametrize("name", ["monoflow", "gan", "interpolant", "masked", "classifier"])
    def test_some_have_none(self, name):
        with pytest.raises(ValueError, match=f"{name} has no exact field.*give the run"):
            exact(name, load("moons"))


class TestUnits:
    def test_ticks_are_numbers_of_the_data(self):
        """A tick at u says x = w u + b, and the numbers are round and told apart."""
        from matplotlib.figure import Figure

        for shift, width in ((0.0, 1e30), (1e6, 1.0), (-3.0, 1e-8), (0.1, 0.02)):
            field = field_of(2)
            field.scaling = Scaling(
                "standard", torch.tensor([9.0, shift]), torch.tensor([1, width])
            )
            axes = Figure().subplots()
            axes.set(ylim=(-2, 2))
            name_axes(Scene(field=field, title="", data=POINTS[2]), axes, "x", "y")
            axis = axes.yaxis
            places = axis.get_majorticklocs()
            said = [float(text) for text in axis.get_major_formatter().format_ticks(places)]
            true = places * width + shift
            np.testing.assert_allclose(said, true, rtol=0, atol=1e-3 * width)
            assert len(set(said)) == len(said) >= 4
            assert axes.get_ylabel() == "$x_1$"

    def test_principal_axes_say_that_they_are_of_the_model(self):
        field = field_of(3)
        field.scaling = Scaling("standard", torch.zeros(3), torch.ones(3))
        scene = Scene(field=field, title="", data=POINTS[3])
        assert scene.named(0).endswith("(units of the model)") and "units" in scene.units
        assert Scene(field=field_of(2), title="").units == ""


class TestRoom:
    def test_more_than_a_page_has_room_for_is_refused_before_it_is_drawn(self):
        field = Empirical(IMAGES, VP(), labels=torch.arange(20))
        for kind, n, most in (
            ("samples", 1601, 1600),
            ("strip", 31, 30),
            ("interpolation", 41, 40),
        ):
            with pytest.raises(ValueError, match=f"room for {most}"):
                plot(field, kind, samples=n)
        with pytest.raises(ValueError, match="got 41 classes"):
            plot(field, "samples", y=torch.arange(41))
        with pytest.raises(ValueError, match="got 6 times, and a page has room for 5"):
            plot(field_of(2), "density", times=[6, 5, 4, 3, 2, 1])

    def test_several_classes_share_what_one_would_have(self):
        assert of_each("samples", True, 1) == 60 and of_each("samples", True, 10) == 10
        assert of_each("samples", False, 1) == 2000 and of_each("samples", False, 4) == 500
        assert of_each("interpolation", False, 1) == 12
        assert all(of_each(kind, True, 5000) == 1 for kind in USUAL if kind != "samples")

    def test_one_is_one(self):
        assert several(1, "path") == "1 path" and several(2000, "path") == "2,000 paths"
