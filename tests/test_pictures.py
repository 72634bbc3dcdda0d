"""Images in memory are taken as the same images in files are."""

import numpy as np
import pytest
import torch
from PIL import Image

from diffode import fit
from diffode.data import as_dataset
from diffode.data.source import equal
from tests.pictures import folder, picture

IMAGES = [picture(k, (12, 10)) for k in range(20)]
SIZES = [picture(k, (12 + k % 3, 10)) for k in range(20)]


class Pairs(torch.utils.data.Dataset):
    """A torch data set of an image and its label, as torchvision has them."""

    def __len__(self):
        return 20

    def __getitem__(self, place):
        return IMAGES[place], place % 2


@pytest.mark.parametrize(
    "data",
    [
        (IMAGES, [k % 2 for k in range(20)]),
        (IMAGES, torch.arange(20) % 2),
        (IMAGES, np.arange(20) % 2),
        [(image, np.int64(k % 2)) for k, image in enumerate(IMAGES)],
        Pairs(),
    ],
    ids=["list", "tensor", "array", "pairs", "torch"],
)
def test_labels_come_beside_the_images_or_with_each(data):
    found = as_dataset(data)
    assert found.event_shape == (3, 10, 12) and found.train_labels.bincount().tolist() == [9, 9]
    assert found.scaling.kind == "pixels"


def test_images_and_their_arrays_are_one_set():
    known = as_dataset(np.stack([np.asarray(image) for image in IMAGES]))
    found = as_dataset(IMAGES)
    assert torch.allclose(torch.as_tensor(known.train[:]), found.train[:], atol=1e-6)


def test_labels_may_be_names():
    assert as_dataset((IMAGES, ["b", "a"] * 10)).class_names == ("a", "b")
    with pytest.raises(ValueError, match="20 images and 3 labels"):
        as_dataset((IMAGES, [0, 1, 2]))
    with pytest.raises(ValueError, match="whole numbers"):
        as_dataset((IMAGES, [0.5] * 20))


def test_images_of_several_sizes_need_resize():
    with pytest.raises(ValueError, match="resize=N"):
        as_dataset(SIZES)
    with pytest.raises(ValueError, match="resize=N"):
        as_dataset([np.asarray(image) for image in SIZES])
    found = as_dataset(SIZES, resize=8)
    arrays = as_dataset([np.array(image) for image in SIZES], resize=8)
    planes = as_dataset([torch.from_numpy(np.array(i)).permute(2, 0, 1) for i in SIZES], resize=8)
    assert found.event_shape == (3, 8, 8)
    for other in (arrays, planes):
        assert torch.equal(found.train[:], other.train[:])


def test_modes_are_converted_and_the_images_stay_as_they_were(tmp_path):
    images = [i.convert(("L", "RGBA", "P", "CMYK")[k % 4]) for k, i in enumerate(IMAGES)]
    assert as_dataset(images).event_shape == (3, 10, 12)
    assert [image.mode for image in images[:4]] == ["L", "RGBA", "P", "CMYK"]
    place = folder(tmp_path, ("a",), 12, (60, 50)) / "a"
    opened = [Image.open(path) for path in sorted(place.iterdir())]
    as_dataset(opened, resize=8)
    assert {image.size for image in opened} == {(60, 50)}


@pytest.mark.parametrize("data", [[1.5] * 20, np.zeros((20, 4)), ["a"] * 20, {"a": 1}, []])
def test_what_is_no_image_has_no_size_to_change(data):
    with pytest.raises((TypeError, ValueError)):
        as_dataset(data, resize=8)


def test_floats_are_not_resampled():
    with pytest.raises(ValueError, match=r"20 of 20 images .*float64 of shape \(9, 9\)"):
        as_dataset([np.zeros((9, 9)) + k for k in range(20)], resize=8)


def test_a_list_of_images_is_trained_on():
    run = fit("edm", SIZES, reading={"resize": 8}, steps=2, batch=4, width=4, depth=1)
    assert run.dataset.event_shape == (3, 8, 8) and run.plan.reading == {"resize": 8}


def test_pairs_of_an_image_and_a_label_are_resampled():
    found = as_dataset([(image, k % 2) for k, image in enumerate(SIZES)], resize=8)
    arrays = as_dataset([(np.array(image), k % 2) for k, image in enumerate(SIZES)], resize=8)
    alone = as_dataset((SIZES, [k % 2 for k in range(len(SIZES))]), resize=8)
    for d in (found, arrays):
        assert equal(d.train, alone.train)
        assert torch.equal(d.train_labels, alone.train_labels)
