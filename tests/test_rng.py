"""Random numbers: Philox's published answers, the laws of the draws, independence of the batch."""

import math
import zlib

import numpy as np
import pytest
import torch
from scipy import stats

from diffode import rng
from diffode.priors import Normal, StudentT
from diffode.rng import Rng, philox

COUNT = 40_000

# ---------------------------------------------------------------------------------------- Philox


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        (["0"] * 4, ["0"] * 2, ["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"]),
        (["ffffffff"] * 4, ["ffffffff"] * 2, ["408f276d", "41c83b0e", "a20bc7c6", "6d5451fd"]),
        (
            ["243f6a88", "85a308d3", "13198a2e", "03707344"],
            ["a4093822", "299f31d0"],
            ["d16cfe09", "94fdcceb", "5001e420", "24126ea1"],
        ),
    ],
)
def test_philox_gives_the_published_answers(counter, key, answer):
    """The known answers of Random123, the authors' library, for philox4x32-10."""
    words = philox([torch.tensor(int(c, 16)) for c in counter], tuple(int(k, 16) for k in key))
    assert [f"{int(w):08x}" for w in words] == answer


def test_bits_are_words_of_philox_in_the_documented_order():
    """Element e of row i is the word e % 4 at counter (e // 4, i, step, name), seed as the key."""
    bits = Rng(2**40 + 9, step=5).bits("", 3, 10)  # the checksum of the empty name is 0
    counter = [torch.tensor(w) for w in (2, 1, 5, 0)]
    assert bits[1, 8:].tolist() == [int(w) for w in philox(counter, (9, 2**8))][:2]
    assert bits.min() >= 0 and bits.max() < 2**32


# ----------------------------------------------------------------------------------- laws of draws


