"""The default solver as a scheduler of diffusers, against diffusers' own schedulers.

    python -m benchmarks.schedulers
    python -m benchmarks.schedulers --networks runs/edm-digits runs/rectified-digits

Labelled mixtures and trained networks stand where a pipeline's network is, on the chain of Stable
Diffusion, the linear chain and the path of flow matching, without guidance and with it. Each
scheduler is asked for the levels and given the model's answers, at equal calls; the error is the
RMS distance from the converged end of the same flow. Nothing is told of the data.

A figure is (error of the best of diffusers' schedulers) / (error of the default): under each
number of calls the best one at that number, in geometric mean over the models; "single" is the
best single one over all numbers; "each" is the best chosen anew for every model and number.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import diffusers
import torch
from diffusers.utils import logging as diffusers_logging
from torch import Tensor

import diffode
from benchmarks.guided import LAWS, geometric, labelled, print_report
from diffode.fields import AffineField, Karras, Rectified, classifier_free
from diffode.interop import DiffodeScheduler
from diffode.rng import Rng
from diffode.solvers import get_solver, grid

diffusers_logging.set_verbosity(logging.ERROR)
CALLS = (5, 8, 10, 15, 20)
WEIGHTS = (1.0, 3.0, 7.5)
CHAINS: dict[str, dict[str, Any]] = {
    "stable": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    "linear": {},
}
FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
Data = tuple[float, float | None]  # s, and S where it is told


class Case(NamedTuple):
    """A model in a pipeline's place: its path, its field, what it starts from, and the end."""

    path: str
    field: AffineField
    x: Tensor
    y: Tensor
    first: tuple[float, float]
    end: Tensor

    def means(self, x: Tensor, alpha: float, sigma: float) -> tuple[Tensor, Tensor]:
        """The conditional means of data and noise at any level."""
        first, schedule = self.field.span[0], self.field.schedule
        if alpha < 1e-9:
            top = self.field.level(first, x)[1]
            return self.field.posterior(x * (top / sigma), first, self.y)
        t = schedule.time(torch.tensor(sigma / alpha, dtype=torch.float64))
        t = t.clamp(*sorted(self.field.span))
        return self.field.posterior(x * (schedule.alpha(t) / alpha), t, self.y)

    def start(self, alpha: float, sigma: float) -> Tensor:
        """The point of the trajectory at a level near its first."""
        if abs(math.atan2(sigma, alpha) - math.atan2(self.first[1], self.first[0])) < 1e-6:
            return self.x * (sigma / self.first[1])
        return alpha * _solved(self.field, self.x, self.y, self.first, sigma / alpha)


class Peer(NamedTuple):
    """One of diffusers' schedulers: how it is made on a path, and the calls of a step."""

    make: Callable[[str], Any]
    calls: int = 1
    kdiffusion: bool = False  # its state is x / alpha on a chain


def _solved(
    field: AffineField, x: Tensor, y: Tensor, first: tuple[float, float], rho: float | None
) -> Tensor:
    """E[x_0 | x] at the converged end of the flow from a level, or x / alpha at another rho."""
    fine = get_solver("ab", form="trig", variable="fraction", order=3)
    schedule, ratio = field.schedule, first[1] / first[0] if first[0] else math.inf
    begin = field.span[0]
    if math.isfinite(ratio):
        begin = float(schedule.time(torch.tensor(ratio, dtype=torch.float64)))
        x = x * float(schedule.alpha(torch.tensor(begin)) / first[0])
    if rho is None:
        x = fine(field, x, grid(field, 400, "mixed", begin), y).x
        return field.denoise(x, field.span[1], y)
    last = float(schedule.time(torch.tensor(rho, dtype=torch.float64)))
    if abs(last - begin) < 1e-9:
        return x / field.level(last, x)[0]
    x = fine(field, x, torch.linspace(begin, last, 30, dtype=torch.float64), y).x
    return x / field.level(last, x)[0]


def case(path: str, field: AffineField, weight: float, rows: int, seed: int) -> Case:
    """A field under guidance on a path, with its converged end."""
    first = (0.0, 1.0)
    if path != "flow":
        signal = float(diffusers.DDPMScheduler(**CHAINS[path]).alphas_cumprod[-1])
        first = signal**0.5, (1 - signal) ** 0.5
    y = torch.arange(rows) % (field.classes or 1)
    x = Rng(seed + 1).normal("x", (rows, *field.event_shape), torch.float64)
    guided = field if weight == 1 else classifier_free(field, weight)
    return Case(path, guided, x, y, first, _solved(guided, x, y, first, None))


def mixtures(weight: float, rows: int, seed: int, scale: float = 1.0) -> Iterator[Case]:
    """Labelled mixtures on the three paths."""
    for law in LAWS:
        for path in (*CHAINS, "flow"):
            schedule = Rectified() if path == "flow" else Karras(1e-3, 200.0)
            yield case(path, labelled(law, schedule, seed, scale), weight, rows, seed)


def networks(runs: Sequence[Path], weight: float, rows: int, seed: int) -> Iterator[Case]:
    """Trained runs with labels: on the path of flow matching if it is theirs, else on a chain."""
    for run in runs:
        field = diffode.load(run).field.double().requires_grad_(False)
        assert isinstance(field, AffineField) and field.classes is not None
        path = "flow" if isinstance(field.schedule, Rectified) else "stable"
        yield case(path, field, weight, rows, seed)


def _made(
    name: str, flow_name: str | None = None, chain: dict[str, Any] | None = None, **flow: object
) -> Callable[[str], Any]:
    def make(path: str) -> Any:  # noqa: ANN401
        if path == "flow":
            return getattr(diffusers, flow_name or name)(**flow)
        return getattr(diffusers, name)(**CHAINS[path], **(chain or {}))

    return make


