"""Three hundred odd calls of public functions: an answer, or one line in diffode's own words."""

import random
import traceback
from pathlib import Path

import numpy as np
import pytest
import torch

import diffode
from diffode import Rng, build, decode, encode, log_prob, metrics, sample
from diffode.data import Dataset
from diffode.fields import (
    VP,
    CriticBank,
    DiscreteBetas,
    Empirical,
    ExactRatio,
    GaussianFlow,
    Karras,
    Mixture,
    MonoFlow,
    PoissonField,
    discriminator_guided,
    rescheduled,
)
from diffode.likelihood.dequantisation import (
    Quantisation,
    dequantise,
    law_at_prior,
    quantisation_of,
)
from diffode.likelihood.divergence import divergence
from diffode.nn.critic import critic_network
from diffode.priors import Normal, StudentT
from diffode.sampling.encoding import round_trip
from diffode.solvers import get_solver, grid

X = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
WEIGHTS, MEANS, STDS = torch.ones(2), torch.tensor([[-1.0, 0.0], [1.0, 0.5]]), torch.ones(2)
LAW = Mixture(WEIGHTS, MEANS, STDS, VP())
HEAVY = Mixture(WEIGHTS, MEANS, STDS, Karras(), StudentT(1.0))
CRITIC = critic_network((2,), activation="silu", timed=True, classes=2)
AFFINE = [
    LAW,
    HEAVY,
    Empirical(X, VP(), labels=torch.arange(5) % 2, bandwidth=0.1),
    PoissonField(HEAVY),
    PoissonField(HEAVY, torch.ones(5)),
    rescheduled(LAW, "rho"),
    discriminator_guided(LAW, CRITIC),
    build("edm", (2,), width=8).field,
    build("vp", (2,), 2, width=8).field,
]
FIELDS = [*AFFINE, MonoFlow(CriticBank(CRITIC, 3)), MonoFlow(ExactRatio(LAW, Normal()))]
FIELDS += [build("gan", (2,), width=8).field]
POINTS = [X, X, X, X.double(), X.long(), X > 0, X[:0], X[0], X[:, :1], torch.tensor(1.0), X.half()]
POINTS += [X.numpy(), X.tolist(), [[1, 2], [3]], None, "x", X + 1j, X / 0, X[None], 3, 2.5, {}]
POINTS += [X.byte(), X[:1], np.array(["a"]), X.flip(0).numpy()[::-1], X.to_sparse(), X[:, :0]]
POINTS += [np.zeros((5, 2), ">f4"), np.zeros((5, 2), object)]
LABELS = [None, None, torch.arange(5) % 2, [0, 1, 0, 1, 0], 1, True, torch.zeros(5, 1), 7, -1, "a"]
LABELS += [torch.zeros(3).long(), 0.5, X, [], float("nan"), 2**70, X[:, 0] > 0]
TIMES = [0.5, 0.5, torch.tensor(0.5), torch.rand(5) / 2 + 0.2, torch.rand(3), None, "t", 1j]
TIMES += [torch.zeros(5, 1), [0.5] * 5, np.float32(0.5), True, float("nan"), 1]
NUMBERS = [1, 2, 5, 0, -1, 2.5, 3.0, None, "n", float("nan"), float("inf"), torch.tensor(3)]
METHODS = ["velocity", "denoise", "posterior", "noise_part"]