def test_normals_are_normal():
    x = Rng(1).normal("x", (COUNT // 5, 5), torch.float64).flatten()
    assert stats.kstest(x, "norm").pvalue > 1e-3
    for power, moment in ((1, 0), (2, 1), (3, 0), (4, 3), (6, 15)):
        sample = x**power
        assert abs(sample.mean() - moment) < 4 * sample.std() / math.sqrt(len(x)), power


def test_normals_reach_as_far_as_their_bits_do():
    """A radius word is at least 2^-33, so no draw passes sqrt(66 log 2) = 6.76."""
    x = Rng(2).normal("x", (1000, 300))
    assert 4.0 < x.abs().max() < math.sqrt(66 * math.log(2))


def test_box_muller_without_library_functions_is_box_muller():
    """Radius and angle against torch's log and atan2, which the draws do without."""
    words = Rng(3).bits("x", 200, 64).double()
    first, second = Rng(3).normal("x", (200, 64), torch.float64).view(200, 32, 2).unbind(-1)
    u = (words[:, 0::2] + 0.5) / 2**32
    torch.testing.assert_close(first.hypot(second), (-2 * u.log()).sqrt(), rtol=1e-13, atol=1e-13)
    turn = (torch.atan2(second, first) / (2 * math.pi) - words[:, 1::2] / 2**32) % 1
    assert turn.max() - turn.min() < 1e-13  # the angle is the second word, from a fixed origin


def test_the_radius_is_exactly_rounded_whatever_library_takes_roots():
    """Torch's on a CPU may be off by a last bit. Where the angle is 0, the draw is the radius."""
    words = Rng(4).bits("x", 20_000, 1)[:, 0].numpy()
    ahead = np.full_like(words, 2**29)  # the middle of the first quadrant, where sine is 0
    radius, none = rng._box_muller(words, ahead)
    square = -2 * rng._log((words + 0.5) / 2.0**32)
    assert radius.tolist() == [math.sqrt(value) for value in square.tolist()]
    assert not none.any()


def test_normals_are_the_same_numbers_on_every_machine():
    x = Rng(5, step=3).normal("x", (1000, 7), torch.float64)
    assert zlib.crc32(x.numpy().tobytes()) == 0xF973E286


@pytest.mark.parametrize("shape", [(40, 3), (5, 41), (1, 100), (9, 1)])
def test_a_draw_that_is_made_in_pieces_is_the_same(monkeypatch, shape):
    whole = Rng(6).normal("x", shape)
    monkeypatch.setattr(rng, "_AT_ONCE", {"cpu": 7})
    assert torch.equal(Rng(6).normal("x", shape), whole)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("pair", ["rows", "elements", "steps", "names", "seeds"])
def test_draws_are_uncorrelated(pair, power):
    n = (2, COUNT // 2)
    x = Rng(4).normal("a", n, torch.float64)
    a, b = {
        "rows": lambda: (x[0], x[1]),
        "elements": lambda: (x[:, 0::2].flatten(), x[:, 1::2].flatten()),
        "steps": lambda: (x, Rng(4, step=1).normal("a", n, torch.float64)),
        "names": lambda: (x, Rng(4).normal("b", n, torch.float64)),
        "seeds": lambda: (x, Rng(5).normal("a", n, torch.float64)),
    }[pair]()
    a, b = a.flatten() ** power, b.flatten() ** power
    correlation = torch.corrcoef(torch.stack((a, b)))[0, 1]
    assert abs(correlation) < 4 / math.sqrt(len(a))


def test_uniforms_are_uniform_and_open():
    u = Rng(6).uniform("u", (COUNT // 4, 4))
    assert u.dtype == torch.float64 and u.min() > 0 and u.max() < 1
    assert stats.kstest(u.flatten(), "uniform").pvalue > 1e-3
    low_bits = (u.flatten() * 2**20) % 1  # the digits that the high word does not hold
    assert stats.kstest(low_bits, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("dof", [0.5, 1.0, 4.0, 128.0, 3e6])
def test_chi2_follows_scipy(dof):
    x = Rng(7).chi2("c", 8000, dof)
    assert x.dtype == torch.float64 and (x > 0).all() and x.isfinite().all()
    assert stats.kstest(x, stats.chi2(dof).cdf).pvalue > 1e-3


@pytest.mark.parametrize("dof", [1.0, 2.0, 3.0, 3e6])
def test_chi2_inverts_both_tails(dof):
    """A draw's own probability, from scipy's two tails, is the uniform that it was made of."""
    u, x = Rng(8).uniform("c", (3000,)), Rng(8).chi2("c", 3000, dof)
    law = stats.chi2(dof)
    torch.testing.assert_close(torch.from_numpy(law.cdf(x)), u, rtol=1e-8, atol=0)
    torch.testing.assert_close(torch.from_numpy(law.sf(x)), 1 - u, rtol=1e-8, atol=0)


# ------------------------------------------------------------------------- rows and their batch

DRAWS = {
    "normal": lambda rng, n: rng.normal("x", (n, 3, 5)),
    "uniform": lambda rng, n: rng.uniform("x", (n, 7)),
    "chi2": lambda rng, n: rng.chi2("x", n, 1.5),
    "bits": lambda rng, n: rng.bits("x", n, 6),
    "Normal": lambda rng, n: Normal(scale=2.0).sample((n, 5), rng),
    "StudentT": lambda rng, n: StudentT(1.0).sample((n, 5), rng),
    "truncated": lambda rng, n: StudentT(2.5).sample((n, 5), rng, max_radius=3.0),
}


@pytest.mark.parametrize("name", DRAWS)
def test_row_i_does_not_depend_on_the_batch(name):
    draw = DRAWS[name]
    whole = draw(Rng(9), 64)
    index = torch.tensor([63, 0, 17])
    assert torch.equal(draw(Rng(9), 18), whole[:18])
    assert torch.equal(draw(Rng(9).rows(index), 3), whole[index])
    assert torch.equal(draw(Rng(9).rows(index).rows(torch.tensor([2])), 1), whole[17:18])
    assert not torch.equal(whole[0], whole[1])


@pytest.mark.parametrize("name", DRAWS)
def test_a_draw_depends_on_seed_and_step_and_keeps_them(name):
    draw = DRAWS[name]
    first = draw(Rng(9), 4)
    assert torch.equal(draw(Rng(9), 4), first)
    for other in (Rng(10), Rng(9 + 2**32), Rng(9, step=1), Rng(9).at(2**31)):
        assert not torch.equal(draw(other, 4), first)
    assert torch.equal(draw(Rng(9).at(3).at(0), 4), first)


def test_at_keeps_the_rows():
    index = torch.tensor([5, 2])
    assert torch.equal(
        Rng(1).rows(index).at(7).normal("x", (2, 3)), Rng(1).at(7).normal("x", (6, 3))[index]
    )


def test_a_longer_event_starts_with_the_shorter_one():
    assert torch.equal(Rng(1).normal("x", (3, 5)), Rng(1).normal("x", (3, 8))[:, :5])


def test_events_of_any_shape_hold_the_same_numbers():
    flat = Rng(1).normal("x", (3, 12))
    assert torch.equal(Rng(1).normal("x", (3, 2, 3, 2)), flat.view(3, 2, 3, 2))
    assert Rng(1).normal("x", (3,)).shape == (3,) and Rng(1).normal("x", (0, 4)).shape == (0, 4)


def test_draws_keep_their_dtype_and_leave_torch_alone():
    state = torch.get_rng_state()
    wide = Rng(1).normal("x", (50, 3), torch.float64)
    assert torch.equal(Rng(1).normal("x", (50, 3)), wide.float())
    Rng(1).chi2("x", 5, 2.0)
    Rng(1).permutation("x", 5)
    assert torch.equal(torch.get_rng_state(), state)


def test_draws_are_the_same_in_every_release():
    """Seeds in papers and checkpoints stay valid: these values must never change."""
    draw = Rng(2024, step=3).normal("noise", (2, 3), torch.float64)
    assert [v.hex() for v in draw.flatten().tolist()] == [
        "0x1.cee1ab5fbb92ep+0",
        "-0x1.92f0136163f39p+0",
        "-0x1.7f82982200ee2p-3",
        "-0x1.3eea1a553fe4cp-1",
        "0x1.0b834cc16952ep-2",
        "0x1.899dc40a138b0p-1",
    ]


# ----------------------------------------------------------------------------------- permutations


def test_permutations_are_permutations_of_the_step():
    p = Rng(1).permutation("shuffle", 100)
    assert torch.equal(p.sort().values, torch.arange(100))
    assert torch.equal(Rng(1).rows(torch.tensor([4])).permutation("shuffle", 100), p)
    assert not torch.equal(Rng(1).at(1).permutation("shuffle", 100), p)
    assert not torch.equal(Rng(1).permutation("other", 100), p)


def test_permutations_are_equally_likely():
    drawn = [tuple(Rng(1).at(k).permutation("p", 3).tolist()) for k in range(600)]
    counts = [drawn.count(p) for p in set(drawn)]
    assert len(counts) == 6 and stats.chisquare(counts).pvalue > 1e-3


# ----------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(ValueError, match=rf"got seed {seed}; use an integer from 0"):
        Rng(seed)


@pytest.mark.parametrize("step", [-1, 2**32])
def test_a_step_out_of_range_is_refused(step):
    with pytest.raises(ValueError, match=rf"got step {step}; a step counts from 0"):
        Rng(step=step)
    with pytest.raises(ValueError, match=rf"got step {step}"):
        Rng().at(step)


def test_a_wrong_number_of_rows_is_refused():
    with pytest.raises(ValueError, match="4 rows were asked of a generator of 2 rows"):
        Rng().rows(torch.tensor([0, 1])).normal("x", (4, 3))
    with pytest.raises(ValueError, match="1 rows were asked of a generator of 2 rows"):
        Rng().rows(torch.tensor([0, 1])).chi2("x", 1, 2.0)


@pytest.mark.parametrize("row", [-1, 2**32])
def test_a_row_out_of_range_is_refused(row):
    with pytest.raises(ValueError, match=r"rows count from 0 to 2\^32 - 1"):
        Rng().rows(torch.tensor([3, row]))
    last = Rng().rows(torch.tensor([2**32 - 1])).normal("x", (1, 2))
    assert not torch.equal(last, Rng().normal("x", (1, 2)))


def test_a_generator_prints_what_it_is():
    assert repr(Rng(7, step=2)) == "Rng(seed=7, step=2)"
