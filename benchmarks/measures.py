"""What `benchmarks.compare` times: operations of the library, each beside a plain one of torch.

    python -m benchmarks.measures

Prints one JSON object: for each operation the ratios of its time to that of its reference, a
number a round, both in turn in one process. One thread, time of the processor. An operation that
this version of the library lacks is null, with the reason on the error output.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import torch

Timed = tuple[Callable[[], object], Callable[[], object]]  # the operation, and its reference


def _child(*arguments: str) -> None:
    command = [sys.executable, "-P", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def importing() -> Timed:
    """The package, which imports nothing heavy by itself."""
    return partial(_child, "-c", "import diffode"), partial(_child, "-c", "import json, argparse")


def command_line() -> Timed:
    """A command that lists the fields."""
    return partial(_child, "-m", "diffode", "fields"), partial(_child, "-c", "import torch")


def solving(name: str, batch: int) -> Timed:
    """A solve of 20 evaluations."""
    from benchmarks.overhead import STEPS, Bare
    from diffode import Rng, build
    from diffode.solvers import get_solver, grid

    field = build("edm", (2,), width=128, depth=3).field.eval()
    times = grid(field, STEPS, "f1.5")
    x = field.prior.sample((batch, 2), Rng(0))
    euler = partial(Bare(field, times, batch).euler, x)
    return _quiet(partial(get_solver(name), field, x, times)), _quiet(euler)


def training(field: str, options: dict[str, object], batch: int, data: str = "moons") -> Timed:
    """A step of training."""
    from benchmarks.training import bare
    from diffode import build, train
    from diffode.data import load
    from diffode.training import data_stats

    x = load(data).train
    kwargs = {**options, "stats": data_stats(x)}
    network = build("edm", x.shape[1:], **kwargs).field.network.train()
    objective = build(field, x.shape[1:], **kwargs)
    steps = train(objective, x, steps=10**5, batch=batch, device="cpu")
    loop = bare(network, x, batch)
    return steps.__next__, loop.__next__


def exact(rows: int, points: int, size: int) -> Timed:
    """The posterior of a set of points."""
    from diffode import Rng
    from diffode.fields import VP, Empirical

    data, x = Rng(1).normal("data", (points, size)), Rng(2).normal("x", (rows, size))
    field = Empirical(data, VP())
    return lambda: field.posterior(x, 0.4), lambda: torch.softmax(x @ data.T, 1) @ data


def normal(shape: tuple[int, ...]) -> Timed:
    """Draws that belong to a seed, a name and a row."""
    from diffode import Rng

    return lambda: Rng(0).normal("x", shape), lambda: torch.randn(shape)


def prior(field: str, shape: tuple[int, ...]) -> Timed:
    """Starting points of a recipe."""
    from diffode import Rng, build

    law = build(field, shape[1:]).field.prior
    return lambda: law.sample(shape, Rng(0)), lambda: torch.randn(shape)


def neighbours(rows: int, size: int) -> Timed:
    """Shares of two sets inside each other's balls, with their standard errors."""
    from diffode import Rng
    from diffode.metrics import precision_recall

    a, b = (Rng(k).normal("x", (rows, size)) for k in (1, 2))
    return lambda: precision_recall(a, b), lambda: torch.cdist(a, b).topk(5, largest=False)


def _quiet(run: Callable[[], object]) -> Callable[[], object]:
    return torch.no_grad()(run)


THREE = {"width": 128, "depth": 3}
MEASURES: dict[str, Callable[[], Timed]] = {
    "`import diffode`, of json and argparse": importing,
    "`diffode fields`, of importing torch": command_line,
    "ddim, MLP 3 x 128, batch 1, of a bare Euler loop": partial(solving, "ddim", 1),
    "trig, batch 1": partial(solving, "trig", 1),
    "trig, batch 512": partial(solving, "trig", 512),
    "edm, MLP 3 x 128, a step of training, of a bare loop": partial(training, "edm", THREE, 512),
    "poisson, the same": partial(training, "poisson", THREE, 512),
    "edm, U-Net, digits": partial(training, "edm", {"network": "unet"}, 128, "digits"),
    "exact field, 256 rows, 2,000 points, 64-D, of its products": partial(exact, 256, 2000, 64),
    "normal draws, 512 x 2, of torch.randn": partial(normal, (512, 2)),
    "normal draws, 128 x 3,072": partial(normal, (128, 3072)),
    "prior of poisson, 512 x 64": partial(prior, "poisson", (512, 64)),
    "precision and recall, 1,000 x 64, of distances": partial(neighbours, 1000, 64),
}


def ratios(timed: Timed, rounds: int) -> list[float]:
    """The time of an operation over that of its reference, one number a round."""
    out = []
    for k in range(rounds + 1):
        own, reference = (_seconds(run) for run in timed)
        out += [own / reference] * (k > 0)  # the first round warms both up
    return out


def _seconds(run: Callable[[], object], least: float = 0.03) -> float:
    """CPU seconds a call, over at least ``least`` seconds of calls."""
    begun, used, calls = _used(), 0.0, 0
    while used < least:
        run()
        calls += 1
        used = _used() - begun
    return used / calls


def _used() -> float:
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usage)


def main() -> None:
    """Print the ratios of all operations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="operations whose name has this text")
    told = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, list[float] | None] = {}
    for name, made in MEASURES.items():
        if told.only not in name:
            continue
        try:
            found[name] = ratios(made(), told.rounds)
        except Exception as missing:  # another version of the library may lack anything
            print(f"{name}: {type(missing).__name__}: {missing}", file=sys.stderr)
            found[name] = None
    print(json.dumps(found))


if __name__ == "__main__":
    main()
