"""How far samples given an observation are from their exact law: docs/appendix/inverse.md.

    python -m benchmarks.inverse
    python -m benchmarks.inverse --only digits --quick
    python -m benchmarks.inverse --only particles     # how many of twisted SMC, and how many steps

Mixtures and a data set of 400 digits have exact posteriors. Each method spends the same network
calls on a draw, a product with the Jacobian counted as one; figures are means over three
observations. All of it takes two to five minutes of one core.
"""

import argparse
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffode import sample
from diffode.data import load
from diffode.fields import (
    Empirical,
    Karras,
    Mixture,
    conditioned,
    exact_posterior,
    log_evidence,
)
from diffode.fields.linear import LinearOperator
from diffode.fields.operators import mask
from diffode.metrics.transport import wasserstein2
from diffode.priors import Normal, Spherical, StudentT
from diffode.rng import Rng
from diffode.sampling import twisted
from diffode.solvers.dps import DPS

CALLS = (20, 100)
STEPS = (0.2, 0.5, 1.0, 2.0, 4.0)  # of DPS, of which the best is shown
NOISES: tuple[Spherical, ...] = (Normal(), StudentT(128), StudentT(1))
Exact = Mixture | Empirical
Figures = Callable[[Tensor, Exact], list[float]]


@dataclass(frozen=True)
class Problem:
    """An exact field, and what is observed of its law.

    Attributes:
        field: a `Mixture` or `Empirical`.
        operator, noise, observations: H, s_y, and the y's.
        n: draws for each observation.
        heads, figures: names of figures, and what measures them of draws (n, *event) beside the
            exact posterior. By the first the best step of DPS is chosen.
    """

    field: Exact
    operator: LinearOperator
    noise: float
    observations: Sequence[Tensor]
    n: int
    heads: Sequence[str]
    figures: Figures


def mixture(dim: int, seen: int, std: float, noise: Spherical, n: int = 200) -> Problem:
    """Six Gaussians in so many dimensions, the first coordinates of which are seen."""
    generator = torch.Generator().manual_seed(3)
    weights = torch.tensor([0.3, 0.2, 0.15, 0.15, 0.1, 0.1], dtype=torch.float64)
    means = torch.randn(6, dim, generator=generator, dtype=torch.float64)
    stds = 0.1 + 0.25 * torch.rand(6, dim, generator=generator, dtype=torch.float64)
    field = Mixture(weights, means, stds, Karras(0.02, 20.0), noise)
    observations = []
    for k in range(3):
        generator = torch.Generator().manual_seed(10 + k)
        i = torch.multinomial(weights, 1, generator=generator)[0]
        x = means[i] + stds[i] * torch.randn(dim, generator=generator, dtype=torch.float64)
        e = torch.randn(seen, generator=generator, dtype=torch.float64)
        observations.append(x[:seen] + std * e)
    operator = mask(torch.arange(dim) < seen)
    return Problem(field, operator, std, observations, n, ("W2", "mean", "cov"), _moments)


def digits(noise: Spherical, n: int = 60) -> Problem:
    """The law of 400 digits, of which four pixels are seen, with noise of .6 of the data's std."""
    points = load("digits").train[:400].double()
    field = Empirical(points, Karras(0.02, 20.0), noise)
    where = torch.zeros(1, 8, 8, dtype=torch.bool)
    where[0, [1, 2, 5, 6], [1, 6, 1, 6]] = True  # where some forty digits fit what is seen
    operator, std = mask(where), 0.6 * field.moments[1]
    observations = []
    for k in range(3):
        generator = torch.Generator().manual_seed(10 + k)
        i = torch.randint(len(points), (1,), generator=generator)
        e = torch.randn(4, generator=generator, dtype=torch.float64)
        observations.append(operator(points[i])[0] + std * e)
    return Problem(field, operator, std, observations, n, ("TV", "mean"), _weights)


