"""Pictures: where pixels lie, what is refused, and files written in one piece or not at all."""

import base64
import os
import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from diffode.fields import VP, Karras, Mixture
from diffode.rng import Rng
from diffode.viz import (
    canvas,
    data_uri,
    image_grid,
    plot_trajectories,
    points_picture,
    samples_picture,
    shown,
    strip,
)
from diffode.viz import tour as tour_module
from diffode.viz.images import GAP
from diffode.viz.points import principal_axes


def pixels(png):
    return np.asarray(Image.open(BytesIO(png)))


def is_drawn(png):
    page = pixels(png)[..., :3].astype(int)
    return page.std() > 1 and len(np.unique(page @ (65536, 256, 1))) > 20


def normal(*shape, name="x"):
    return Rng(0).normal(name, shape)


class TestImageGrid:
    @pytest.mark.parametrize("channels", [1, 3])
    def test_each_image_lies_in_its_cell(self, channels):
        values = torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0])
        x = values.view(5, 1, 1, 1).expand(5, channels, 4, 6)
        page = pixels(image_grid(x, columns=3, scale=2)).reshape(
            -1, 3 * (12 + GAP) + GAP, channels
        )
        assert len(page) == 2 * (8 + GAP) + GAP
        for i, value in enumerate([0, 64, 128, 191, 255]):
            top, left = GAP + i // 3 * (8 + GAP), GAP + i % 3 * (12 + GAP)
            assert (page[top : top + 8, left : left + 12] == value).all()
        assert (page[:GAP] == 255).all() and (page[8 + GAP : 8 + 2 * GAP] == 255).all()
        assert (page[10 + GAP :, 2 * (12 + GAP) + GAP :] == 255).all()  # the cell without an image

    def test_pixels_are_enlarged_sharply_and_not_turned(self):
        x = torch.tensor([[-1.0, 1.0, 0.0], [1.0, -1.0, -1.0]])[None, None]
        page = pixels(image_grid(x, scale=3))[GAP:-GAP, GAP:-GAP]
        expected = np.kron([[0, 255, 128], [255, 0, 0]], np.ones((3, 3)))
        assert (page == expected).all()

    def test_channels_are_red_green_blue(self):
        red = torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1)
        assert pixels(image_grid(red, scale=1))[GAP, GAP].tolist() == [255, 0, 0]

    def test_values_are_clipped_and_nan_is_magenta(self):
        x = torch.tensor([-7.0, 7.0, float("inf"), float("nan")]).view(1, 1, 1, 4)
        row = pixels(image_grid(x, scale=1))[GAP, GAP:-GAP]
        assert row.tolist() == [[0, 0, 0], [255, 255, 255], [255, 255, 255], [255, 0, 255]]

    @pytest.mark.parametrize(("size", "side"), [(8, 64), (28, 56), (32, 64), (64, 64), (256, 256)])
    def test_small_images_are_enlarged(self, size, side):
        page = pixels(image_grid(torch.zeros(4, 1, size, size)))
        assert page.shape == (2 * (side + GAP) + GAP,) * 2

    def test_input_is_left_alone(self):
        x = normal(2, 1, 3, 3).requires_grad_()
        before = x.detach().clone()
        image_grid(x)
        image_grid(x.bfloat16())
        assert torch.equal(x, before)

    @pytest.mark.parametrize("shape", [(4, 2), (4, 2, 8, 8), (0, 1, 8, 8), (1, 8, 8)])
    def test_other_shapes_are_refused(self, shape):
        with pytest.raises(ValueError, match=r"wanted images \(B, 1 or 3, H, W\)"):
            image_grid(torch.zeros(shape))

    @pytest.mark.parametrize("options", [{"columns": 0}, {"scale": 0}])
    def test_counts_from_one(self, options):
        with pytest.raises(ValueError, match="both count from 1"):
            image_grid(torch.zeros(4, 1, 8, 8), **options)

    def test_needs_no_matplotlib(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        assert samples_picture(torch.zeros(2, 1, 8, 8))[:4] == b"\x89PNG"


class TestPoints:
    @pytest.mark.parametrize("event", [(1,), (2,), (5,), (2, 3, 4), (4, 8, 8)])
    @pytest.mark.parametrize("beside", [False, True])
    def test_every_shape_has_a_picture(self, event, beside):
        x = normal(40, *event)
        reference = normal(60, *event, name="reference") if beside else None
        png = samples_picture(x, reference=reference)
        assert is_drawn(png)
        assert pixels(png).shape[:2] == (860, 800)

    @pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
    @pytest.mark.parametrize("event", [(1,), (2,), (3,)])
    def test_wild_values_do_not_stop_it(self, bad, event):
        x = normal(500, *event)
        x[0] = bad
        assert is_drawn(points_picture(x))
        assert pixels(points_picture(torch.full((3, *event), bad))).size

    def test_one_point_and_equal_points(self):
        for x in (torch.zeros(1, 2), torch.ones(5, 2), torch.ones(1, 7), torch.ones(3, 1)):
            assert pixels(points_picture(x)).size

    def test_principal_axes_are_those_of_the_covariance(self):
        x = normal(900, 4).double() * torch.tensor([1.0, 5.0, 0.5, 3.0]) + 7
        mean, axes, shares = principal_axes(x)
        values, vectors = torch.linalg.eigh(torch.cov(x.T))
        torch.testing.assert_close(mean, x.mean(0))
        torch.testing.assert_close(
            (axes @ vectors).abs().round(decimals=6)[:, [3, 2]], torch.eye(2).double()
        )
        torch.testing.assert_close(
            torch.tensor(shares), (values / values.sum()).flip(0)[:2].float()
        )

    def test_a_reference_of_another_shape_is_refused(self):
        with pytest.raises(ValueError, match="must agree but for the count"):
            points_picture(torch.zeros(4, 2), reference=torch.zeros(9, 3))

    def test_no_samples_are_refused(self):
        with pytest.raises(ValueError, match=r"wanted samples \(B, \*event\)"):
            samples_picture(torch.zeros(0, 2))


class TestTrajectories:
    def test_lines_are_drawn(self, tmp_path):
        states = normal(9, 30, 2).cumsum(0)
        png = plot_trajectories(states, tmp_path / "a.png", reference=normal(50, 2), title="walks")
        assert is_drawn(png)
        assert (tmp_path / "a.png").read_bytes() == png

    @pytest.mark.parametrize("shape", [(9, 4, 3), (9, 2), (1, 4, 2), (9, 0, 2)])
    def test_other_shapes_are_refused(self, shape):
        with pytest.raises(ValueError, match=r"wanted \(T, B, 2\)"):
            plot_trajectories(torch.zeros(shape))

    def test_a_strip_has_a_row_for_each_sample_and_time_to_the_right(self):
        states = torch.linspace(-1, 1, 11).view(11, 1, 1, 1, 1).expand(11, 2, 1, 4, 4).clone()
        states[:, 1] *= -1
        page = pixels(strip(states, columns=6, scale=1))[GAP :: 4 + GAP, GAP :: 4 + GAP]
        assert page.tolist() == [[0, 51, 102, 153, 204, 255], [255, 204, 153, 102, 51, 0]]

    def test_a_strip_needs_images(self):
        with pytest.raises(ValueError, match="wanted images"):
            strip(torch.zeros(9, 4, 2))

    def test_shown_keeps_the_scale_of_the_data(self):
        field = Mixture(torch.ones(1), torch.zeros(1, 2), torch.full((1,), 0.5), Karras())
        times = torch.tensor([80.0, 1.0, 0.002], dtype=torch.float64)
        states = 0.5 * normal(3, 4000, 2)
        noisy = states * (1 + (times / 0.5).square()).sqrt().float()[:, None, None]
        torch.testing.assert_close(shown(field, noisy, times), states)
        vp = Mixture(torch.ones(1), torch.zeros(1, 2), torch.ones(1), VP())
        torch.testing.assert_close(shown(vp, states, times / 80), states)


class TestWriting:
    def test_the_file_holds_the_bytes_and_nothing_else_is_left(self, tmp_path):
        path = tmp_path / "new" / "grid.png"
        assert image_grid(torch.zeros(1, 1, 2, 2), path) == path.read_bytes()
        assert os.listdir(path.parent) == ["grid.png"]

    def test_a_failed_drawing_keeps_the_old_file(self, tmp_path, monkeypatch):
        path = tmp_path / "a.png"
        path.write_bytes(b"old")
        drawn = canvas.figure(100, 100)
        monkeypatch.setattr(drawn, "savefig", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            canvas.save(drawn, path)
        assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a.png"]

    def test_a_failed_write_keeps_the_old_file(self, tmp_path, monkeypatch):
        path = tmp_path / "a.png"
        path.write_bytes(b"old")
        monkeypatch.setattr(os, "replace", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            image_grid(torch.zeros(1, 1, 2, 2), path)
        assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a.png"]

    def test_data_uri_decodes_to_the_picture(self):
        png = image_grid(torch.zeros(1, 1, 2, 2))
        head, body = data_uri(png).split(",")
        assert head == "data:image/png;base64" and base64.b64decode(body) == png

    def test_the_same_picture_has_the_same_bytes(self):
        x = normal(50, 2)
        assert points_picture(x) == points_picture(x)

    def test_without_matplotlib_the_message_names_the_extra(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        with pytest.raises(ValueError, match=r"pip install 'diffode\[plot\]'"):
            points_picture(torch.zeros(3, 2))

    def test_imports_are_lazy_and_pyplot_is_never_used(self):
        code = (
            "import sys, diffode.viz as v; assert not {'torch', 'matplotlib'} & set(sys.modules);"
            "import torch; v.image_grid(torch.zeros(1, 1, 2, 2));"
            "assert 'matplotlib' not in sys.modules;"
            "v.points_picture(torch.rand(9, 2)); assert 'matplotlib.pyplot' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], check=True)


class TestTour:
    def test_it_writes_one_picture(self, tmp_path):
        path = tour_module.tour(tmp_path / "tour.png")
        assert os.listdir(tmp_path) == ["tour.png"]
        page = path.read_bytes()
        assert is_drawn(page)
        assert pixels(page).shape[:2] == (tour_module.HEIGHT, tour_module.WIDTH)

    def test_what_its_captions_say(self):
        from diffode.data import load

        digits = load("digits").train
        ends = {}
        for model in tour_module.MODELS:
            field = model.field(digits)
            times, states = tour_module.flow(field, torch.tensor(tour_module.ROWS), seed=0)
            inside = field.schedule.rho(times[tour_module.COLUMNS[1:-1]])
            torch.testing.assert_close(inside, torch.tensor([2, 1, 0.5, 0.25]).double())
            nearest, index = torch.cdist(states[-1].flatten(1), digits.flatten(1)).min(1)
            assert nearest.max() < 0.05  # they return training images
            ends[model.name] = index.tolist()
        assert ends["Diffusion (VP)"] == ends["Rectified flow"]
