"""Options of networks: each has its effect, and one that does not fit is refused."""

import pytest

from diffode import registry
from diffode.nn import network

OPTIONS = {
    "multipliers": ("unet", {"multipliers": "1,3"}, "down.0.first.first.weight", (8, 8, 3, 3)),
    "first multiplier": (
        "unet",
        {"multipliers": "2,3"},
        "bottom.first.first.weight",
        (24, 24, 3, 3),
    ),
    "depth": ("unet", {"depth": 2}, "bottom.rest.1.first.weight", (16, 16, 3, 3)),
    "attention": ("unet", {"attention": 2}, "down.0.attention.out.weight", (8, 8, 1, 1)),
    "patch": ("dit", {"patch": 4}, "inner.weight", (8, 16)),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_has_its_effect(name):
    kind, options, parameter, shape = OPTIONS[name]
    made = network((1, 16, 16), kind, **{"width": 8, "depth": 1, **options})
    assert made.state_dict()[parameter].shape == shape


def test_no_attention_is_none():
    assert not any(
        "attention" in key
        for key in network((1, 16, 16), "unet", width=8, attention=0).state_dict()
    )


def test_options_that_do_not_fit_are_refused():
    refusals = {
        "network 'mlp' takes no multipliers; it takes width, depth": (
            (2,),
            {"multipliers": "1,2"},
        ),
        "network 'unet' takes no patch; it takes width, depth": ((1, 20, 20), {"patch": 2}),
        "got 8 multipliers, one for each resolution; images of 20 x 28 have 6 at": (
            (1, 20, 28),
            {"multipliers": "1,1,1,1,1,1,1,1"},
        ),
        "got attention 4; the network has 3 resolutions: give 0": (
            (1, 20, 20),
            {"attention": 4},
        ),
        "got width 30; a DiT wants a multiple of 4": ((1, 9, 9), {"kind": "dit", "width": 30}),
        "got patch 9 for images of 8 x 9": ((1, 8, 9), {"kind": "dit", "patch": 9}),
        "a DiT wants events": ((64,), {"kind": "dit"}),
    }
    for message, (shape, options) in refusals.items():
        with pytest.raises(ValueError, match=message):
            network(shape, **options)


def test_an_open_option_is_the_networks_own_choice():
    """None where the network has no default, else not handed over at all."""
    seen = []

    def mine(shape, *, conditions, classes, extra, width, depth=7):
        seen.append((width, depth))
        return network(shape, width=4, depth=1)

    registry.register("network", "open", mine)
    try:
        network((2,), "open", width=None, depth=None, dropout=None)
        network((2,), "open", depth=3)
        with pytest.raises(ValueError, match="takes no dropout; it takes width, depth"):
            network((2,), "open", width=1, depth=None, dropout=0.5)
    finally:
        del registry._TABLES["network"]["open"]
    assert seen == [(None, 7), (None, 3)]
