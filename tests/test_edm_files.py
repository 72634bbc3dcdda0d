"""EDM-format files become fields that say what the original code says."""

import json

import pytest
import torch
from safetensors.torch import load_file

from diffode import encode, log_prob, sample
from diffode.interop import from_edm
from diffode.interop.edm import convert_edm
from diffode.priors import Normal, StudentT
from diffode.testing import check_field
from tests.edm_pickles import (
    MEASURED,
    SPECS,
    content,
    dumped,
    filled,
    states,
    write,
    write_archive,
)


def height_of(name):
    return torch.tensor(MEASURED[name]["sigma"], dtype=torch.float64)


def labels_of(field):
    return None if field.classes is None else torch.tensor([2, 0, 1])


@pytest.mark.parametrize("name", SPECS)
def test_denoises_as_the_original_code(tmp_path, name):
    field = from_edm(write(tmp_path / "net.pkl", name))
    sigma, said = height_of(name), MEASURED[name]
    x = states(name, sigma)
    with torch.no_grad():
        found = {"D": field.denoise(x, sigma, labels_of(field))}
        if "D_unlabelled" in said:
            found["D_unlabelled"] = field.denoise(x, sigma)
    for key, values in found.items():
        expected = torch.tensor(said[key])
        got = values.flatten(1)[:, ::7]
        error = (got - expected).norm(dim=1) / expected.norm(dim=1)
        assert float(error.max()) < 1e-5, key


@pytest.mark.parametrize("name", SPECS)
def test_weights_are_those_of_the_file_bit_for_bit(tmp_path, name):
    field = from_edm(write(tmp_path / "net.pkl", name))
    own, loaded = filled(name).state_dict(), field.network.state_dict()
    assert own.keys() == loaded.keys()
    assert all(torch.equal(own[key], loaded[key]) for key in own)


@pytest.mark.parametrize("protocol", [2, 3, 5])
def test_older_and_newer_pickles_are_the_same(tmp_path, protocol):
    field = from_edm(write(tmp_path / "net.pkl", protocol=protocol))
    own = filled("ddpmpp").state_dict()
    assert all(torch.equal(v, own[k]) for k, v in field.network.state_dict().items())


@pytest.mark.parametrize("name", SPECS)
def test_converted_folder_is_the_same_field(tmp_path, name):
    file = write(tmp_path / "net.pkl", name)
    folder = convert_edm(file, tmp_path / "converted")
    one, two = from_edm(file), from_edm(folder)
    sigma = height_of(name)
    x = states(name, sigma)
    y = labels_of(one)
    with torch.no_grad():
        assert torch.equal(one.denoise(x, sigma, y), two.denoise(x, sigma, y))
    assert one.span == two.span and str(one) == str(two)
    assert not any(b"raise SystemExit" in p.read_bytes() for p in folder.iterdir())


def test_is_a_whole_field(tmp_path):
    check_field(from_edm(write(tmp_path / "net.pkl", "iddpm")))


def test_pfgmpp_archive_has_its_noise_and_prior(tmp_path):
    told = {"precond": {"pfgmpp": True, "D": 64}}
    field = from_edm(write_archive(tmp_path / "training-state.pt", **told))
    assert isinstance(field.noise, StudentT) and field.noise.dof == 64
    assert isinstance(field.prior, StudentT) and field.prior.scale == 80
    plain = from_edm(write(tmp_path / "net.pkl"))
    assert isinstance(plain.noise, Normal)
    sigma = height_of("ddpmpp")
    x = states("ddpmpp", sigma)
    with torch.no_grad():
        assert torch.equal(field.denoise(x, sigma), plain.denoise(x, sigma))
    drawn = sample(field, 3, nfe=5)
    assert bool(drawn.x.isfinite().all())


def test_samples_are_gray_levels_and_a_likelihood_is_there(tmp_path):
    field = from_edm(write(tmp_path / "net.pkl"))
    drawn = sample(field, 2, nfe=9)
    assert drawn.x.shape == (2, 1, 8, 8) and float(drawn.x.std()) > 10
    assert bool(encode(field, drawn.x, solver="euler", steps=3).x.isfinite().all())
    said = log_prob(field, drawn.x, solver="euler", steps=2, trace="hutchinson", probes=1)
    assert bool(said.nats.isfinite().all())


