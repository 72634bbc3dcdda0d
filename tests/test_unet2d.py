"""The U-Net of diffusers as a network here, and fields whose state keeps the data's mean."""

import pytest
import torch

import diffode
from diffode.data import load
from diffode.data.stats import Stats, data_stats

PLAIN = {"network": "unet2d", "width": 8, "centre": False}


def stirred(objective):
    """With weights that are no longer zero anywhere."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return objective.eval()


def digits():
    return load("digits").train


@pytest.mark.parametrize(("recipe", "scale"), [("ddpm", 1), ("rectified", 1000)])
def test_what_the_network_says_is_noise_and_velocity_at_the_timesteps_of_diffusers(recipe, scale):
    made = diffode.build(recipe, (1, 8, 8), stats=data_stats(digits()), **PLAIN)
    field, x = stirred(made).field, torch.randn(3, 1, 8, 8)
    t = 321.0 / scale
    told = field.network.unet(x, 321, return_dict=False)[0]
    ours = field.noise_part(x, t) if recipe == "ddpm" else field.velocity(x, t)
    assert told.std() > 0.01
    torch.testing.assert_close(ours, told, rtol=1e-5, atol=1e-6)


def test_it_is_trained_kept_and_drawn_from(tmp_path):
    out = tmp_path / "run"
    small = {"steps": 2, "batch": 8, "device": "cpu"}
    run = diffode.fit("edm", "digits", out=out, labels=True, **PLAIN, **small)
    again = diffode.load(out).field
    labels = torch.arange(4)
    assert torch.equal(
        diffode.sample(run.field, 4, nfe=3, y=labels).x,
        diffode.sample(again, 4, nfe=3, y=labels).x,
    )
    assert run.plan.resolved["network"] == {
        "kind": "UNet2D",
        "width": 8,
        "depth": 1,
        "multipliers": "1,2",
        "attention": 1,
        "parameters": sum(p.numel() for p in again.network.parameters()),
    }


def test_no_label_is_the_null_label_where_that_is_trained():
    field = stirred(diffode.build("ddpm", (1, 8, 8), classes=3, **PLAIN)).field
    x, null = torch.randn(2, 1, 8, 8), torch.full((2,), 3)
    assert torch.equal(field.noise_part(x, 9.0), field.noise_part(x, 9.0, null))
    assert not torch.equal(field.noise_part(x, 9.0), field.noise_part(x, 9.0, null - 1))
    strict = diffode.build("ddpm", (1, 8, 8), classes=3, label_drop=0.0, **PLAIN).field
    with pytest.raises(ValueError, match="trained with label_drop=0 and has no null label"):
        strict.noise_part(x, 9.0)


def test_what_it_cannot_do_is_refused():
    refusals = {
        r"got images of 9 x 8 for 2 resolutions of network 'unet2d'; wanted": (
            "ddpm",
            (1, 9, 8),
            {},
        ),
        r"is told the time alone .* got 2 conditioning": ("ddpm", (1, 8, 8), {"flip_label": True}),
        "network 'unet2d' takes no dropout; it takes": ("ddpm", (1, 8, 8), {"dropout": 0.1}),
        "wants events": ("ddpm", (64,), {}),
    }
    for message, (recipe, shape, options) in refusals.items():
        with pytest.raises(ValueError, match=message):
            diffode.build(recipe, shape, **PLAIN, **options)


@pytest.mark.parametrize("basis", [True, False])
def test_moments_about_zero_are_the_second_moments(basis):
    x = digits()[:300] if basis else torch.randn(40, 1, 33, 32) + 2
    about = data_stats(x).about_zero()
    rows = x.flatten(1).double()
    assert not about.mean.any()
    assert about.std**2 == pytest.approx(float(rows.square().mean()), rel=1e-5)
    assert float(about.spectrum.sum()) == pytest.approx(
        float(rows.square().sum(1).mean()), rel=1e-5
    )
    if basis:
        axes = about.basis.double()
        second = (axes * about.spectrum.double()) @ axes.T
        torch.testing.assert_close(second, rows.T @ rows / len(rows), rtol=1e-4, atol=1e-4)
    assert isinstance(about, Stats)


def test_a_field_that_is_not_centred_is_told_the_state_as_it_is():
    stats = data_stats(digits())
    plain = diffode.build("vp", (1, 8, 8), stats=stats, width=16, depth=1, centre=False).field
    assert not plain.moments[0].any()
    assert plain.moments[1] == pytest.approx(stats.about_zero().std)
    centred = diffode.build("vp", (1, 8, 8), stats=stats, width=16, depth=1).field
    assert torch.equal(centred.moments[0], stats.mean)