def peers() -> dict[str, Peer]:
    """DPM++2M, UniPC, DEIS, Euler and Heun, each on two grids: even steps and Karras, shift 3."""
    found = {}
    even, karras = {"timestep_spacing": "linspace"}, {"use_karras_sigmas": True}
    for grid_name, chain, shift in (("", even, 1.0), (" karras", karras, 3.0)):
        for label, name in (
            ("DPM++2M", "DPMSolverMultistep"),
            ("UniPC", "UniPCMultistep"),
            ("DEIS", "DEISMultistep"),
        ):
            make = _made(f"{name}Scheduler", None, chain, flow_shift=shift, **FLOW)
            found[label + grid_name] = Peer(make)
        for label, calls in (("Euler", 1), ("Heun", 2)):
            kinds = f"{label}DiscreteScheduler", f"FlowMatch{label}DiscreteScheduler"
            found[label + grid_name] = Peer(_made(*kinds, chain, shift=shift), calls, True)
    return found


def ours(told: float | None = None, data: Data | None = None) -> Peer:
    """The default solver, told a guidance weight or not, and the data's s and S or not."""

    def make(path: str) -> Any:  # noqa: ANN401
        origin = _made("DPMSolverMultistepScheduler", "FlowMatchEulerDiscreteScheduler")(path)
        about = {} if data is None else {"data_std": data[0], "principal_std": data[1]}
        return DiffodeScheduler.from_config(origin.config, guidance_scale=told, **about)

    return Peer(make)


def error(peer: Peer, model: Case, calls: int) -> float:
    """The RMSE of one run with at most so many calls."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        scheduler = peer.make(model.path)
        scheduler.set_timesteps((calls + peer.calls - 1) // peer.calls)
        scheduler.set_begin_index(0)
        x, made = None, 0
        for sigma, told in zip(scheduler.sigmas.tolist(), scheduler.timesteps, strict=False):
            size = 1.0 if peer.kdiffusion else math.hypot(1, sigma)
            level = (1 - sigma, sigma) if model.path == "flow" else (1 / size, sigma / size)
            x = model.start(*level) if x is None else x
            x0, n = model.means(x, *level)
            x = scheduler.step(n - x0 if model.path == "flow" else n, told, x).prev_sample
            made += 1
    assert x is not None and made <= calls, f"{made} calls of {calls}"
    rmse = float((x.double() - model.end).square().mean().sqrt())
    return rmse if rmse < 1e3 else 1e3


def rows_of(
    cases: Callable[[float], Iterator[Case]], weights: Sequence[float]
) -> Iterator[tuple[str, list[str]]]:
    """The name and the cells of each line: for each weight, told and untold."""
    for weight in weights:
        models = list(cases(weight))
        others = {
            name: [[error(p, m, k) for k in CALLS] for m in models] for name, p in peers().items()
        }
        for told in (weight, None):
            own = [[error(ours(told), m, k) for k in CALLS] for m in models]
            yield f"w = {weight:g}, {'untold' if told is None else 'told'}", _cells(own, others)


def _cells(own: list[list[float]], others: dict[str, list[list[float]]]) -> list[str]:
    columns = [geometric(column) for column in zip(*own, strict=True)]
    best = [
        min(geometric([row[k] for row in found]) for found in others.values())
        for k in range(len(CALLS))
    ]
    total = geometric(columns)
    overall = {name: geometric([v for row in rows for v in row]) for name, rows in others.items()}
    name = min(overall, key=lambda name: overall[name])
    each = [
        min(found[m][k] for found in others.values())
        for m in range(len(own))
        for k in range(len(CALLS))
    ]
    figures = [b / c for b, c in zip(best, columns, strict=True)]
    figures += [overall[name] / total, geometric(each) / total]
    return [*(f"{v:.2f}" for v in figures), name]


def costs(rows: int, seed: int) -> Iterator[str]:
    """What it costs that s and S are not known: (error untold) / (error told them)."""
    yield f"| data | {' | '.join(map(str, CALLS))} | all |"
    yield "|---" * (len(CALLS) + 2) + "|"
    for scale in (1.0, 0.5, 0.2):
        models = list(mixtures(1.0, rows, seed, scale))
        ratios = []
        for k in CALLS:
            known = [
                error(ours(1.0, (m.field.moments[1], m.field.principal_std)), m, k) for m in models
            ]
            unknown = [error(ours(1.0), m, k) for m in models]
            ratios.append(geometric(unknown) / geometric(known))
        cells = [f"{v:.2f}" for v in (*ratios, geometric(ratios))]
        yield f"| s = {scale:g} | {' | '.join(cells)} |"


def report(runs: Sequence[Path], rows: int, seed: int) -> Iterator[str]:
    """The tables of mixtures, of networks, and of what is not known."""
    kinds: dict[str, Callable[[float], Iterator[Case]]] = {
        "Labelled mixtures": lambda w: mixtures(w, rows, seed)
    }
    if runs:
        names = ", ".join(run.name for run in runs)
        kinds[f"Networks ({names})"] = lambda w: networks(runs, w, rows, seed)
    for title, cases in kinds.items():
        yield f"{title}\n"
        yield f"| | {' | '.join(map(str, CALLS))} | single | each | best single |"
        yield "|---" * (len(CALLS) + 4) + "|"
        for name, cells in rows_of(cases, WEIGHTS):
            yield f"| {name} | {' | '.join(cells)} |"
        yield ""
    yield "(Error of the default) / (its error if told s and S), mixtures without guidance\n"
    yield from costs(rows, seed)


def main() -> None:
    """Print the tables."""
    print_report(__doc__, report, seed=7)


if __name__ == "__main__":
    main()
