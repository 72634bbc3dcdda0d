"""The data set of emoji: `scripts/openmoji.py`, on a package of a few SVGs of its own."""

import io
import json
import tarfile

import numpy as np
import pytest

from scripts import openmoji

SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {}"><path d="{}" fill="{}"/></svg>'
LEFT = "M0 0H36V72H0z"
EMOJI = {
    "1F44B": ("people-body", SVG.format("72 72", LEFT, "#ffdd00")),
    "1F44B-1F3FB": ("people-body", SVG.format("72 72", LEFT, "#eecc99")),
    "1F44B-1F3FF": ("people-body", SVG.format("72 72", LEFT, "#663300")),
    "1F1F3-1F1F4": ("flags", SVG.format("72 36", "M0 0H72V36H0z", "#ff0000")),
    "1F1E7-1F1FB": ("flags", SVG.format("72 36", "M0 0H72V36H0z", "#ff0000")),
    "1F600": ("smileys-emotion", SVG.format("72 72", "M36 36m-30 0a30 30 0 1 0 60 0", "#000000")),
}  # fmt: skip


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The folder of a package; which emoji are tests is set, since six have none of their own."""
    pytest.importorskip("resvg_py")
    svgs = tmp_path / "package" / "color" / "svg"
    svgs.mkdir(parents=True)
    for code, (_, svg) in EMOJI.items():
        (svgs / f"{code}.svg").write_text(svg)
    rows = [{"hexcode": code, "group": group} for code, (group, _) in EMOJI.items()]
    rows.append({"hexcode": "1F0000", "group": "nothing"})  # which has no picture
    (tmp_path / "package" / "data").mkdir()
    (tmp_path / "package" / "data" / "openmoji.json").write_text(json.dumps(rows))
    monkeypatch.setattr(openmoji, "is_test", lambda code: code.startswith("1F44B"))
    return tmp_path / "package"


def packed(package):
    path = package.parent / "openmoji.tgz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(package, "package")
    return path


def test_the_arrays_have_the_pictures_the_classes_and_the_licence(package, capsys):
    out = package.parent / "a.npz"
    openmoji.main([str(package), str(out), "--size", "16"])
    assert "1 equal ones dropped" in capsys.readouterr().out
    with np.load(out, allow_pickle=False) as file:
        a = {name: file[name] for name in file.files}
    assert set(a) == {"x", "y", "x_test", "y_test", "classes", "licence"}
    assert a["classes"].tolist() == ["flags", "people-body", "smileys-emotion"]
    assert "CC-BY-SA-4.0" in str(a["licence"])
    assert a["x"].shape == (2, 3, 16, 16) and a["x_test"].shape == (3, 3, 16, 16)
    assert (
        a["x"].dtype == np.uint8 and a["y"].tolist() == [0, 2] and a["y_test"].tolist() == [1] * 3
    )
    hand, flag, face = a["x_test"][0], a["x"][0], a["x"][1]
    assert (hand[:, :, :8] == np.array([255, 221, 0])[:, None, None]).all()
    assert (hand[:, :, 8:] == 255).all()
    assert (flag[:, 4:12] == np.array([255, 0, 0])[:, None, None]).all()  # squared on white
    assert (flag[:, :4] == 255).all() and (flag[:, 12:] == 255).all()
    assert ((face > 20) & (face < 235)).any()  # antialiased


def test_an_archive_and_its_folder_give_the_same_file_every_time(package):
    outs = [package.parent / f"{name}.npz" for name in "abc"]
    for source, out in zip((package, packed(package), package.parent), outs, strict=True):
        openmoji.main([str(source), str(out), "--size", "16"])
    assert outs[0].read_bytes() == outs[1].read_bytes() == outs[2].read_bytes()
    assert not list(package.parent.glob(".*"))


def test_tones_of_one_emoji_are_in_one_split_and_a_tenth_is_the_test():
    for code in ("1F44B", "1F9D1-200D-1F91D-200D-1F9D1", "1F645-200D-2640-FE0F"):
        parts = code.split("-")
        toned = {"-".join([parts[0], tone, *parts[1:]]) for tone in ("1F3FB", "1F3FD", "1F3FF")}
        assert len({openmoji.is_test(c) for c in (code, *toned)}) == 1
    assert 0.08 < np.mean([openmoji.is_test(f"{c:X}") for c in range(0x1F300, 0x1F700)]) < 0.12


def test_the_members_of_an_archive_that_are_no_emoji_are_left(package):
    path = package.parent / "more.tgz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(package, "package")
        for name in ("package/color/svg/../../../x.svg", "package/color/svg/deep/x.svg"):
            info = tarfile.TarInfo(name)
            info.size = 1
            archive.addfile(info, io.BytesIO(b"x"))
    assert openmoji.files(path).keys() == openmoji.files(package).keys()


@pytest.mark.parametrize("wrong", ["nothing.tgz", "no-archive.tgz", "empty", "a.zip"])
def test_what_is_no_package_is_refused_in_one_line(wrong, tmp_path, capsys):
    (tmp_path / "no-archive.tgz").write_bytes(b"no archive")
    (tmp_path / "empty").mkdir()
    out = tmp_path / ("out.npz" if wrong != "a.zip" else wrong)
    with pytest.raises(SystemExit) as end:
        openmoji.main([str(tmp_path / wrong), str(out)])
    said = capsys.readouterr().err.splitlines()[-1]
    assert end.value.code == 2 and not out.exists()
    assert "npm pack openmoji@17.0.0" in said or "ends in .npz" in said