def _moments(x: Tensor, law: Exact) -> list[float]:
    """W2 to as many exact draws, rms error of the mean, relative error of the covariance."""
    assert isinstance(law, Mixture)
    exact = law.sample(len(x), Rng(1))
    w2 = wasserstein2(x, exact).value
    x, weights = x.double().flatten(1), law.log_weights.exp()
    mean = weights @ law.means
    gaps = law.means - mean
    spread = torch.diag_embed(law.variances.expand(law.means.shape))
    if law.basis is not None:
        spread = law.basis @ spread @ law.basis.mT
    covariance = torch.einsum("k,kij->ij", weights, spread) + (weights * gaps.mT) @ gaps
    error = (torch.cov(x.mT) - covariance).norm() / covariance.norm()
    return [w2, float((x.mean(0) - mean).square().mean().sqrt()), float(error)]


def _weights(x: Tensor, law: Exact) -> list[float]:
    """Total variation of the shares of the points, rms error of the mean in the data's stds."""
    assert isinstance(law, Empirical)
    x, points, weights = x.double().flatten(1), law.points.double(), law.log_weights.exp()
    nearest = torch.cdist(x, points).argmin(1).bincount(minlength=len(points)) / len(x)
    error = (x.mean(0) - weights @ points).square().mean().sqrt()
    return [float((nearest - weights).abs().sum() / 2), float(error) / law.moments[1]]