class Draw:
    """Odd arguments, by a seed."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def __getattr__(self, name):
        return self.random.choice(globals()[name.upper()])


def calls(d):
    """One call of every public function that takes tensors, each with arguments of its own."""
    choose = d.random.choice
    return {
        "field": lambda: getattr(d.affine, d.methods)(d.points, d.times, d.labels),
        "velocity": lambda: d.fields.velocity(d.points, d.times, d.labels),
        "score": lambda: LAW.score(d.points, d.times, d.labels),
        "corrupt": lambda: d.affine.corrupt(d.points, d.times, Rng(0)),
        "log_marginal": lambda: choose(AFFINE[:3]).log_marginal(d.points, d.times, d.labels),
        "start": lambda: d.fields.start(d.numbers, choose([Rng(0), Rng(0), None]), d.labels),
        "rows": lambda: d.fields.rows(choose([torch.tensor([0, 1]), [0], X, "r", None])),
        "bind": lambda: d.fields.bind(d.points),
        "sample": lambda: sample(d.fields, 5, nfe=5, y=d.labels, seed=d.numbers),
        "counts": lambda: sample(
            d.fields, d.numbers, steps=2, batch=d.numbers, grid=choose([None, 3])
        ),
        "encode": lambda: encode(d.fields, d.points, nfe=5, y=d.labels),
        "decode": lambda: decode(
            d.fields, d.points, nfe=5, y=d.labels, q=choose([None, d.points])
        ),
        "round_trip": lambda: round_trip(d.fields, d.points, nfe=5, y=d.labels),
        "log_prob": lambda: log_prob(
            d.fields,
            d.points,
            choose(["exact", "hutchinson", "hutch++"]),
            solver="rk4",
            steps=1,
            y=d.labels,
            probes=choose([2, d.numbers]),
            batch=choose([None, d.numbers]),
        ),
        "divergence": lambda: divergence(d.fields, d.points, d.times, d.labels),
        "solver": lambda: get_solver(choose(["heun", "trig", 3]))(
            d.fields, d.points, choose([[1.0, 0.5], [1.0], "t", None, torch.ones(2, 2)]), d.labels
        ),
        "grid": lambda: grid(d.fields, d.numbers, choose(["native", "karras", 3])),
        "Empirical": lambda: Empirical(d.points, VP(), weights=d.points, labels=d.labels),
        "Mixture": lambda: Mixture(d.points, d.points, d.points, VP()),
        "PoissonField": lambda: PoissonField(choose([HEAVY, LAW, None]), d.points),
        "law": lambda: choose([LAW, AFFINE[2]]).sample(d.numbers, Rng(0)),
        "prior": lambda: choose([Normal(), LAW.prior]).log_prob(d.points),
        "draw": lambda: StudentT(2.0).sample((d.numbers, 2), Rng(0)),
        "radius": lambda: choose([Normal(), StudentT(1.0)]).radius_icdf(d.points, 2),
        "Rng": lambda: Rng(d.numbers).normal("a", choose([(3, 2), (-1,), (), 3, (2.5,)])),
        "betas": lambda: DiscreteBetas(d.points),
        "critic": lambda: CRITIC(d.points, d.times, d.labels),
        "gauss": lambda: GaussianFlow(X[0], X[0].abs()).log_marginal(d.points, d.times),
        "Dataset": lambda: Dataset("a", d.points, d.points, d.labels),
        "data_stats": lambda: diffode.data_stats(d.points),
        "build": lambda: build("edm", choose([(2,), (0,), 2, None]), d.numbers),
        "levels": lambda: (
            quantisation_of(d.points),
            dequantise(d.points, Quantisation(3), Rng(0)),
        ),
        "law_at_prior": lambda: law_at_prior(LAW, d.points, d.labels, d.labels)(X),
        "distance": lambda: metrics.energy_distance(d.points, d.points),
        "frechet": lambda: metrics.frechet(X, d.points),
        "recall": lambda: metrics.precision_recall(d.points, X, d.numbers),
        "nearest": lambda: metrics.nearest(d.points, X),
        "train": lambda: next(
            diffode.train(build("edm", (2,), width=8), (d.points, d.labels), steps=1, batch=2)
        ),
    }


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("name", list(calls(Draw(0))))
@pytest.mark.filterwarnings("ignore")
def test_an_odd_call_is_answered_or_refused_in_one_line_of_our_own(name, seed):
    try:
        calls(Draw(f"{name} {seed}"))[name]()
    except (TypeError, ValueError) as error:
        assert "\n" not in str(error) and len(str(error)) > 14
        last = traceback.extract_tb(error.__traceback__)[-1].filename
        assert Path(last).is_relative_to(Path(diffode.__file__).parent), error