@pytest.mark.parametrize(
    ("name", "span"),
    [("ddpmpp", (80.0, 0.002)), ("ncsnpp", (80.0, 0.02)), ("skip", (80.0, 0.002))],
)
def test_span_is_narrowed_to_what_the_network_knows(tmp_path, name, span):
    assert from_edm(write(tmp_path / "net.pkl", name)).span == span


def test_span_may_be_chosen(tmp_path):
    file = write(tmp_path / "net.pkl")
    assert from_edm(file, sigma_min=0.1, sigma_max=40).span == (40, 0.1)
    with pytest.raises(ValueError, match="got a span from 5 to 3"):
        from_edm(file, sigma_min=5, sigma_max=3)


def test_labels_are_asked_for_where_none_were_left_out_in_training(tmp_path):
    field = from_edm(write(tmp_path / "net.pkl", "adm"))
    with pytest.raises(ValueError, match="trained with labels alone; pass labels"):
        sample(field, 2, nfe=3)
    assert sample(field, 2, nfe=3, y=[0, 3]).x.shape == (2, 1, 4, 4)


def test_iddpm_is_smooth_between_its_levels(tmp_path):
    field = from_edm(write(tmp_path / "net.pkl", "iddpm"))
    u = field.prediction.levels
    steps = field.prediction.step(u)
    torch.testing.assert_close(steps, torch.arange(19.0, -1, -1).double())
    between = field.prediction.step((u[:-1] * u[1:]).sqrt())
    torch.testing.assert_close(between, torch.arange(18.5, 0, -1).double())


def test_attributes_win_over_what_a_network_was_made_with(tmp_path):
    def changed(**more):
        said = content("adm")
        said["ema"].meta["state"] |= more
        return said

    file = tmp_path / "net.pkl"
    file.write_bytes(dumped(changed(sigma_data=0.25)))
    assert from_edm(file).moments[1] == 0.25


WRONG = {
    "another class": (dict(precond={"sigma_data": -1.0}), "got sigma_data=-1.0"),
    "an unknown option": (dict(network={"flash": 1}), "its SongUNet has no option 'flash'"),
    "another width": (dict(network={"model_channels": 12}), r"is of shape \(.*; its options ask"),
    "more blocks": (dict(network={"num_blocks": 2}), "it lacks model.*unlike a network"),
    "an absurd width": (dict(network={"model_channels": 10**9}), "model_channels=1000000000"),
    "an absurd depth": (dict(network={"num_blocks": 10**9}), "num_blocks=1000000000"),
    "a side": (dict(network={"img_resolution": 7}), "can be halved"),
    "two sizes": (dict(precond={"img_channels": 3}), "of different sizes"),
    "no groups": (dict(network={"model_channels": 4, "channel_mult": [1, 1]}), "model"),
}


@pytest.mark.parametrize("what", WRONG)
def test_options_that_do_not_fit_are_named(tmp_path, what):
    changes, said = WRONG[what]
    with pytest.raises(ValueError, match=said) as caught:
        from_edm(write(tmp_path / "net.pkl", **changes))
    assert "\n" not in str(caught.value) and "net.pkl" in str(caught.value)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    held = filled("ddpmpp")
    held.model.map_layer0.bias.data[1] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        from_edm(write(tmp_path / "net.pkl", held=held))


def test_damaged_conversion_is_noticed(tmp_path):
    folder = convert_edm(write(tmp_path / "net.pkl"), tmp_path / "converted")
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:])
    with pytest.raises(ValueError, match="its digest is another"):
        from_edm(folder)
    weights.write_bytes(whole[:100])
    with pytest.raises(ValueError, match="damaged or not there"):
        from_edm(folder)
    weights.write_bytes(whole)
    spec = json.loads((folder / "edm.json").read_text())
    spec["network"]["model_channels"] = 10**9
    (folder / "edm.json").write_text(json.dumps(spec))
    with pytest.raises(ValueError, match="model_channels=1000000000"):
        from_edm(folder)
    with pytest.raises(ValueError, match=r"has no edm\.json"):
        from_edm(tmp_path)


def test_conversion_leaves_other_folders_alone(tmp_path):
    file = write(tmp_path / "net.pkl")
    with pytest.raises(FileExistsError, match="has something else in it"):
        convert_edm(file, tmp_path)
    folder = convert_edm(file, tmp_path / "new" / "converted")
    assert convert_edm(file, folder) == folder  # the same again
    assert load_file(folder / "model.safetensors").keys() == filled("ddpmpp").state_dict().keys()
