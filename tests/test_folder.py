"""A folder of images is a data set: classes and splits by its folders, and no file is lost."""

import os
import pickle
import warnings

import numpy as np
import pytest
import torch

from diffode import data
from diffode.data import decoded, load
from diffode.data.fingerprint import Fingerprint
from tests.pictures import folder, picture, png


def test_a_sub_folder_is_a_class(tmp_path):
    found = load(folder(tmp_path / "pets", each=20))
    assert found.class_names == ("cat", "dog") and found.event_shape == (3, 20, 24)
    assert len(found.train) == 36 and len(found.test) == 4
    assert found.test_labels.bincount().tolist() == [2, 2]
    assert found.scaling.kind == "pixels" and float(found.train[:].abs().max()) <= 1
    first = np.asarray(picture(0)).transpose(2, 0, 1) / 127.5 - 1
    rows = torch.cat((found.train[:], found.test[:]))
    assert any(torch.allclose(row, torch.from_numpy(first).float(), atol=1e-6) for row in rows)


def test_images_deeper_down_belong_to_the_folder_at_the_top(tmp_path):
    folder(tmp_path / "a", ("x", "y"))
    folder(tmp_path / "b", ("x",))
    found = load(tmp_path)
    assert found.class_names == ("a", "b") and found.train_labels.bincount().tolist() == [15, 7]


def test_images_alone_have_no_classes_and_beside_folders_neither(tmp_path):
    for k in range(12):
        picture(k).save(tmp_path / f"{k}.png")
    assert load(tmp_path).classes is None and len(load(tmp_path).notes) == 1
    folder(tmp_path)
    found = load(tmp_path)
    assert found.classes is None and len(found.train) + len(found.test) == 28
    assert "no classes: 12 images are in no folder" in found.notes


@pytest.mark.parametrize("held", ["test", "val", "valid"])
def test_folders_called_train_and_test_are_the_split(tmp_path, held):
    folder(tmp_path / "train")
    folder(tmp_path / held, each=2)
    found = load(tmp_path)
    assert (len(found.train), len(found.test)) == (16, 4) and found.class_names == ("cat", "dog")
    assert found.test_labels.tolist() == [0, 0, 1, 1]


def test_names_of_splits_may_have_capitals_and_those_of_classes_keep_them(tmp_path):
    folder(tmp_path / "a" / "Train", ("Cat", "dog"))
    folder(tmp_path / "a" / "Test", ("Cat", "dog"), each=2)
    found = load(tmp_path / "a")
    assert (len(found.train), len(found.test)) == (16, 4) and found.class_names == ("Cat", "dog")
    folder(tmp_path / "b", ("Train", "Bus"))
    assert load(tmp_path / "b").class_names == ("Bus", "Train")


def test_a_warning_stands_at_the_line_that_asked(tmp_path):
    (folder(tmp_path) / "cat" / "000.png").write_bytes(b"none")
    for ask in (load, lambda path: data.as_dataset(str(path))):
        with pytest.warns(UserWarning, match="left out 1 of 16") as found:
            ask(tmp_path)
        assert found[0].filename == __file__


def test_test_goes_before_val_and_others_are_refused(tmp_path):
    for name, each in (("train", 8), ("test", 2), ("val", 3)):
        folder(tmp_path / name, each=each)
    assert len(load(tmp_path).test) == 4
    folder(tmp_path / "unlabelled", each=1)
    with pytest.raises(ValueError, match="'unlabelled' beside the folders train"):
        load(tmp_path)


def test_a_class_may_be_called_train(tmp_path):
    assert load(folder(tmp_path, ("bus", "train"))).class_names == ("bus", "train")


def test_a_class_that_is_only_held_out_is_refused(tmp_path):
    folder(tmp_path / "train")
    folder(tmp_path / "test", ("cat", "emu"), 2)
    with pytest.raises(ValueError, match="'emu'"):
        load(tmp_path)


def test_images_of_several_sizes_need_resize(tmp_path):
    folder(tmp_path, ("a",))
    folder(tmp_path, ("b",), size=(30, 40))
    with pytest.raises(ValueError, match=r"24 x 20 .8., 30 x 40 .8.; .*--resize N"):
        load(tmp_path)
    found = load(tmp_path, resize=16)
    assert found.event_shape == (3, 16, 16) and found.reading.resize == 16
    assert "square in the middle resampled to 16 x 16" in found.notes[0]


def test_a_folder_without_colours_is_grey_and_one_image_of_colour_makes_it_rgb(tmp_path):
    for k in range(12):
        picture(k, mode="L").save(tmp_path / f"{k}.png")
    assert load(tmp_path).event_shape == (1, 20, 24)
    picture(50).save(tmp_path / "50.png")
    found = load(tmp_path)
    x = torch.cat((found.train[:], found.test[:]))
    assert found.event_shape == (3, 20, 24) and int((x == x[:, :1]).flatten(1).all(1).sum()) == 12
    assert load(tmp_path, grey=True).event_shape == (1, 20, 24)


def test_a_few_unreadable_files_are_named_and_left_out(tmp_path):
    folder(tmp_path, each=20)
    for k in range(3):
        (tmp_path / "cat" / f"z{k} \n小.png").write_bytes(png(4, 4))
    (tmp_path / "dog" / "empty.jpg").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"left out 4 of 44 images: 'cat/z0 \\n小.png' \(damaged"):
        found = load(tmp_path)
    assert len(found.left_out) == 4 and len(found.train) + len(found.test) == 40


