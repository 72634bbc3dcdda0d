"""EDM-format files that are damaged, or other files altogether, end in one line."""

import os
import pickle
import sys
import zipfile

import pytest
import torch

from diffode.interop import from_edm
from tests.edm_pickles import Calling, dumped, standing_in, write, write_archive


def test_a_file_that_is_cut_off_gives_one_line(tmp_path):
    file = write(tmp_path / "net.pkl")
    data = file.read_bytes()
    for size in (0, 1, 2, 100, len(data) // 2, len(data) - 1):
        file.write_bytes(data[:size])
        with pytest.raises(ValueError, match="is refused") as caught:
            from_edm(file)
        assert "\n" not in str(caught.value)


def test_names_in_an_archive_that_are_no_text_give_one_line(tmp_path):
    file = tmp_path / "state.pt"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("\u00e9/data.pkl", b"")
    file.write_bytes(file.read_bytes().replace(b"\xc3\xa9", b"\xff\xff"))
    with pytest.raises(ValueError, match="is refused: it is a damaged archive"):
        from_edm(file)


NOT_THIS = {
    "text": b"hello, this is no pickle",
    "nothing": b"",
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "a zip of nothing": b"PK\x05\x06" + bytes(18),
    "a broken zip": b"PK\x03\x04" + bytes(100),
    "another pickle": pickle.dumps([1, 2, 3]),
    "another network": pickle.dumps({"ema": torch.nn.ReLU()}),
}


@pytest.mark.parametrize("what", NOT_THIS)
def test_other_files_are_refused_in_one_line(tmp_path, what):
    file = tmp_path / "net.pkl"
    file.write_bytes(NOT_THIS[what])
    with pytest.raises(ValueError, match=r"net\.pkl is refused: it") as caught:
        from_edm(file)
    assert "\n" not in str(caught.value)


def test_archives_are_looked_at_like_pickles(tmp_path):
    file = write_archive(tmp_path / "state.pt")
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    pkl = next(name for name in parts if name.endswith("data.pkl"))
    numbers = next(name for name in parts if name.endswith("data/1"))
    cases = {
        "asks for": {pkl: dumped(Calling(os.system, f"touch {tmp_path / 'mark'}"))},
        "not as large as it says": {numbers: parts[numbers] + b"1234"},
        "lacks .*data/1": {numbers: None},
        "big-endian": {next(n for n in parts if n.endswith("byteorder")): b"big"},
        "no archive of torch": {"more/data.pkl": b""},
        "are packed": {},
    }
    for said, changed in cases.items():
        packing = zipfile.ZIP_DEFLATED if said == "are packed" else zipfile.ZIP_STORED
        with zipfile.ZipFile(file, "w", packing) as archive:
            for name, data in {**parts, **changed}.items():
                if data is not None:
                    archive.writestr(name, data)
        with pytest.raises(ValueError, match=f"is refused: .*{said}"):
            from_edm(file)
    assert not (tmp_path / "mark").exists()


def test_a_checkpoint_of_torchcfm_says_what_to_do_with_it(tmp_path):
    file = tmp_path / "weights.pt"
    torch.save({"net_model": {}, "ema_model": {"w": torch.ones(2)}, "step": 3}, file)
    with pytest.raises(ValueError, match=r"of torchcfm.*give this to .*from_velocity"):
        from_edm(file)


def test_nothing_of_the_stand_in_stays():
    with standing_in():
        assert "torch_utils.persistence" in sys.modules
    assert "torch_utils.persistence" not in sys.modules
