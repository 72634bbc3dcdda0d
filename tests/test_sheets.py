"""Pictures with classes: sheets of images, coloured points, and those that a run leaves."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from diffode.cli.app import run
from diffode.data.scaling import model_units
from diffode.runs.targets import resolve
from diffode.viz import image_sheet, points_picture, samples_picture
from diffode.viz.points import _unseen
from diffode.viz.restored import restored_picture
from diffode.viz.sheet import SPACE
from diffode.viz.text import class_name
from tests.runs import arrays, made
from tests.test_labels import drawn
from tests.test_viz import normal, pixels


class TestImageSheet:
    @pytest.mark.parametrize(("count", "size"), [(1, 8), (9, 8), (100, 8), (100, 28), (256, 64)])
    def test_it_is_wide_enough_to_be_read(self, count, size):
        page = pixels(image_sheet(torch.zeros(count, 1, size, size), title="title\nmore"))
        assert page.shape[1] >= 800
        assert page.shape[0] < 1.5 * page.shape[1]

    def test_a_hundred_digits_are_a_grid_of_ten_by_ten(self):
        values = torch.linspace(-1, 1, 100)
        page = pixels(image_sheet(values.view(-1, 1, 1, 1).expand(-1, 1, 8, 8)))[..., 0]
        step = (len(page) - SPACE) // 10
        assert page.shape == (10 * step + SPACE,) * 2 and len(page) >= 800
        gray = ((values + 1) * 127.5).round().int().view(10, 10).tolist()
        for corner in (SPACE, step - 1):  # sharp to the edges
            assert page[corner::step, corner::step][:10, :10].tolist() == gray

    def test_each_class_has_a_row_of_its_own(self):
        """Samples of a class keep their order, and a class with fewer leaves its row white."""
        y = torch.tensor([2, 0, 2, 5, 2, 0])
        x = torch.tensor([-1.0, -0.8, -0.6, -0.4, -0.2, 0.0]).view(-1, 1, 1, 1).expand(-1, 3, 8, 8)
        page = pixels(image_sheet(x, y=y))
        heads = page[:, : page.shape[1] // 20]
        assert heads.min() < 128, "the classes stand in front"
        tile = (page.shape[0] - SPACE) // 3 - SPACE
        left = page.shape[1] - 3 * (tile + SPACE)
        found = page[SPACE + tile // 2 :: tile + SPACE, left + tile // 2 :: tile + SPACE, 0]
        gray = ((x[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()
        assert found.tolist() == [
            [gray[1], gray[5], 255],
            [gray[0], gray[2], gray[4]],
            [gray[3], 255, 255],
        ]

    def test_what_is_left_out_is_said(self):
        few, many = (image_sheet(torch.zeros(n, 1, 8, 8), title="a") for n in (256, 257))
        assert pixels(many).shape[0] > pixels(few).shape[0], "a line more"
        each, more = (
            image_sheet(torch.zeros(n, 1, 8, 8), title="a", y=torch.zeros(n).long())
            for n in (20, 21)
        )
        assert pixels(more).shape[0] > pixels(each).shape[0]

    def test_names_that_the_font_lacks_are_numbers(self):
        names = ["cat", "猫", "Käse", "猫 cat", "", "a?"]
        called = [class_name(label, names) for label in range(7)]
        assert called == ["cat", "class 1", "Kase", "3 ? cat", "", "a?", "6"]
        x, y = torch.zeros(2, 1, 8, 8), torch.tensor([0, 1])
        other = image_sheet(x, y=y, names=["class 0", "class 1"])
        assert image_sheet(x, y=y, names=["猫", "犬"]) == other

    def test_a_long_name_leaves_room_for_the_images(self):
        x, y = torch.zeros(2, 1, 8, 8), torch.tensor([0, 1])
        page = pixels(image_sheet(x, title="t" * 999, y=y, names=["n" * 200, "b"]))
        assert page.shape[1] < 800 + 200 + 40

    def test_labels_are_of_any_kind_and_one_for_each_image(self):
        x = torch.zeros(2, 1, 8, 8)
        assert image_sheet(x, y=[1, 0]) == image_sheet(x, y=torch.tensor([1, 0]))
        with pytest.raises(
            ValueError, match="got 2 images and 3 labels; pass one label per image"
        ):
            image_sheet(x, y=[1, 0, 1])

    def test_other_shapes_are_refused(self):
        with pytest.raises(ValueError, match=r"wanted images \(B, 1 or 3, H, W\)"):
            image_sheet(torch.zeros(4, 2))


class TestPointsOfClasses:
    def test_classes_have_colours_and_a_legend(self):
        x, y = normal(600, 2), torch.arange(600) % 3
        names = ["$a$", "_b", "猫"]
        plain, page = (pixels(points_picture(x, y=labels, names=names)) for labels in (None, y))
        shades = [len(np.unique(p[100:400, 50:400].reshape(-1, 4), axis=0)) for p in (plain, page)]
        assert shades[1] > 2 * shades[0]
        assert page[-25:].min() < 128 <= plain[-3:].min(), "the legend is below"
        assert np.array_equal(pixels(points_picture(x, y=torch.arange(600) % 13)), plain)

    def test_the_reference_is_light_and_behind(self):
        far = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
        page = pixels(points_picture(far, reference=normal(300, 2))).astype(int)
        pale = (abs(page[..., :3] - [0xC9, 0xCD, 0xD6]).max(-1) < 3).sum()
        assert pale > 500  # most of the 300 dots; the two samples hide few

    def test_all_samples_are_drawn(self):
        """Also those beyond as many as the training data show."""
        x = torch.linspace(-1, 1, 6000)[:, None].expand(-1, 2)
        lone = torch.cat((x, torch.tensor([[0.9, -0.9]])))
        one, two = (pixels(points_picture(points, reference=x)) for points in (x, lone))
        assert (one != two)[500:].any()

    def test_what_is_not_shown_is_counted(self):
        points = torch.tensor([[0.0, 0.5], [9.0, 0.0], [float("nan"), 0.0], [0.1, 0.2]])
        middle, half = torch.zeros(2), 1.0
        assert _unseen(points, middle, half) == " (1 not finite, 1 outside)"
        assert _unseen(points[:1], middle, half) == ""

    def test_a_title_is_above_the_picture(self):
        page = pixels(points_picture(normal(9, 2), title="$one$ 猫\ntwo"))
        assert page.shape[:2] == (860 + 44, 800) and page[:20].min() < 128


@pytest.fixture(scope="module")
def bytes_run(tmp_path_factory):
    """A labelled run on images of whole bytes."""
    folder, rng = tmp_path_factory.mktemp("bytes"), np.random.default_rng(0)
    x = rng.integers(0, 256, (60, 1, 6, 6), dtype=np.uint8)
    np.savez(folder / "own.npz", x=x, y=np.arange(60) % 3)
    return made(folder, "--field", "edm", "--data", f"{folder / 'own.npz'}", "--labels")


def sheet(path):
    return np.asarray(Image.open(BytesIO(path.read_bytes())))


def test_a_picture_is_that_of_the_same_samples_in_a_file(bytes_run, tmp_path):
    given, target = ["--label", "all", "--per-class", "4"], resolve(bytes_run)
    kept = drawn(bytes_run, tmp_path / "x.npz", *given)
    out = tmp_path / "x.png"
    asked = [str(bytes_run), *given, "--nfe", "3", "--device", "cpu", "--out", str(out)]
    assert run(["sample", *asked]) == 0
    x = model_units(torch.from_numpy(kept["x"]), target.field.scaling)
    title = "edm on own.npz\ntrig, 3 evaluations each, seed 0; nothing selected"
    again = samples_picture(x, title=title, y=torch.from_numpy(kept["y"]))
    assert out.read_bytes() == again
    gray = sheet(out)[100:, 100:, 0]
    assert gray.min() < 40 and len(np.unique(gray)) > 20, "bytes are drawn as gray levels"


def test_samples_of_a_training_have_a_row_for_each_class(bytes_run):
    kept = arrays(bytes_run / "samples.npz")
    assert sorted(set(kept["y"].tolist())) == [0, 1, 2]
    page = sheet(bytes_run / "samples.png")
    assert page.shape[1] >= 800 and page[:, :25].min() < 128, "numbers in front"


def test_samples_of_a_training_on_points_are_coloured(tmp_path):
    out = made(tmp_path, "--field", "edm", "--data", "moons", "--labels")
    page = sheet(out / "samples.png")[80:500, 20:460, :3].astype(int)
    blue, red = page[..., 2] - page[..., 0], page[..., 0] - page[..., 2]
    assert blue.max() > 60 and red.max() > 60, "training data in the colours of both classes"


def test_the_std_of_equal_draws_is_black_and_of_black_and_white_is_white(monkeypatch):
    rows = {}
    monkeypatch.setattr(
        "diffode.viz.restored.image_sheet",
        lambda x, path, title, y, names: rows.update(zip(names, x, strict=True)),
    )
    draws = torch.stack([torch.ones(1, 4, 4), torch.ones(1, 4, 4)])[None]
    draws[0, 1, 0, 0, 0] = -1
    restored_picture(draws)
    assert float(rows["std"][0, 0, 0]) > 1 and float(rows["std"][0, 1, 1]) == -1


def test_more_observations_than_are_shown_are_told():
    some, more = (pixels(restored_picture(torch.zeros(n, 1, 1, 8, 8))) for n in (20, 21))
    assert more.shape[0] > some.shape[0] and more.shape[1] == some.shape[1], "a line more"