def test_many_unreadable_files_stop_it(tmp_path):
    folder(tmp_path)
    for k in range(7):
        (tmp_path / "cat" / f"bad{k}.png").write_bytes(b"none")
    with pytest.raises(ValueError, match=r"7 of 23 images .* and 2 more; mend"):
        load(tmp_path)


@pytest.mark.parametrize("content", [{}, {"a.txt": b"no"}, {".x.png": b"no"}])
def test_a_folder_without_images_is_refused(tmp_path, content):
    for name, text in content.items():
        (tmp_path / name).write_bytes(text)
    with pytest.raises(ValueError, match="got no images"):
        load(tmp_path)
    picture().save(tmp_path / "one.png")
    with pytest.raises(ValueError, match="got 1 image to train on"):
        load(tmp_path)


def test_what_is_no_image_is_counted_and_what_is_hidden_passed_over(tmp_path):
    folder(tmp_path)
    (tmp_path / "cat" / "notes.txt").write_text("a cat")
    (tmp_path / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (tmp_path / ".DS_Store").write_bytes(b"x")
    (tmp_path / "dog" / "._000.png").write_bytes(b"x")
    (tmp_path / "dog" / "a folder.png").mkdir()
    os.symlink(tmp_path / "nowhere", tmp_path / "dog" / "gone.png")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "dog" / "pipe.png")
    found = load(tmp_path)
    assert found.left_out == () and "left alone: 2 files of other kinds" in found.notes


def test_links_are_followed_and_a_circle_ends(tmp_path):
    folder(tmp_path / "pets")
    folder(tmp_path / "far", ("emu",))
    os.symlink(tmp_path / "far" / "emu", tmp_path / "pets" / "emu")
    os.symlink(tmp_path / "pets", tmp_path / "pets" / "dog" / "again")
    picture(77).save(tmp_path / "far" / "one.png")
    os.symlink(tmp_path / "far" / "one.png", tmp_path / "pets" / "cat" / "one.png")
    found = load(tmp_path / "pets")
    assert found.class_names == ("cat", "dog", "emu")
    assert len(found.train) + len(found.test) == 25


def test_the_name_of_a_file_does_not_say_what_it_is(tmp_path):
    folder(tmp_path)
    picture(99).save(tmp_path / "cat" / "a.png", "GIF")
    picture(98).save(tmp_path / "cat" / "no suffix", "WEBP")
    found = load(tmp_path)
    assert len(found.train) + len(found.test) == 18


def test_names_of_odd_bytes_are_told_apart(tmp_path):
    names = [b"caf\xe9", "小 猫".encode(), b"a\nb"]
    for k, name in enumerate(names):
        place = os.path.join(os.fsencode(tmp_path), name)
        os.mkdir(place)
        for i in range(6):
            picture(10 * k + i).save(os.fsdecode(os.path.join(place, b"%d.png" % i)))
    assert load(tmp_path).class_names == ("a\\nb", "caf\\xe9", "小 猫")


def test_rows_that_are_decoded_when_asked_for_are_those_that_are_held(tmp_path, monkeypatch):
    folder(tmp_path)
    picture(5, mode="L").save(tmp_path / "cat" / "grey.png")
    (tmp_path / "cat" / "0 bad.png").write_bytes(b"none")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        held = load(tmp_path)
        monkeypatch.setattr(decoded, "HELD", 0)
        asked = load(tmp_path)
    assert isinstance(asked.train.rows, decoded.Decoded)
    assert isinstance(held.train.rows, np.ndarray) and "too many to hold" in asked.notes[1]
    again = pickle.loads(pickle.dumps(asked.train.rows))
    assert np.array_equal(again[np.arange(17)], held.train.rows)
    assert Fingerprint.of(held).differs(Fingerprint.of(asked)) is None
    assert asked.train[torch.tensor([3, 0])].equal(held.train[torch.tensor([3, 0])])


@pytest.mark.parametrize("change", ["gone", "other"])
def test_a_file_that_changes_after_the_check_is_named(tmp_path, monkeypatch, change):
    monkeypatch.setattr(decoded, "HELD", 0)
    found = load(folder(tmp_path, ("a b",), 12))
    path = tmp_path / "a b" / "004.png"
    path.unlink() if change == "gone" else picture(500, (24, 21)).save(path)
    with pytest.raises(ValueError, match=r"'a b/004.png' could be read .* and now it cannot"):
        found.train[:], found.test[:]


def test_options_that_do_not_fit_are_refused(tmp_path):
    folder(tmp_path)
    for options in ({"label": "x"}, {"columns": ("a",)}, {"background": "no"}, {"resize": 0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            load(tmp_path, **options)
    assert load(tmp_path, scale="none").train[:].max() > 100


def test_who_watches_is_told_how_far_the_reading_is(tmp_path):
    from diffode.data.watching import watching

    told = []
    with watching(lambda *state: told.append(state)):
        load(folder(tmp_path / "pets"))
    assert told[0] == ("read the images of pets", 0, 16) and told[-1][1:] == (16, 16)


def test_a_folder_is_found_again_from_elsewhere(tmp_path, monkeypatch):
    folder(tmp_path / "pets")
    monkeypatch.chdir(tmp_path)
    assert load("pets").source == str(tmp_path / "pets") == data.source_of("pets")