def draws(p: Problem, method: str, y: Tensor, calls: int, seed: int) -> Tensor:
    """Draws by one method at so many network calls each."""
    law = exact_posterior(p.field, p.operator, y, p.noise)
    name, _, rest = method.partition(", ")
    if name == "exact draws":
        return law.sample(p.n, Rng(100 + seed))
    if name == "no observation":
        return p.field.sample(p.n, Rng(100 + seed))
    if name == "exact field":
        return sample(law, p.n, nfe=calls, seed=seed).x
    if name == "DPS":
        solver = DPS(p.operator, y, step=float(rest))
        return sample(p.field, p.n, solver, nfe=calls // 2, seed=seed).x
    kind = "tmpd" if "TMPD" in name else "pigdm"
    cost = 2 if kind == "pigdm" else 1 + p.operator.count
    given = (p.field, p.operator, y, p.noise)
    if name.startswith("SMC"):
        times = int(rest.split()[0]) if rest else 1
        drawn = twisted(*given, p.n, times * p.n, nfe=calls // cost, seed=seed, method=kind)
        return drawn.x
    return sample(conditioned(*given, kind), p.n, rest, nfe=calls // cost, seed=seed).x


def row(p: Problem, method: str, calls: int) -> list[float]:
    """The figures of a method, means over the observations."""
    cells = []
    for seed, y in enumerate(p.observations):
        law = exact_posterior(p.field, p.operator, y, p.noise)
        cells.append(p.figures(draws(p, method, y, calls, seed), law))
    return torch.tensor(cells, dtype=torch.float64).mean(0).tolist()


def best(p: Problem, method: str, calls: int) -> tuple[list[float], str]:
    """The figures of a method; of DPS those of its best step, and which it is."""
    if method != "DPS":
        return row(p, method, calls), ""
    found = [(row(p, f"DPS, {step}", calls), f", zeta {step:g}") for step in STEPS]
    return min(found, key=lambda cell: cell[0][0])


def methods(p: Problem) -> Iterator[str]:
    """The methods that are defined for a problem, the floor first."""
    yield from ("exact draws", "no observation", "exact field")
    yield from ("PiGDM, dpm++", "PiGDM, trig", "TMPD, dpm++")
    if isinstance(p.field.noise, Normal):
        yield from ("DPS", "SMC by PiGDM", "SMC by TMPD", "SMC by PiGDM, 8 times the particles")


def table(title: str, p: Problem, calls: Sequence[int]) -> None:
    """Print the figures of all methods, as Markdown."""
    heads = [f"{head} at {count}" for count in calls for head in p.heads]
    print(
        f"\n{title}\n\n| method | {' | '.join(heads)} |\n|{'---|' * (1 + len(heads))}", flush=True
    )
    for method in methods(p):
        cells, name = [], method
        for count in calls:
            figures, which = best(p, method, count)
            name += which
            cells += [f"{value:.2f}" for value in figures]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def particles(counts: Sequence[int] = (200, 1600), nfes: Sequence[int] = (10, 20, 50)) -> None:
    """Print what twisted SMC takes in 8-D over the default noise levels, as Markdown.

    Three mixtures with an observation each: W2 of 200 draws, the largest error of the estimate of
    log p(y), and the smallest effective number of particles.
    """
    cases = [_wide(seed) for seed in range(3)]
    floor = sum(_moments(law.sample(200, Rng(2)), law)[0] for *_, law in cases) / 3
    print(f"\nparticles, 8-D; two sets of exact draws have a W2 of {floor:.2f}\n")
    print(
        "| evaluations | particles | W2, PiGDM | W2, SMC | log p(y) off by | ess |\n|" + "---|" * 6
    )
    for nfe, count in itertools.product(nfes, counts):
        rows = []
        for seed, (field, y, law) in enumerate(cases):
            given = (field, mask(torch.arange(8) < 2), y, 0.3)
            pulled = sample(conditioned(*given), 200, "dpm++", nfe=nfe, seed=seed).x
            drawn = twisted(*given, 200, count, nfe=nfe, seed=seed)
            off = abs(drawn.log_evidence - log_evidence(*given))
            w2 = (_moments(x, law)[0] for x in (pulled, drawn.x))
            rows.append([*w2, off, float(drawn.ess[-1].min())])
        found = torch.tensor(rows)
        (pigdm, smc), off = found[:, :2].mean(0).tolist(), float(found[:, 2].max())
        least = float(found[:, 3].min())
        print(
            f"| {nfe} | {count} | {pigdm:.2f} | {smc:.2f} | {off:.2f} | {least:.0f} |", flush=True
        )


def _wide(seed: int) -> tuple[Mixture, Tensor, Mixture]:
    """Six Gaussians in 8-D, two noisy coordinates of a draw, and the law given these."""
    generator = torch.Generator().manual_seed(100 + seed)
    means = torch.randn(6, 8, generator=generator, dtype=torch.float64)
    stds = 0.2 + 0.4 * torch.rand(6, 8, generator=generator, dtype=torch.float64)
    field = Mixture(torch.ones(6), means, stds, Karras())
    noise = 0.3 * torch.randn(2, generator=generator, dtype=torch.float64)
    y = field.sample(1, Rng(50 + seed))[0, :2] + noise
    law = exact_posterior(field, mask(torch.arange(8) < 2), y, 0.3)
    assert isinstance(law, Mixture)
    return field, y, law


def problems(noise: Spherical, quick: bool) -> dict[str, Callable[[], Problem]]:
    """By name what is measured; ``quick`` with few draws."""
    n = {"n": 20} if quick else {}
    return {
        "plane": lambda: mixture(2, 1, 0.2, noise, **n),
        "eight": lambda: mixture(8, 2, 0.2, noise, **n),
        "many": lambda: mixture(64, 2, 0.5, noise, **n),
        "digits": lambda: digits(noise, **n),
    }


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=[*problems(Normal(), True), "particles"])
    parser.add_argument("--quick", action="store_true", help="few draws, normal noise alone")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    began = time.process_time()
    if options.only == "particles":
        particles((50,), (10,)) if options.quick else particles()
        return
    for noise in NOISES[:1] if options.quick else NOISES:
        for name, made in problems(noise, options.quick).items():
            if options.only in (None, name):
                table(f"{name}, {noise}", made(), CALLS[:1] if options.quick else CALLS)
    print(f"\n{(time.process_time() - began) / 60:.1f} minutes of processor time")


if __name__ == "__main__":
    main()
